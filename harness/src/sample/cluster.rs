//! The cluster itself, below the system: its nodes, its API server, its local registry.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tokio::net::lookup_host;

use super::ClusterCheck;
use super::door::{Door, Failure};
use super::http::{Reply, exchange};
use crate::fault::registry;

/// Where a cluster tells of its local registry.
const HOSTING: &str = "/api/v1/namespaces/kube-public/configmaps/local-registry-hosting";

/// One sort of look at the cluster.
pub(crate) struct ClusterLook {
    door: Door,
    check: ClusterCheck,
    /// Where the registry is, once the cluster has told.
    registry: Mutex<Option<SocketAddr>>,
}

#[derive(Deserialize)]
struct Nodes {
    items: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Default)]
struct Spec {
    #[serde(default)]
    unschedulable: bool,
}

#[derive(Deserialize, Default)]
struct NodeStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl ClusterLook {
    pub(crate) fn new(door: Door, check: ClusterCheck) -> Self {
        Self { door, check, registry: Mutex::new(None) }
    }

    /// One look; there is no value.
    ///
    /// # Errors
    /// [`Failure::Theirs`] for what is not as it should be. Where the nodes, or the registry's
    /// address, cannot be asked for, nothing is known of them.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        match self.check {
            ClusterCheck::NodesReady => judge(&self.ask("/api/v1/nodes").await?, is_ready, "is not ready"),
            ClusterCheck::NodesSchedulable => {
                judge(&self.ask("/api/v1/nodes").await?, |node| !node.spec.unschedulable, "takes no new pods")
            }
            ClusterCheck::ApiServer => self.api_server().await,
            ClusterCheck::Registry => self.registry().await,
        }
    }

    /// Asks the API server for something that it must know.
    async fn ask(&self, path: &str) -> Result<Reply, Failure> {
        let (reply, _) = exchange(&self.door, path, None).await.map_err(|failure| Failure::Ours(said(failure)))?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(Failure::Ours(format!("the API server answered {} for `{path}`", reply.status.as_u16())))
    }

    /// What keeps anybody from the API server is what is looked for here.
    async fn api_server(&self) -> Result<Option<String>, Failure> {
        let (reply, _) =
            exchange(&self.door, "/readyz", None).await.map_err(|failure| Failure::Theirs(said(failure)))?;
        let status = reply.status;
        if status.is_success() { Ok(None) } else { Err(Failure::Theirs(format!("status {}", status.as_u16()))) }
    }

    async fn registry(&self) -> Result<Option<String>, Failure> {
        let known = *self.slot();
        let address = match known {
            Some(address) => address,
            None => self.find_registry().await?,
        };
        *self.slot() = Some(address);
        let (reply, _) = exchange(&Door::direct(address), "/v2/", None).await?;
        // One that wants credentials answers too.
        match reply.status.as_u16() {
            200 | 401 => Ok(None),
            status => Err(Failure::Theirs(format!("status {status}"))),
        }
    }

    async fn find_registry(&self) -> Result<SocketAddr, Failure> {
        let unknown = |why: &str| Failure::Ours(format!("where the registry is: {why}"));
        let map: serde_json::Value =
            serde_json::from_slice(&self.ask(HOSTING).await?.body).map_err(|error| unknown(&error.to_string()))?;
        let told = map.pointer("/data/localRegistryHosting.v1").and_then(serde_json::Value::as_str);
        let host = told.and_then(registry::host).ok_or_else(|| unknown("the cluster does not tell"))?;
        let mut found = lookup_host(&host).await.map_err(|error| unknown(&error.to_string()))?;
        // A port that a container publishes is on IPv4 wherever it is on IPv6 too.
        let all: Vec<SocketAddr> = found.by_ref().collect();
        let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
        first.copied().ok_or_else(|| unknown(&format!("`{host}` has no address")))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        // Nothing that can panic runs while it is held.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Ours(reason) | Failure::Theirs(reason) => reason,
    }
}

fn is_ready(node: &Node) -> bool {
    node.status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

/// Whether every node is as it should be; else the first that is not.
fn judge(reply: &Reply, is_well: impl Fn(&Node) -> bool, wrong: &str) -> Result<Option<String>, Failure> {
    let nodes: Nodes =
        serde_json::from_slice(&reply.body).map_err(|error| Failure::Ours(format!("read the nodes: {error}")))?;
    if nodes.items.is_empty() {
        return Err(Failure::Ours("the cluster has no nodes".to_owned()));
    }
    let not_well: Vec<_> = nodes.items.iter().filter(|node| !is_well(node)).map(|node| &*node.metadata.name).collect();
    if not_well.is_empty() { Ok(None) } else { Err(Failure::Theirs(format!("node {} {wrong}", not_well.join(", ")))) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    fn check(items: Value, ready: Result<(), Failure>, schedulable: Result<(), Failure>) {
        let body = Bytes::from(json!({ "kind": "NodeList", "items": items }).to_string());
        let reply = Reply { status: StatusCode::OK, kind: None, body };
        assert_eq!(judge(&reply, is_ready, "is not ready").map(drop), ready, "{items}");
        let free = |node: &Node| !node.spec.unschedulable;
        assert_eq!(judge(&reply, free, "takes no new pods").map(drop), schedulable, "{items}");
    }

    #[test]
    fn every_node_must_be_well() {
        let node = |name: &str, ready: &str, unschedulable: Value| {
            json!({ "metadata": { "name": name }, "spec": { "unschedulable": unschedulable },
                "status": { "conditions": [{ "type": "DiskPressure", "status": "False" }, { "type": "Ready", "status": ready }] } })
        };
        let theirs = |reason: &str| Err(Failure::Theirs(reason.to_owned()));
        let (yes, no) = (json!(true), json!(false));
        check(json!([node("a", "True", no.clone()), node("b", "True", no.clone())]), Ok(()), Ok(()));
        check(json!([node("a", "True", no.clone()), node("b", "Unknown", no)]), theirs("node b is not ready"), Ok(()));
        check(json!([node("a", "True", yes)]), Ok(()), theirs("node a takes no new pods"));
        check(json!([{ "metadata": { "name": "new" } }]), theirs("node new is not ready"), Ok(()));
        let none = || Err(Failure::Ours("the cluster has no nodes".to_owned()));
        check(json!([]), none(), none());
    }
}
