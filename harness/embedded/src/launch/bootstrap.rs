//! The objects that are there from the start, and the kubeconfig.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::kinds;
use crate::object;
use crate::shape;
use crate::status::Status;
use crate::store::Store;

/// Name of the one node.
pub(crate) const NODE_NAME: &str = "gameday";

/// The node's address inside the cluster.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 1);

/// The version of Kubernetes that is imitated.
const VERSION: &str = "v1.36.2";

/// Creates them: namespaces, the Service of the API server, the node.
///
/// # Errors
/// What the store says.
pub(super) fn create(store: &Store) -> Result<(), Status> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        store.create(&kinds::NAMESPACE, namespace(name))?;
    }
    let mut service = kubernetes_service();
    shape::fill_defaults(&kinds::SERVICE, &mut service);
    store.create(&kinds::SERVICE, service)?;
    store.create(&kinds::NODE, node(&Machine::read())).map(|_| ())
}

/// The kubeconfig of a cluster; the token is the only secret in it.
#[must_use]
pub(super) fn kubeconfig(name: &str, port: u16, authority_pem: &str, token: &str) -> Value {
    let name = format!("gameday-{name}");
    let authority = k8s_openapi::ByteString(authority_pem.as_bytes().to_vec());
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority-data": authority,
        }}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
}

fn namespace(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// Pods find `KUBERNETES_SERVICE_HOST` in their environment; nothing answers there.
fn kubernetes_service() -> Value {
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
        },
    })
}

/// What the node says of the machine it is on.
struct Machine {
    processors: usize,
    memory_kib: u64,
    kernel: String,
    machine_id: String,
    boot_id: String,
    os_image: String,
}

impl Machine {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let memory = text("/proc/meminfo");
        let total =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        let release = text("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_kib: total.unwrap_or(0),
            kernel: text("/proc/sys/kernel/osrelease"),
            machine_id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        }
    }
}

fn node(machine: &Machine) -> Value {
    let resources = json!({
        "cpu": machine.processors.to_string(), "memory": format!("{}Ki", machine.memory_kib), "pods": "110",
    });
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({
        "metadata": {"name": NODE_NAME, "labels": {
            "kubernetes.io/arch": architecture, "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux",
            "node-role.kubernetes.io/control-plane": "",
        }},
        "spec": {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": NODE_ADDRESS.to_string()}, {"type": "Hostname", "address": NODE_NAME},
            ],
            "allocatable": resources, "capacity": resources,
            "conditions": conditions(&object::timestamp()),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": architecture, "bootID": machine.boot_id,
                "containerRuntimeVersion": concat!("gameday://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": machine.kernel, "kubeProxyVersion": "", "kubeletVersion": VERSION,
                "machineID": machine.machine_id, "operatingSystem": "linux", "osImage": machine.os_image,
                "systemUUID": machine.machine_id,
            },
        },
    })
}

fn conditions(now: &str) -> Value {
    let pressures = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ];
    let one = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let mut all: Vec<Value> =
        pressures.iter().map(|(kind, reason, message)| one(kind, "False", reason, message)).collect();
    all.push(one("Ready", "True", "KubeletReady", "kubelet is posting ready status"));
    Value::Array(all)
}
