//! Names that pods know: `/etc/hosts`, written in place while they run, and the other
//! files of that sort.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::Node;
use super::services::{belongs, cluster_address};
use crate::kinds;
use crate::object;

/// What every hosts file begins with, as the kubelet writes it.
const HEAD: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The name by which a pod knows itself, and by which its headless Service knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodName {
    /// `spec.hostname`, or the pod's name.
    pub(super) hostname: String,
    /// `spec.subdomain`, empty where there is none.
    pub(super) subdomain: String,
    /// Its namespace.
    pub(super) namespace: String,
}

impl PodName {
    /// From the pod object.
    pub(super) fn of(pod: &Value) -> Self {
        let text = |key: &str| pod["spec"][key].as_str().unwrap_or_default().to_owned();
        // The kernel takes 64 bytes; the kubelet cuts at 63.
        let hostname = pod["spec"]["hostname"].as_str().unwrap_or(object::name(pod)).chars().take(63).collect();
        Self { hostname, subdomain: text("subdomain"), namespace: object::namespace(pod).to_owned() }
    }

    fn line(&self, address: Ipv4Addr) -> String {
        let Self { hostname, subdomain, namespace } = self;
        if subdomain.is_empty() {
            return format!("{address}\t{hostname}\n");
        }
        format!("{address}\t{hostname}.{subdomain}.{namespace}.svc.cluster.local\t{hostname}\n")
    }
}

/// The hosts file of one pod.
#[must_use]
pub(super) fn hosts(name: &PodName, address: Ipv4Addr, services: &[Arc<Value>], slices: &[Arc<Value>]) -> String {
    let mut text = format!("{HEAD}{}", name.line(address));
    for service in services {
        let (service_name, namespace) = (object::name(service), object::namespace(service));
        let mut names = Vec::new();
        if namespace == name.namespace {
            names.push(service_name.to_owned());
        }
        for suffix in ["", ".svc", ".svc.cluster.local"] {
            names.push(format!("{service_name}.{namespace}{suffix}"));
        }
        let names = names.join(" ");
        match cluster_address(service) {
            Some(address) => drop(writeln!(text, "{address}\t{names}")),
            None => headless(&mut text, service, &names, slices),
        }
    }
    text
}

/// A headless Service's name stands for its ready pods, and each has a name below it.
fn headless(text: &mut String, service: &Value, names: &str, slices: &[Arc<Value>]) {
    let endpoints = slices
        .iter()
        .filter(|slice| belongs(slice, service))
        .flat_map(|slice| slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default())
        .filter(|endpoint| endpoint["conditions"]["ready"] != false);
    for endpoint in endpoints {
        let Some(address) = endpoint["addresses"][0].as_str() else { continue };
        let own = endpoint["hostname"]
            .as_str()
            .map(|hostname| names.split(' ').map(|name| format!(" {hostname}.{name}")).collect::<String>());
        let _ = writeln!(text, "{address}\t{names}{}", own.unwrap_or_default());
    }
}

/// Writes the files that name things, for a pod that is about to start.
///
/// # Errors
/// What writing returned.
pub(super) fn write(node: &Node, dir: &Path, name: &PodName, address: Ipv4Addr) -> io::Result<()> {
    let namespace = &name.namespace;
    fs::write(dir.join("hostname"), format!("{}\n", name.hostname))?;
    fs::write(
        dir.join("resolv.conf"),
        format!(
            "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        ),
    )?;
    write_hosts(node, dir, name, address)
}

/// In place, because containers have this very file mounted. Safe to repeat.
pub(super) fn write_hosts(node: &Node, dir: &Path, name: &PodName, address: Ipv4Addr) -> io::Result<()> {
    let store = &node.shared.store;
    let (services, _) = store.list(&kinds::SERVICE, None);
    let (slices, _) = store.list(&kinds::ENDPOINT_SLICE, None);
    let text = hosts(name, address, &services, &slices);
    let path = dir.join("hosts");
    if fs::read_to_string(&path).is_ok_and(|now| now == text) { Ok(()) } else { fs::write(path, text) }
}

/// Writes the hosts files of all pods anew.
pub(super) fn refresh(node: &Node) {
    let (pods, _) = node.shared.store.list(&kinds::POD, None);
    for pod in pods {
        let dir = node.pod_dir(object::uid(&pod));
        let address = pod["status"]["podIP"].as_str().and_then(|address| address.parse().ok());
        // A pod that ends takes its directory away under our hands.
        if let Some(address) = address.filter(|_| dir.join("hosts").exists())
            && let Err(error) = write_hosts(node, &dir, &PodName::of(&pod), address)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("failed to write the hosts file of pod {}: {error}", object::name(&pod));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(hostname: &str, subdomain: &str) -> PodName {
        PodName { hostname: hostname.to_owned(), subdomain: subdomain.to_owned(), namespace: "n".to_owned() }
    }

    // Recorded in 60-pods/611 and 619.
    #[test]
    fn a_pod_knows_itself() {
        let address = Ipv4Addr::new(10, 244, 0, 167);
        assert_eq!(hosts(&name("p", ""), address, &[], &[]), format!("{HEAD}10.244.0.167\tp\n"));
        let with_subdomain = hosts(&name("h1", "sub"), address, &[], &[]);
        assert_eq!(with_subdomain, format!("{HEAD}10.244.0.167\th1.sub.n.svc.cluster.local\th1\n"));
    }

    #[test]
    fn services_are_known_by_all_their_names() {
        let service = |name: &str, namespace: &str, address: &str| {
            Arc::new(json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address}}))
        };
        let slice = Arc::new(json!({
            "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": [
                {"addresses": ["10.244.0.9"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.8"], "hostname": "db-1", "conditions": {"ready": false}},
            ],
        }));
        let services =
            [service("redis", "n", "10.96.0.20"), service("web", "m", "10.96.0.21"), service("db", "n", "None")];
        insta::assert_snapshot!(hosts(&name("p", ""), Ipv4Addr::new(10, 244, 0, 2), &services, &[slice]));
    }
}
