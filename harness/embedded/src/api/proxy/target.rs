//! Which pod, and which of its ports, a proxied request goes to.

use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::api::place::Place;
use crate::object::{self, Key};
use crate::status::Status;
use crate::store::Store;

/// A pod's address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

impl Target {
    pub(super) fn find(store: &Store, place: &Place) -> Result<Self, Status> {
        let named = place.name.as_deref().unwrap_or_default();
        let (name, port) = split(named)
            .ok_or_else(|| Status::bad_request(format!("invalid {} request \"{named}\"", place.kind.plural)))?;
        let key = Key { name: name.to_owned(), ..place.key() };
        let object = store.get(&key).ok_or_else(|| Status::not_found(key.kind, name))?;
        of_pod(&object, port)
    }
}

/// `web`, `web:80`, `http:web:80`: the name, and the port where there is one.
fn split(named: &str) -> Option<(&str, &str)> {
    match named.split(':').collect::<Vec<_>>()[..] {
        [name] => Some((name, "")),
        [name, port] => Some((name, port)),
        ["http" | "", name, port] => Some((name, port)),
        _ => None,
    }
}

fn of_pod(pod: &Value, port: &str) -> Result<Target, Status> {
    let name = object::name(pod);
    let address = pod["status"]["podIP"].as_str().unwrap_or_default().parse();
    let address = address.map_err(|_| Status::bad_request(format!("address not allowed: pod {name} has none yet")))?;
    let port = match port {
        "" => pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap_or(80),
        port => port.parse().map_err(|_| Status::bad_request(format!("invalid pod request \"{name}:{port}\"")))?,
    };
    let port = u16::try_from(port).map_err(|_| Status::bad_request(format!("port {port} is out of range")))?;
    Ok(Target { address, port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    #[test]
    fn targets_are_found_as_recorded() {
        let store = Store::new();
        let pod = json!({
            "metadata": {"name": "p", "namespace": "a"}, "status": {"podIP": "10.244.0.7"},
            "spec": {"containers": [{"ports": [{"containerPort": 8080}]}]},
        });
        store.create(&kinds::POD, pod).unwrap();
        let check = |name: &str, expected: Result<&str, (u16, &str)>| {
            let place = Place::parse("", "v1", &format!("namespaces/a/pods/{name}/proxy/")).unwrap();
            let found = Target::find(&store, &place).map(|target| target.to_string());
            let found = found.as_deref().map_err(|status| (status.code, status.message.as_str()));
            assert_eq!(found, expected, "{name}");
        };
        check("p", Ok("10.244.0.7:8080"));
        check("p:9", Ok("10.244.0.7:9"));
        check("http:p:9", Ok("10.244.0.7:9"));
        check("none:9", Err((404, "pods \"none\" not found")));
    }
}
