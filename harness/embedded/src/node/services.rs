//! What Services mean to the node: addresses, ports, and who stands behind them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use serde_json::Value;

use crate::kinds;
use crate::object;
use crate::store::Store;

/// One port of one Service, with those who answer on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServicePort {
    /// `namespace/service:port`, for people.
    pub(super) label: String,
    /// The Service's address; absent for headless ones, which are left out.
    pub(super) address: Ipv4Addr,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// The Service's port.
    pub(super) port: u16,
    /// Its port on the host's loopback.
    pub(super) node_port: Option<u16>,
    /// Whom a new connection can go to, in order of address.
    pub(super) endpoints: Vec<SocketAddrV4>,
}

/// Every port of every Service that has an address, in order of name.
#[must_use]
pub(super) fn ports(store: &Store) -> Vec<ServicePort> {
    let (services, _) = store.list(&kinds::SERVICE, None);
    let (slices, _) = store.list(&kinds::ENDPOINT_SLICE, None);
    services.iter().flat_map(|service| ports_of(service, &slices)).collect()
}

fn ports_of(service: &Value, slices: &[Arc<Value>]) -> Vec<ServicePort> {
    let Some(address) = cluster_address(service) else { return Vec::new() };
    let own: Vec<&Value> = slices.iter().map(AsRef::as_ref).filter(|slice| belongs(slice, service)).collect();
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    ports
        .iter()
        .filter_map(|port| {
            let number = u16::try_from(port["port"].as_u64()?).ok()?;
            let name = port["name"].as_str().unwrap_or_default();
            Some(ServicePort {
                label: format!("{}/{}:{number}", object::namespace(service), object::name(service)),
                address,
                protocol: protocol(&port["protocol"])?,
                port: number,
                node_port: port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()),
                endpoints: endpoints(&own, name, &port["protocol"]),
            })
        })
        .collect()
}

/// The Service's address; `None` for headless Services and those without one.
#[must_use]
pub(super) fn cluster_address(service: &Value) -> Option<Ipv4Addr> {
    service["spec"]["clusterIP"].as_str()?.parse().ok()
}

/// Whether the slice lists who stands behind this Service.
#[must_use]
pub(super) fn belongs(slice: &Value, service: &Value) -> bool {
    object::namespace(slice) == object::namespace(service)
        && slice["metadata"]["labels"]["kubernetes.io/service-name"] == object::name(service)
}

/// Who stands behind the TCP port of this name.
pub(crate) fn endpoints_of(service: &Value, slices: &[Arc<Value>], port: &str) -> Vec<SocketAddrV4> {
    let own: Vec<&Value> = slices.iter().map(AsRef::as_ref).filter(|slice| belongs(slice, service)).collect();
    endpoints(&own, port, &Value::Null)
}

/// Who takes new connections: the ready ones, and where there is none those that end but
/// still serve, as kube-proxy chooses.
fn endpoints(slices: &[&Value], port_name: &str, port_protocol: &Value) -> Vec<SocketAddrV4> {
    let mut ready = Vec::new();
    let mut ending = Vec::new();
    for slice in slices {
        let Some(port) = target_port(slice, port_name, port_protocol) else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            let sockets =
                addresses.filter_map(|address| Some(SocketAddrV4::new(address.as_str()?.parse().ok()?, port)));
            let conditions = &endpoint["conditions"];
            // An absent `ready` counts as ready.
            if conditions["ready"] != false {
                ready.extend(sockets);
            } else if conditions["serving"] == true && conditions["terminating"] == true {
                ending.extend(sockets);
            }
        }
    }
    let mut chosen = if ready.is_empty() { ending } else { ready };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn target_port(slice: &Value, name: &str, port_protocol: &Value) -> Option<u16> {
    let ports = slice["ports"].as_array()?;
    let same = |port: &&Value| {
        port["name"].as_str().unwrap_or_default() == name && protocol(&port["protocol"]) == protocol(port_protocol)
    };
    u16::try_from(ports.iter().find(same)?["port"].as_u64()?).ok()
}

fn protocol(value: &Value) -> Option<&'static str> {
    match value.as_str() {
        None | Some("TCP") => Some("tcp"),
        Some("UDP") => Some("udp"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "n"},
            "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
        })
    }

    fn slice(name: &str, endpoints: Value) -> Arc<Value> {
        Arc::new(json!({
            "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
        }))
    }

    fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        json!({"addresses": [address], "conditions": conditions})
    }

    #[track_caller]
    fn check(endpoints: Value, expect: &[&str]) {
        let ports = ports_of(
            &service(),
            &[slice("web", endpoints), slice("other", json!([endpoint("10.244.9.9", true, true, false)]))],
        );
        assert_eq!(ports.len(), 1);
        let found: Vec<String> = ports[0].endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn ready_endpoints_come_first_and_ending_ones_fill_in() {
        let ready = endpoint("10.244.0.3", true, true, false);
        let unready = endpoint("10.244.0.4", false, false, false);
        let ending = endpoint("10.244.0.2", false, true, true);
        let ended = endpoint("10.244.0.5", false, false, true);
        check(json!(null), &[]);
        check(json!([unready]), &[]);
        check(json!([ready, unready, ending]), &["10.244.0.3:8080"]);
        check(json!([unready, ending, ended]), &["10.244.0.2:8080"]);
        check(json!([ready, endpoint("10.244.0.1", true, true, false)]), &["10.244.0.1:8080", "10.244.0.3:8080"]);
    }

    #[test]
    fn services_without_an_address_are_left_out() {
        for address in ["None", ""] {
            let mut service = service();
            service["spec"]["clusterIP"] = address.into();
            assert_eq!(ports_of(&service, &[]), []);
        }
    }
}
