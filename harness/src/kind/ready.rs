//! Waiting until nodes and the cluster's own pods are ready.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use super::{KindError, Tell};
use crate::cluster::{Cluster, reason};

/// How long that may take once the API answers.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Where the cluster's own pods are.
const SYSTEM: &str = "kube-system";

/// Waits until so many nodes, and all pods of `kube-system`, are ready.
pub(super) async fn wait(cluster: &Cluster, nodes: usize, tell: Tell<'_>) -> Result<(), KindError> {
    let mut last = String::new();
    let waiting = async {
        loop {
            match lacking(cluster, nodes).await {
                Ok(None) => return,
                Ok(Some(seen)) if last.is_empty() => {
                    tell(&format!("waiting until nodes and system pods are ready: {seen}"));
                    last = seen;
                }
                Ok(Some(seen)) | Err(seen) => last = seen,
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let what = || format!("nodes and pods of `{SYSTEM}` on `{}` ready", cluster.facts.name);
    let ended = tokio::time::timeout(READY_WITHIN, waiting).await;
    ended.map_err(|_| KindError::NotReady { what: what(), seconds: READY_WITHIN.as_secs(), last })
}

async fn lacking(cluster: &Cluster, whole: usize) -> Result<Option<String>, String> {
    let all = ListParams::default();
    let nodes = Api::<Node>::all(cluster.client.clone()).list(&all).await.map_err(|error| reason(&error))?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), SYSTEM);
    let pods = pods.list(&all).await.map_err(|error| reason(&error))?;
    Ok(unready(&nodes.items, &pods.items, whole))
}

/// What is not ready yet, in words; `None` where nothing is lacking.
fn unready(nodes: &[Node], pods: &[Pod], whole: usize) -> Option<String> {
    if nodes.len() < whole {
        return Some(format!("{} of {whole} nodes have joined", nodes.len()));
    }
    let node = nodes.iter().find(|node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        !conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    });
    if let Some(node) = node {
        return Some(format!("node {} is not ready", node.metadata.name.as_deref().unwrap_or_default()));
    }
    if pods.is_empty() {
        return Some(format!("no pod is in `{SYSTEM}`"));
    }
    let pod = pods.iter().find(|pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        !conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    })?;
    Some(format!("pod {} is not ready", pod.metadata.name.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_are_all_nodes_and_all_system_pods() {
        let object = |name: &str, ready: &str| {
            json!({
                "metadata": { "name": name },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            })
        };
        let check = |nodes: &[(&str, &str)], pods: &[(&str, &str)], expect: Option<&str>| {
            let nodes: Vec<Node> =
                nodes.iter().map(|(name, ready)| serde_json::from_value(object(name, ready)).unwrap()).collect();
            let pods: Vec<Pod> =
                pods.iter().map(|(name, ready)| serde_json::from_value(object(name, ready)).unwrap()).collect();
            assert_eq!(unready(&nodes, &pods, 2).as_deref(), expect);
        };
        let (both, dns) = ([("a", "True"), ("b", "True")], [("dns", "True")]);
        check(&both, &dns, None);
        check(&both[..1], &dns, Some("1 of 2 nodes have joined"));
        check(&[("a", "True"), ("b", "False")], &dns, Some("node b is not ready"));
        check(&both, &[], Some("no pod is in `kube-system`"));
        check(&both, &[("dns", "True"), ("proxy", "False")], Some("pod proxy is not ready"));
    }
}
