//! Services as nftables rules, as kube-proxy makes them: one table, replaced as a whole.

use std::fmt::Write;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::services::{self, ServicePort};
use super::{Node, names, network, node_port};
use crate::kinds;
use crate::launch::{LaunchError, Tool};

/// How long a change of endpoints takes to reach the rules. A real cluster needs some
/// hundreds of milliseconds; without that, a rollout that loses nothing would prove nothing.
const DELAY_MILLIS: std::ops::Range<u64> = 100..500;

/// Marks packets of a pod that reached itself through a Service: they need another source.
const HAIRPIN_MARK: &str = "0x4000";

/// Checks that rules of this kind are accepted, by adding the empty table.
///
/// # Errors
/// `nft` is missing or refused.
pub(super) async fn check() -> Result<(), LaunchError> {
    let failed = network::feed(Tool::Nft, &["-f", "-"], &script(&[])).await;
    failed.map_err(|error| {
        let hint = error.hint.clone().unwrap_or_else(|| "load the modules `nf_tables` and `nft_chain_nat`".to_owned());
        error.hint(hint)
    })
}

/// Keeps rules, node ports and host names as the Services say, until cancelled.
pub(super) async fn run(node: Node, cancel: CancellationToken) {
    let shared = &node.shared;
    let mut random = fastrand::Rng::with_seed(shared.settings.seed);
    let mut forwarders = node_port::Forwarders::new(node.clone());
    let mut seen = 0;
    let mut programmed = Vec::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = shared.store.changed_after(seen) => {}
            Some(_) = tasks.join_next() => continue,
        }
        let (relevant, version) = relevant_since(&node, seen);
        seen = version;
        if !relevant {
            continue;
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = sleep(Duration::from_millis(random.u64(DELAY_MILLIS))) => {}
        }
        seen = shared.store.version();
        let wanted = services::ports(&shared.store);
        if wanted != programmed {
            match network::feed(Tool::Nft, &["-f", "-"], &script(&wanted)).await {
                Ok(()) => programmed = wanted,
                Err(error) => eprintln!("failed to {error}"),
            }
        }
        forwarders.follow(&programmed, &mut tasks, &cancel).await;
        names::refresh(&node);
    }
    tasks.shutdown().await;
}

/// Whether something that the rules depend on changed, and up to which version that holds.
fn relevant_since(node: &Node, seen: u64) -> (bool, u64) {
    let store = &node.shared.store;
    match store.changes_since(seen) {
        Ok(changes) => {
            let version = changes.last().map_or(seen, |change| change.version);
            let kinds: [&kinds::Kind; 2] = [&kinds::SERVICE, &kinds::ENDPOINT_SLICE];
            (changes.iter().any(|change| kinds.contains(&change.kind)), version)
        }
        Err(_) => (true, store.version()),
    }
}

/// The script that replaces the table with one for these ports.
#[must_use]
fn script(ports: &[ServicePort]) -> String {
    let mut chains = String::new();
    let mut served = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let key = format!("{} . {} . {}", port.address, port.protocol, port.port);
        // What nobody serves is refused with all other cluster addresses.
        if !port.endpoints.is_empty() {
            served.push(format!("{key} : goto service-{number}"));
        }
        // Writing to a string cannot fail.
        let _ = write_chains(&mut chains, number, port);
    }
    format!(
        "table ip gameday
delete table ip gameday
table ip gameday {{
  map served {{
    type ipv4_addr . inet_proto . inet_service : verdict
{served}  }}
  chain prerouting {{
    type nat hook prerouting priority -100;
    ip daddr . meta l4proto . th dport vmap @served
  }}
  chain output {{
    type nat hook output priority -100;
    ip daddr . meta l4proto . th dport vmap @served
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    meta mark {HAIRPIN_MARK} masquerade
  }}
  chain forwarded {{
    type filter hook forward priority 0;
    ip daddr 10.96.0.0/16 goto refuse
  }}
  chain sent {{
    type filter hook output priority 0;
    ip daddr 10.96.0.0/16 goto refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
{chains}}}
",
        served = elements(&served),
    )
}

fn elements(rows: &[String]) -> String {
    if rows.is_empty() {
        String::new()
    } else {
        format!("    elements = {{\n      {}\n    }}\n", rows.join(",\n      "))
    }
}

fn write_chains(out: &mut String, number: usize, port: &ServicePort) -> std::fmt::Result {
    let Some(last) = port.endpoints.len().checked_sub(1) else { return Ok(()) };
    writeln!(out, "  # {}", port.label)?;
    for (place, endpoint) in port.endpoints.iter().enumerate() {
        writeln!(out, "  chain endpoint-{number}-{place} {{")?;
        writeln!(out, "    ip saddr {} meta mark set {HAIRPIN_MARK}", endpoint.ip())?;
        writeln!(out, "    meta l4proto {} dnat to {endpoint}", port.protocol)?;
        writeln!(out, "  }}")?;
    }
    let choices: Vec<String> = (0..=last).map(|place| format!("{place} : goto endpoint-{number}-{place}")).collect();
    writeln!(out, "  chain service-{number} {{")?;
    writeln!(out, "    numgen random mod {} vmap {{ {} }}", last + 1, choices.join(", "))?;
    writeln!(out, "  }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(label: &str, address: &str, port: u16, endpoints: &[&str]) -> ServicePort {
        ServicePort {
            label: label.to_owned(),
            address: address.parse().unwrap(),
            protocol: "tcp",
            port,
            node_port: None,
            endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_script_replaces_the_table() {
        let ports = [
            port("n/redis:6379", "10.96.0.20", 6379, &["10.244.0.2:6379"]),
            port("n/web:80", "10.96.0.21", 80, &["10.244.0.3:8000", "10.244.0.4:8000"]),
            port("n/none:80", "10.96.0.22", 80, &[]),
        ];
        insta::assert_snapshot!(script(&ports));
    }

    #[test]
    fn without_services_everything_is_refused() {
        insta::assert_snapshot!(script(&[]));
    }
}
