//! The ways that lead to a Service, from what the API says: pure.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::networking::v1::Ingress;

/// A way to a Service from outside of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A load balancer: address and port.
    LoadBalancer {
        /// An address or a name.
        host: String,
        /// The Service's port.
        port: u16,
    },
    /// An Ingress whose rule leads there.
    Ingress {
        /// Its name.
        name: String,
        /// Address or name of its controller.
        host: String,
        /// What requests say they want, where its rule has a host.
        header: Option<String>,
    },
    /// A node port on a node that answers there.
    NodePort {
        /// The node's address.
        host: String,
        /// The node port.
        port: u16,
    },
    /// Forwarded connections to its pods, through the API server.
    PortForward,
}

/// The port of an Ingress' controller without encryption.
const HTTP: u16 = 80;

impl Via {
    /// Host and port to connect to; none where that is made first.
    #[must_use]
    pub fn place(&self) -> Option<(&str, u16)> {
        match self {
            Self::LoadBalancer { host, port } | Self::NodePort { host, port } => Some((host, *port)),
            Self::Ingress { host, .. } => Some((host, HTTP)),
            Self::PortForward => None,
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadBalancer { host, port } => write!(formatter, "its load balancer at {host}:{port}"),
            Self::Ingress { name, host, header: None } => write!(formatter, "ingress/{name} at {host}"),
            Self::Ingress { name, host, header: Some(header) } => {
                write!(formatter, "ingress/{name} at {host} as `{header}`")
            }
            Self::NodePort { host, port } => write!(formatter, "node port {port} of node {host}"),
            Self::PortForward => formatter.write_str("a port-forward to its pods, through the API server"),
        }
    }
}

/// All ways that may lead there, the shortest first. A port-forward always may.
pub(super) fn candidates(name: &str, service: &Service, ingresses: &[Ingress], nodes: &[Node]) -> Vec<Via> {
    let balancers = load_balancers(service);
    let ingresses = ingresses.iter().flat_map(|ingress| through(ingress, name));
    balancers.into_iter().chain(ingresses).chain(node_ports(service, nodes)).chain([Via::PortForward]).collect()
}

fn load_balancers(service: &Service) -> Vec<Via> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(port) = ports.first().and_then(|port| u16::try_from(port.port).ok()) else { return Vec::new() };
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default().iter();
    let hosts = points.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone()));
    hosts.map(|host| Via::LoadBalancer { host, port }).collect()
}

/// An Ingress counts where a rule without encryption leads every path to the Service as it is.
fn through(ingress: &Ingress, service: &str) -> Vec<Via> {
    let Some(spec) = &ingress.spec else { return Vec::new() };
    let encrypted = |host: &str| {
        let all = spec.tls.as_deref().unwrap_or_default();
        all.iter()
            .any(|tls| tls.hosts.as_deref().is_none_or(|hosts| hosts.is_empty() || hosts.iter().any(|one| one == host)))
    };
    let leads = |backend: &k8s_openapi::api::networking::v1::IngressBackend| {
        backend.service.as_ref().is_some_and(|one| one.name == service)
    };
    let rules = spec.rules.as_deref().unwrap_or_default().iter();
    let mut headers: Vec<Option<String>> = rules
        .filter(|rule| {
            let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
            let whole = |path: Option<&str>| matches!(path, None | Some("" | "/"));
            paths.len() == 1 && paths.iter().any(|path| whole(path.path.as_deref()) && leads(&path.backend))
        })
        .map(|rule| rule.host.clone().filter(|host| !host.is_empty()))
        // Nobody can ask for a pattern.
        .filter(|host| host.as_deref().is_none_or(|host| !host.starts_with('*') && !encrypted(host)))
        .collect();
    if headers.is_empty() && spec.rules.is_none() && spec.default_backend.as_ref().is_some_and(leads) {
        headers.push(None);
    }
    headers.retain(|header| header.is_some() || !encrypted(""));
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default().iter();
    let hosts: Vec<String> = points.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone())).collect();
    let name = ingress.metadata.name.clone().unwrap_or_default();
    let at = |host: &String| {
        let (name, host) = (name.clone(), host.clone());
        headers.iter().cloned().map(move |header| Via::Ingress { name: name.clone(), host: host.clone(), header })
    };
    hosts.iter().flat_map(at).collect()
}

fn node_ports(service: &Service, nodes: &[Node]) -> Vec<Via> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let port = ports.first().and_then(|port| port.node_port).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port.filter(|port| *port > 0) else { return Vec::new() };
    // Addresses that are meant for outside come first.
    ["ExternalIP", "InternalIP"]
        .into_iter()
        .flat_map(|kind| {
            nodes.iter().flat_map(move |node| {
                let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
                addresses.iter().filter(move |one| one.type_ == kind).map(|one| one.address.clone())
            })
        })
        .map(|host| Via::NodePort { host, port })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(service: &Value, ingresses: &[Value], nodes: &[Value], expect: &[&str]) {
        let of = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        let ingresses: Vec<Ingress> =
            ingresses.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
        let nodes: Vec<Node> = nodes.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
        let ways = candidates("backend", &of(service), &ingresses, &nodes);
        let mut told: Vec<String> = ways.iter().map(ToString::to_string).collect();
        assert_eq!(told.pop().as_deref(), Some("a port-forward to its pods, through the API server"));
        assert_eq!(told, expect, "{service} {ingresses:?}");
    }

    fn node(addresses: &[(&str, &str)]) -> Value {
        let addresses: Vec<Value> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        json!({"metadata": {}, "status": {"addresses": addresses}})
    }

    #[test]
    fn load_balancers_and_node_ports_are_ways_where_they_have_an_address() {
        let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}]);
        let nodes = [node(&[("InternalIP", "10.0.0.1"), ("Hostname", "a")]), node(&[("ExternalIP", "192.0.2.1")])];
        let plain = json!({"spec": {"ports": [{"port": 80}]}});
        check(&plain, &[], &nodes, &[]);
        check(&json!({"spec": {"ports": ports}}), &[], &[], &[]);
        let both = ["node port 30080 of node 192.0.2.1", "node port 30080 of node 10.0.0.1"];
        check(&json!({"spec": {"ports": ports}}), &[], &nodes, &both);
        let balanced =
            |point: Value| json!({"spec": {"ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": [point]}}});
        check(&balanced(json!({"ip": "192.0.2.7"})), &[], &[], &["its load balancer at 192.0.2.7:80"]);
        check(&balanced(json!({"hostname": "lb.example"})), &[], &[], &["its load balancer at lb.example:80"]);
        check(&balanced(json!({})), &[], &[], &[]);
    }

    #[test]
    fn an_ingress_is_a_way_where_its_rule_leads_everything_to_the_service() {
        let service = json!({"spec": {"ports": [{"port": 80}]}});
        let path =
            |path: &str, to: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": to}}});
        let ingress = |spec: Value| {
            let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}});
            json!({"metadata": {"name": "shop"}, "spec": spec, "status": status})
        };
        let rule = |host: Value, paths: &[Value]| json!({"rules": [{"host": host, "http": {"paths": paths}}]});
        let at_host = ["ingress/shop at 192.0.2.9 as `shop.example`"];
        let row = |spec: Value, expect: &[&str]| check(&service, &[ingress(spec)], &[], expect);
        row(rule(json!("shop.example"), &[path("/", "backend")]), &at_host);
        row(rule(Value::Null, &[path("/", "backend")]), &["ingress/shop at 192.0.2.9"]);
        row(json!({"defaultBackend": {"service": {"name": "backend"}}}), &["ingress/shop at 192.0.2.9"]);
        row(rule(json!("shop.example"), &[path("/", "frontend")]), &[]);
        row(rule(json!("shop.example"), &[path("/api", "backend")]), &[]);
        row(rule(json!("shop.example"), &[path("/", "backend"), path("/ws", "sockets")]), &[]);
        row(rule(json!("*.example"), &[path("/", "backend")]), &[]);
        let mut encrypted = rule(json!("shop.example"), &[path("/", "backend")]);
        encrypted["tls"] = json!([{"hosts": ["shop.example"]}]);
        row(encrypted, &[]);
        let unpublished = json!({"metadata": {"name": "shop"}, "spec": rule(Value::Null, &[path("/", "backend")])});
        check(&service, &[unpublished], &[], &[]);
    }
}
