//! Cluster addresses and node ports of Services.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds;
use crate::object;
use crate::status::{Cause, Status};
use crate::store::Store;

/// The first address of 10.96.0.0/16; the address of `default/kubernetes` is one above it.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);

/// How many addresses the range has; its first and its last are not given out.
const ADDRESSES: u32 = 1 << 16;

/// Gives a new or changed Service its cluster address and, where its type calls for them,
/// its node ports. The caller holds the turn for Services.
pub(super) async fn allocate(
    api: &Api,
    before: Option<&Value>,
    service: &mut Value,
    dry_run: bool,
) -> Result<(), Status> {
    settle_address(api, before, service)?;
    // No port is reserved for what will not be.
    if service["spec"]["type"] == "NodePort" && !dry_run { settle_ports(api, before, service).await } else { Ok(()) }
}

/// Takes node ports back from a Service that no longer has them by its type, unless the client
/// asked for others.
pub(super) fn release_ports(before: &Value, service: &mut Value) {
    if service["spec"]["type"] != "ClusterIP" {
        return;
    }
    let had: BTreeSet<u64> = node_ports(before).collect();
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if port["nodePort"].as_u64().is_some_and(|number| had.contains(&number)) {
            take(port, "nodePort");
        }
    }
    if service["spec"]["externalTrafficPolicy"] == before["spec"]["externalTrafficPolicy"] {
        take(&mut service["spec"], "externalTrafficPolicy");
    }
}

fn settle_address(api: &Api, before: Option<&Value>, service: &mut Value) -> Result<(), Status> {
    let text = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let had = before.map(text).unwrap_or_default();
    let wanted = text(service);
    let refuse = |field: &str, message: String| Err(invalid(service, field, message));
    let address = match (had.as_str(), wanted.as_str()) {
        ("", "None") => "None".to_owned(),
        ("", "") => free_address(api)?.to_string(),
        ("", wanted) => {
            let usable = wanted.parse().is_ok_and(|address: Ipv4Addr| {
                (1..ADDRESSES - 1).contains(&u32::from(address).wrapping_sub(u32::from(NETWORK)))
            });
            let why = if !usable {
                "the provided network does not match the current range"
            } else if used_addresses(&api.store).contains(wanted) {
                "provided IP is already allocated"
            } else {
                return set_address(service, wanted.to_owned());
            };
            let message = format!("Invalid value: [\"{wanted}\"]: failed to allocate IP {wanted}: {why}");
            return refuse("spec.clusterIPs", message);
        }
        (had, "") => had.to_owned(),
        (had, wanted) if had == wanted => had.to_owned(),
        (_, wanted) => {
            return refuse("spec.clusterIPs[0]", format!("Invalid value: [\"{wanted}\"]: may not change once set"));
        }
    };
    set_address(service, address)
}

fn set_address(service: &mut Value, address: String) -> Result<(), Status> {
    service["spec"]["clusterIPs"] = json!([address]);
    service["spec"]["clusterIP"] = address.into();
    Ok(())
}

fn used_addresses(store: &Store) -> BTreeSet<String> {
    let (services, _) = store.list(&kinds::SERVICE, None);
    services.iter().filter_map(|service| service["spec"]["clusterIP"].as_str()).map(str::to_owned).collect()
}

/// A random free address, or the next free one after it.
fn free_address(api: &Api) -> Result<Ipv4Addr, Status> {
    let used = used_addresses(&api.store);
    let start = api.with_random(|random| random.u32(..ADDRESSES));
    // The address of `default/kubernetes` is kept for it, whether it stands there or not.
    let candidates = (0..ADDRESSES).map(|step| (start + step) % ADDRESSES).filter(|at| (2..ADDRESSES - 1).contains(at));
    let mut addresses = candidates.map(|at| Ipv4Addr::from(u32::from(NETWORK) + at));
    addresses
        .find(|address| !used.contains(&address.to_string()))
        .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))
}

async fn settle_ports(api: &Api, before: Option<&Value>, service: &mut Value) -> Result<(), Status> {
    let had: BTreeSet<u64> = before.into_iter().flat_map(node_ports).collect();
    let (services, _) = api.store.list(&kinds::SERVICE, None);
    let others = services.iter().filter(|other| object::uid(other) != before.map(object::uid).unwrap_or_default());
    let used: BTreeSet<u64> = others.flat_map(|other| node_ports(other)).collect();
    let mut given: BTreeSet<u64> = BTreeSet::new();
    for index in 0..service["spec"]["ports"].as_array().map_or(0, Vec::len) {
        let wanted = service["spec"]["ports"][index]["nodePort"].as_u64().filter(|port| *port != 0);
        let field = format!("spec.ports[{index}].nodePort");
        let refuse = |number: u64, why: &str| invalid(service, &field, format!("Invalid value: {number}: {why}"));
        let number = match wanted {
            Some(number) if had.contains(&number) && !given.contains(&number) => number,
            Some(number) if !(30_000..=32_767).contains(&number) => {
                let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                return Err(refuse(number, why));
            }
            Some(number) if used.contains(&number) || given.contains(&number) => {
                return Err(refuse(number, "provided port is already allocated"));
            }
            wanted => {
                let port = wanted.and_then(|number| u16::try_from(number).ok());
                let reserved = api.node.reserve_node_port(port).await;
                u64::from(reserved.map_err(|why| refuse(wanted.unwrap_or_default(), &why))?)
            }
        };
        given.insert(number);
        service["spec"]["ports"][index]["nodePort"] = number.into();
    }
    Ok(())
}

fn node_ports(service: &Value) -> impl Iterator<Item = u64> {
    service["spec"]["ports"].as_array().into_iter().flatten().filter_map(|port| port["nodePort"].as_u64())
}

fn take(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}

fn invalid(service: &Value, field: &str, message: String) -> Status {
    let cause = Cause { reason: "FieldValueInvalid", message, field: field.to_owned() };
    Status::invalid(&kinds::SERVICE, object::name(service), &[cause])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_released_with_the_type() {
        let service = |kind: &str, node_port: u64| {
            let port = json!({"name": "http", "port": 80, "protocol": "TCP", "nodePort": node_port});
            json!({"spec": {"type": kind, "ports": [port], "externalTrafficPolicy": "Cluster"}})
        };
        let check = |before: Value, mut after: Value, kept: Option<u64>| {
            release_ports(&before, &mut after);
            assert_eq!(after["spec"]["ports"][0]["nodePort"].as_u64(), kept, "{after}");
        };
        check(service("NodePort", 30_001), service("NodePort", 30_001), Some(30_001));
        check(service("NodePort", 30_001), service("ClusterIP", 30_001), None);
        // A number that the client asks for anew stays, and is then refused by the checks.
        check(service("NodePort", 30_001), service("ClusterIP", 30_002), Some(30_002));
    }
}
