//! Which address of this machine leads to a node port.

use std::net::{IpAddr, SocketAddr};

use super::CLUSTER_LABEL;
use crate::docker::{Container, Engine};

/// The address that leads to a node port of the cluster with this context; a reason where none does.
pub(crate) async fn address(context: &str, node_port: u16) -> Result<SocketAddr, String> {
    let name = context.strip_prefix("kind-").unwrap_or(context);
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    let nodes = engine.containers(CLUSTER_LABEL, name).await.map_err(|error| error.to_string())?;
    // Where the engine runs in a virtual machine, its networks cannot be reached from here.
    leading_to(&nodes, node_port, cfg!(target_os = "linux")).ok_or_else(|| {
        format!("no port of this machine leads to node port {node_port}; kind calls that extraPortMappings")
    })
}

/// A mapped port where there is one, else the address of a node itself.
fn leading_to(nodes: &[Container], node_port: u16, direct: bool) -> Option<SocketAddr> {
    let mut running = nodes.iter().filter(|node| node.running);
    let mapped = running.clone().find_map(|node| node.ports.get(&node_port).copied());
    let direct = || {
        let address: IpAddr = running.find_map(|node| node.addresses.values().next().copied())?;
        direct.then_some(SocketAddr::new(address, node_port))
    };
    mapped.or_else(direct)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_mapped_port_leads_there_before_the_address_of_a_node() {
        let node = |running, ports: &[(u16, &str)], address: &str| Container {
            id: String::new(),
            name: String::new(),
            running,
            labels: BTreeMap::new(),
            mounts: BTreeMap::new(),
            ports: ports.iter().map(|(port, to)| (*port, to.parse().unwrap())).collect(),
            addresses: BTreeMap::from([("kind".to_owned(), address.parse().unwrap())]),
        };
        let check = |nodes: &[Container], direct, expect: Option<&str>| {
            let found = leading_to(nodes, 30001, direct).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expect);
        };
        let mapped = || node(true, &[(30000, "127.0.0.1:4000"), (30001, "127.0.0.1:4001")], "172.18.0.2");
        let plain = || node(true, &[(6443, "127.0.0.1:4002")], "172.18.0.3");
        check(&[plain(), mapped()], true, Some("127.0.0.1:4001"));
        check(&[mapped()], false, Some("127.0.0.1:4001"));
        check(&[plain()], true, Some("172.18.0.3:30001"));
        check(&[plain()], false, None);
        check(&[node(false, &[], "172.18.0.4"), plain()], true, Some("172.18.0.3:30001"));
        check(&[], true, None);
    }
}
