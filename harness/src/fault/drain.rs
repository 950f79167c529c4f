//! A node drained as `kubectl drain --ignore-daemonsets` does it, and let have pods again.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{EvictParams, ListParams};

use crate::cluster::Cluster;
use crate::system::SystemError;

/// How long a node that comes back may take until it is ready, and then what runs on it: it
/// starts as a machine does.
pub(super) const NODE_READY_WITHIN: Duration = Duration::from_secs(120);
/// How long disruption budgets may hold a drain up: each eviction that they refuse waits for a
/// replacement.
const EVICTED_WITHIN: Duration = Duration::from_secs(50);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// The annotation of a pod that a kubelet made from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Cordons the node and evicts every pod that can be evicted, as far as budgets let it.
pub(super) async fn drain(cluster: &Cluster, node: &str) -> Result<(), SystemError> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.cordon(node).await.map_err(|error| SystemError::from_api(&format!("cordon node `{node}`"), &error))?;
    let mut last = String::from("nothing");
    let evicting = async {
        loop {
            match evict_all(cluster, node).await? {
                None => return Ok(()),
                Some(held) => last = held,
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(EVICTED_WITHIN, evicting).await.unwrap_or_else(|_| {
        let message = format!("drain node `{node}` within {} s; last seen: {last}", EVICTED_WITHIN.as_secs());
        Err(SystemError { message, transient: false })
    })
}

/// One eviction of every pod that is not on its way out yet; says what a budget holds back.
async fn evict_all(cluster: &Cluster, node: &str) -> Result<Option<String>, SystemError> {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let listed = Api::<Pod>::all(cluster.client.clone()).list(&here).await;
    let listed = listed.map_err(|error| SystemError::from_api(&format!("list pods of node `{node}`"), &error))?;
    let mut held = None;
    for pod in listed.items.iter().filter(|pod| is_evicted(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
        match pods.evict(&name, &EvictParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // A budget holds it back, until another pod is there.
            Err(kube::Error::Api(status)) if status.code == 429 => {
                held = Some(format!("pod {namespace}/{name}: {}", status.message));
            }
            Err(error) => return Err(SystemError::from_api(&format!("evict pod `{name}`"), &error)),
        }
    }
    Ok(held)
}

/// Whether a drain asks this pod to go: not one that belongs to every node, nor one that a
/// kubelet made from a file, nor one that is going or has ended.
fn is_evicted(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let is_mirror = pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR));
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !owners.iter().any(|owner| owner.kind == "DaemonSet")
        && !is_mirror
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Lets pods be scheduled to the node again; whether they were not.
pub(super) async fn uncordon(cluster: &Cluster, node: &str) -> Result<bool, SystemError> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let found = nodes.get(node).await.map_err(|error| SystemError::from_api(&format!("read node `{node}`"), &error))?;
    if found.spec.and_then(|spec| spec.unschedulable) != Some(true) {
        return Ok(false);
    }
    let done = nodes.uncordon(node).await;
    done.map(|_| true).map_err(|error| SystemError::from_api(&format!("uncordon node `{node}`"), &error))
}

/// Waits until the node says that it is ready; an API server that comes back with it is waited for.
pub(super) async fn wait_until_ready(cluster: &Cluster, node: &str) -> Result<(), SystemError> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let mut last = String::from("nothing");
    let looking = async {
        loop {
            match nodes.get(node).await {
                Ok(found) if is_ready(&found) => return,
                Ok(_) => "it is not ready".clone_into(&mut last),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let ready = tokio::time::timeout(NODE_READY_WITHIN, looking).await;
    ready.map_err(|_| SystemError {
        message: format!("see node `{node}` ready within {} s; last seen: {last}", NODE_READY_WITHIN.as_secs()),
        transient: false,
    })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_drain_asks_those_to_go_that_kubectl_asks() {
        let check = |pod: Value, expect: bool| {
            let read: Pod = serde_json::from_value(pod.clone()).unwrap();
            assert_eq!(is_evicted(&read), expect, "{pod}");
        };
        let owned = |kind: &str| {
            json!({ "metadata": { "ownerReferences":
                [{ "apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true }] } })
        };
        check(owned("ReplicaSet"), true);
        check(owned("StatefulSet"), true);
        check(owned("DaemonSet"), false);
        check(json!({ "metadata": { "annotations": { MIRROR: "x" } } }), false);
        check(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }), false);
        check(json!({ "metadata": {}, "status": { "phase": "Succeeded" } }), false);
        check(json!({ "metadata": {}, "status": { "phase": "Running" } }), true);
    }

    #[test]
    fn a_node_is_ready_where_its_condition_says_so() {
        for (status, expect) in [("True", true), ("False", false), ("Unknown", false)] {
            let node = json!({ "metadata": {}, "status": { "conditions": [
                { "type": "DiskPressure", "status": "True" }, { "type": "Ready", "status": status }] } });
            assert_eq!(is_ready(&serde_json::from_value(node).unwrap()), expect, "{status}");
        }
    }
}
