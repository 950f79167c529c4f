//! Which pod, and which of its ports, a proxied request goes to.

use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::api::place::Place;
use crate::kinds;
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
        if *key.kind == kinds::POD { of_pod(&object, port) } else { of_service(store, &object, port) }
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

/// A random ready endpoint of the port with this name or number.
fn of_service(store: &Store, service: &Value, port: &str) -> Result<Target, Status> {
    let name = object::name(service);
    let ports = service["spec"]["ports"].as_array();
    let is_meant = |one: &&Value| {
        let number = one["port"].as_u64();
        one["name"].as_str().unwrap_or_default() == port || number.is_some_and(|number| port.parse() == Ok(number))
    };
    let wanted = ports.into_iter().flatten().find(is_meant);
    let wanted =
        wanted.ok_or_else(|| Status::unavailable(format!("no service port {port} found for service \"{name}\"")))?;
    let (slices, _) = store.list(&kinds::ENDPOINT_SLICE, Some(object::namespace(service)));
    fastrand::choice(crate::node::endpoints_of(service, &slices, wanted["name"].as_str().unwrap_or_default()))
        .map(|endpoint| Target { address: *endpoint.ip(), port: endpoint.port() })
        .ok_or_else(|| Status::unavailable(format!("no endpoints available for service \"{name}\"")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service_store() -> Store {
        let store = Store::new();
        store
            .create(
                &kinds::SERVICE,
                json!({"metadata": {"name": "web", "namespace": "a"},
            "spec": {"ports": [{"name": "http", "port": 80}]}}),
            )
            .unwrap();
        store
            .create(
                &kinds::ENDPOINT_SLICE,
                json!({
                    "metadata": {"name": "web-x", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
                    "ports": [{"name": "http", "port": 8080}],
                    "endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": true}},
                        {"addresses": ["10.244.0.6"], "conditions": {"ready": false}}],
                }),
            )
            .unwrap();
        store
            .create(
                &kinds::POD,
                json!({"metadata": {"name": "p", "namespace": "a"},
            "spec": {"containers": [{"ports": [{"containerPort": 8080}]}]},
            "status": {"podIP": "10.244.0.7"}}),
            )
            .unwrap();
        store
    }

    #[test]
    fn targets_are_found_as_recorded() {
        let store = service_store();
        let check = |kind: &str, name: &str, expected: Result<&str, (u16, &str)>| {
            let place = Place::parse("", "v1", &format!("namespaces/a/{kind}/{name}/proxy/")).unwrap();
            let found = Target::find(&store, &place).map(|target| target.to_string());
            let found = found.as_deref().map_err(|status| (status.code, status.message.as_str()));
            assert_eq!(found, expected, "{kind} {name}");
        };
        check("services", "web:http", Ok("10.244.0.5:8080"));
        check("services", "web:80", Ok("10.244.0.5:8080"));
        check("services", "http:web:80", Ok("10.244.0.5:8080"));
        check("services", "web:81", Err((503, "no service port 81 found for service \"web\"")));
        check("services", "web", Err((503, "no service port  found for service \"web\"")));
        check("services", "none", Err((404, "services \"none\" not found")));
        check("pods", "p", Ok("10.244.0.7:8080"));
        check("pods", "p:9", Ok("10.244.0.7:9"));
        check("pods", "none:9", Err((404, "pods \"none\" not found")));
    }
}
