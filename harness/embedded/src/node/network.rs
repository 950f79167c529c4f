//! Addresses and routes: every pod has a /32 and a route of its own, so all traffic
//! between pods passes the cluster's namespace, and connection tracking sees replies.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::launch::{LaunchError, Tool};

/// First and last two bytes of what pods may have: 10.244.0.2 to 10.244.255.254.
const POD_SUFFIXES: std::ops::RangeInclusive<u16> = 2..=0xfffe;

/// The next hop that every pod believes in; the host's end of its cable answers for it.
const GATEWAY: &str = "169.254.1.1";

/// Hardware address of the host's end of every cable.
const GATEWAY_HARDWARE: &str = "ee:ee:ee:ee:ee:ee";

/// How long one of the system's tools may take.
const TOOL_DEADLINE: Duration = Duration::from_secs(10);

/// Kernel settings of the cluster's namespace: it routes, and does not ration its refusals.
const CLUSTER_SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_forward", "1"), ("/proc/sys/net/ipv4/icmp_ratelimit", "0")];

/// Kernel settings of a pod's namespace, as container runtimes have them.
pub(super) const POD_SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"), ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")];

/// Which pod addresses are in use.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    used: BTreeSet<u16>,
    last: u16,
}

impl Addresses {
    /// The next free address; one that was given back is used again as late as possible.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let next = POD_SUFFIXES.skip_while(|suffix| *suffix <= self.last);
        let suffix = next.chain(POD_SUFFIXES).find(|suffix| !self.used.contains(suffix))?;
        self.used.insert(suffix);
        self.last = suffix;
        let [high, low] = suffix.to_be_bytes();
        Some(Ipv4Addr::new(10, 244, high, low))
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, address: Ipv4Addr) {
        self.used.remove(&suffix(address));
    }
}

/// Makes the cluster's namespace a router.
///
/// # Errors
/// `ip` is missing or refused.
pub(super) async fn set_up(node: Ipv4Addr) -> Result<(), LaunchError> {
    for (file, value) in CLUSTER_SYSCTLS {
        std::fs::write(file, value).map_err(|error| LaunchError::new(format!("set {file} to {value}: {error}")))?;
    }
    // Addresses of pods that are gone swallow packets, as a real node's routes do; cluster
    // addresses need some route, or a refusal could not be sent.
    let script = format!(
        "link set lo up\naddr add {node}/32 dev lo\n\
         route add blackhole 10.244.0.0/16\nroute add 10.96.0.0/16 dev lo src {node}\n"
    );
    feed(Tool::Ip, &["-batch", "-"], &script).await
}

/// Connects a pod's network namespace, held by `pid`, to the cluster's.
///
/// # Errors
/// `ip` is missing or refused.
pub(super) async fn attach(pid: u32, address: Ipv4Addr, node: Ipv4Addr) -> Result<(), LaunchError> {
    let cable = cable(address);
    let hardware = hardware(address);
    let script = format!(
        "link add {cable} address {GATEWAY_HARDWARE} type veth peer name eth0 address {hardware} netns {pid}\n\
         link set {cable} up\n\
         neigh replace {address} lladdr {hardware} dev {cable} nud permanent\n\
         route replace {address}/32 dev {cable} src {node}\n"
    );
    feed(Tool::Ip, &["-batch", "-"], &script).await
}

/// Takes the cable away at once; the kernel would do so some time after the pod's last process.
pub(super) async fn detach(address: Ipv4Addr) {
    // Nothing to do where it is gone already.
    let _ = feed(Tool::Ip, &["-batch", "-"], &format!("link del {}\n", cable(address))).await;
}

/// What `ip -batch -` does inside the pod's namespace.
#[must_use]
pub(super) fn pod_script(address: Ipv4Addr) -> String {
    format!(
        "link set lo up\nlink set eth0 up\naddr add {address}/32 dev eth0\n\
         route add {GATEWAY} dev eth0 scope link\n\
         neigh replace {GATEWAY} lladdr {GATEWAY_HARDWARE} dev eth0 nud permanent\n\
         route add default via {GATEWAY} dev eth0\n"
    )
}

/// Runs one of the system's tools with a script on its stdin.
///
/// # Errors
/// It is missing, fails (the message has its first line), or takes longer than 10 s.
pub(super) async fn feed(tool: Tool, arguments: &[&str], script: &str) -> Result<(), LaunchError> {
    let failed = |what: String| LaunchError::new(format!("run `{} {}`: {what}", tool.name(), arguments.join(" ")));
    let mut command = Command::new(tool.path()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut input = child.stdin.take().expect("stdin was asked for");
    let run = async {
        // A tool that stops reading says why on its stderr.
        let _ = input.write_all(script.as_bytes()).await;
        drop(input);
        child.wait_with_output().await
    };
    match timeout(TOOL_DEADLINE, run).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(failed(format!("{}: {}", output.status, text.lines().next().unwrap_or("no message"))))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end after {} s", TOOL_DEADLINE.as_secs()))),
    }
}

fn suffix(address: Ipv4Addr) -> u16 {
    let [_, _, high, low] = address.octets();
    u16::from_be_bytes([high, low])
}

fn cable(address: Ipv4Addr) -> String {
    format!("pod{:04x}", suffix(address))
}

fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_reused_late() {
        let mut addresses = Addresses::default();
        let first = addresses.take().unwrap();
        let second = addresses.take().unwrap();
        assert_eq!((first, second), (Ipv4Addr::new(10, 244, 0, 2), Ipv4Addr::new(10, 244, 0, 3)));
        addresses.release(first);
        assert_eq!(addresses.take().unwrap(), Ipv4Addr::new(10, 244, 0, 4));
    }

    #[test]
    fn addresses_end_and_begin_again() {
        let mut addresses = Addresses::default();
        let all: BTreeSet<Ipv4Addr> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all.len(), 0xfffd);
        let middle = Ipv4Addr::new(10, 244, 7, 9);
        addresses.release(middle);
        assert_eq!(addresses.take(), Some(middle));
        assert_eq!(addresses.take(), None);
    }
}
