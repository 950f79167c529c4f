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

/// Gives a new or changed Service its cluster address and node ports, and takes back what
/// its type no longer has. The caller holds the turn for Services.
pub(super) async fn allocate(
    api: &Api,
    before: Option<&Value>,
    service: &mut Value,
    dry_run: bool,
) -> Result<(), Status> {
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            take(&mut service["spec"], field);
        }
        return Ok(());
    }
    settle_address(api, before, service, dry_run)?;
    if kind == "ClusterIP" {
        release_ports(before, service);
        return Ok(());
    }
    settle_ports(api, before, service, dry_run).await
}

fn settle_address(api: &Api, before: Option<&Value>, service: &mut Value, dry_run: bool) -> Result<(), Status> {
    let text = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let had = before.map(text).unwrap_or_default();
    let wanted = text(service);
    let refuse = |field: &str, message: String| Err(invalid(service, field, message));
    let address = match (had.as_str(), wanted.as_str()) {
        ("", "None") => "None".to_owned(),
        // Kubernetes, too, shows an address that nobody can get.
        ("", "") if dry_run => NETWORK.to_string(),
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
    let start = api.below(ADDRESSES);
    // The address of `default/kubernetes` is kept for it, whether it stands there or not.
    let candidates = (0..ADDRESSES).map(|step| (start + step) % ADDRESSES).filter(|at| (2..ADDRESSES - 1).contains(at));
    let mut addresses = candidates.map(|at| Ipv4Addr::from(u32::from(NETWORK) + at));
    addresses
        .find(|address| !used.contains(&address.to_string()))
        .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))
}

/// A port that had its number from NodePort times loses it, unless the client asked for one anew.
fn release_ports(before: Option<&Value>, service: &mut Value) {
    let had: BTreeSet<u64> = before.into_iter().flat_map(node_ports).collect();
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if port["nodePort"].as_u64().is_some_and(|number| number == 0 || had.contains(&number)) {
            take(port, "nodePort");
        }
    }
    take(&mut service["spec"], "externalTrafficPolicy");
}

async fn settle_ports(api: &Api, before: Option<&Value>, service: &mut Value, dry_run: bool) -> Result<(), Status> {
    let had: BTreeSet<u64> = before.into_iter().flat_map(node_ports).collect();
    let (services, _) = api.store.list(&kinds::SERVICE, None);
    let others = services.iter().filter(|other| object::uid(other) != before.map(object::uid).unwrap_or_default());
    let used: BTreeSet<u64> = others.flat_map(|other| node_ports(other)).collect();
    let mut given: BTreeSet<u64> = BTreeSet::new();
    for index in 0..service["spec"]["ports"].as_array().map_or(0, Vec::len) {
        let wanted = service["spec"]["ports"][index]["nodePort"].as_u64().filter(|port| *port != 0);
        // An update that leaves the number out keeps the one its port had.
        let wanted = wanted.or_else(|| before.and_then(|before| kept(before, &service["spec"]["ports"][index])));
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
            Some(number) if dry_run => number,
            // A number that a dry run would be given is not known before it is.
            None if dry_run => continue,
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

fn kept(before: &Value, port: &Value) -> Option<u64> {
    let ports = before["spec"]["ports"].as_array()?;
    let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
    ports.iter().find(same)?["nodePort"].as_u64()
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
