//! A node of a kind cluster lost, frozen, restarted, or drained.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, drain, node_container, workload};
use crate::cluster::{Cluster, pods};
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// The label of nodes of the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Does something to a node; healed by bringing it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeFault {
    /// Which node.
    pub of: NodeChoice,
    /// What is done to it.
    pub does: NodeDeed,
}

/// Which node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeChoice {
    /// The first one of the control plane.
    ControlPlane,
    /// A worker that the seed chooses.
    AnyWorker,
    /// A worker by what runs on it.
    Runs(Runs),
}

/// A worker by what runs on it, in the system's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Runs {
    /// A pod of this workload runs there: the first one by name, of those that are possible.
    pub workload: WorkloadRef,
    /// No pod of this workload runs there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<WorkloadRef>,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeDeed {
    /// It is gone as in a power cut, until it is started again.
    Stop,
    /// It stands still, until it is let go on.
    Pause,
    /// It is gone as in a power cut, and starts again at once.
    Restart,
    /// Nothing new is scheduled to it, and its pods are evicted as `kubectl drain` does it.
    Drain,
}

/// What healing a node needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeReceipt {
    /// The node, which is its container's name too.
    pub node: String,
    /// The container's id: one that was made anew is not the one that we broke.
    pub container: String,
    /// What was done to it.
    pub does: NodeDeed,
    /// Whether nothing was scheduled to it before.
    pub was_unschedulable: bool,
    /// The namespace whose pods were on it.
    pub namespace: String,
    /// Their workloads, which must be whole again.
    pub workloads: Vec<WorkloadRef>,
}

impl fmt::Display for NodeChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => formatter.write_str("the control plane's node"),
            Self::AnyWorker => formatter.write_str("a worker node"),
            Self::Runs(Runs { workload, without: None }) => write!(formatter, "a node that runs {workload}"),
            Self::Runs(Runs { workload, without: Some(without) }) => {
                write!(formatter, "a node that runs {workload} and not {without}")
            }
        }
    }
}

impl NodeDeed {
    /// What was done, as the end of a sentence about the node.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Pause => "paused",
            Self::Restart => "restarted",
            Self::Drain => "drained",
        }
    }
}

impl NodeFault {
    /// Chooses the node and finds its container. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is none.
    pub async fn prepare(&self, cluster: &Cluster, seed: u64) -> Result<Receipt, SystemError> {
        let does = self.does;
        prepared(cluster, &self.of, seed, does).await.map(Receipt::Node)
    }

    /// What is done, in words.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} {}", self.of, self.does.done())
    }
}

/// A receipt for something done to a node that is chosen.
pub(super) async fn prepared(
    cluster: &Cluster,
    of: &NodeChoice,
    seed: u64,
    does: NodeDeed,
) -> Result<NodeReceipt, SystemError> {
    node_container::require_kind(cluster, "break a node")?;
    let listed = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let nodes = listed.map_err(|error| SystemError::from_api("list nodes", &error))?.items;
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace).list(&ListParams::default()).await;
    let pods: Vec<Placed> =
        pods.map_err(|error| SystemError::from_api("list pods", &error))?.items.iter().filter_map(Placed::of).collect();
    let node = chosen(of, &nodes, &pods, seed).ok_or_else(|| SystemError {
        message: format!("find {of}: none of the {} nodes is one", nodes.len()),
        transient: false,
    })?;
    let engine = node_container::engine().await?;
    let container = node_container::verified(&engine, cluster, &node).await?;
    let was_unschedulable = nodes.iter().any(|one| {
        one.metadata.name.as_ref() == Some(&node)
            && one.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
    });
    let mut workloads: Vec<WorkloadRef> =
        pods.into_iter().filter(|pod| pod.node == node).map(|pod| pod.workload).collect();
    workloads.sort();
    workloads.dedup();
    Ok(NodeReceipt { node, container, does, was_unschedulable, namespace: cluster.namespace.clone(), workloads })
}

/// A pod, and where it runs.
#[derive(Debug, Clone)]
struct Placed {
    name: String,
    node: String,
    workload: WorkloadRef,
}

impl Placed {
    fn of(pod: &Pod) -> Option<Self> {
        let facts = pods::facts(pod);
        let node = pod.spec.as_ref()?.node_name.clone()?;
        (!facts.terminating).then_some(())?;
        Some(Self { name: facts.name, node, workload: facts.workload? })
    }
}

/// The node that is meant; the same for the same seed.
fn chosen(of: &NodeChoice, nodes: &[Node], pods: &[Placed], seed: u64) -> Option<String> {
    let is_control =
        |node: &&Node| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE));
    let named = |node: &Node| node.metadata.name.clone();
    let mut control: Vec<String> = nodes.iter().filter(is_control).filter_map(named).collect();
    let mut workers: Vec<String> = nodes.iter().filter(|node| !is_control(node)).filter_map(named).collect();
    control.sort();
    workers.sort();
    match of {
        NodeChoice::ControlPlane => control.into_iter().next(),
        NodeChoice::AnyWorker if workers.is_empty() => None,
        NodeChoice::AnyWorker => {
            let place = fastrand::Rng::with_seed(seed).usize(..workers.len());
            workers.into_iter().nth(place)
        }
        NodeChoice::Runs(Runs { workload, without }) => {
            let has = |node: &str, workload: &WorkloadRef| {
                pods.iter().any(|pod| pod.node == node && pod.workload == *workload)
            };
            let possible = |pod: &&Placed| {
                pod.workload == *workload
                    && workers.contains(&pod.node)
                    && without.as_ref().is_none_or(|without| !has(&pod.node, without))
            };
            pods.iter().filter(possible).min_by_key(|pod| &pod.name).map(|pod| pod.node.clone())
        }
    }
}

impl NodeReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        let engine = node_container::engine().await?;
        match self.does {
            NodeDeed::Stop => node_container::stop(&engine, &self.container).await,
            NodeDeed::Pause => node_container::pause(&engine, &self.container).await,
            NodeDeed::Restart => node_container::restart(&engine, &self.container).await,
            NodeDeed::Drain => drain::drain(cluster, &self.node).await,
        }
    }

    /// What can be put right without an API server, which may have been on that node.
    pub(super) async fn heal_below(&self) -> Result<Vec<String>, SystemError> {
        match self.does {
            NodeDeed::Drain => Ok(Vec::new()),
            NodeDeed::Stop | NodeDeed::Pause | NodeDeed::Restart => {
                let engine = node_container::engine().await?;
                node_container::bring_back(&engine, &self.container, &format!("node {}", self.node)).await
            }
        }
    }

    /// Lets pods come to the node again, and waits until it and what ran on it are well.
    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let mut undone = Vec::new();
        if self.does == NodeDeed::Drain && !self.was_unschedulable && drain::uncordon(cluster, &self.node).await? {
            undone.push(format!("node {} uncordoned", self.node));
        }
        drain::wait_until_ready(cluster, &self.node).await?;
        wait_for(cluster, &self.namespace, &self.workloads).await?;
        Ok(undone)
    }
}

/// Waits until workloads of a namespace are whole.
pub(super) async fn wait_for(cluster: &Cluster, namespace: &str, workloads: &[WorkloadRef]) -> Result<(), SystemError> {
    let there = cluster.lane(namespace);
    for one in workloads {
        workload::wait_until_ready_within(&there, one, drain::NODE_READY_WITHIN).await?;
    }
    Ok(())
}

impl fmt::Display for NodeReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} {}", self.node, self.does.done())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, control: bool) -> Node {
        let labels = if control { json!({ CONTROL_PLANE: "" }) } else { json!({}) };
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
    }

    #[test]
    fn a_node_is_chosen_by_what_runs_on_it() {
        let nodes = [node("c", true), node("w2", false), node("w1", false)];
        let placed = |name: &str, node: &str, workload: &str| Placed {
            name: name.to_owned(),
            node: node.to_owned(),
            workload: workload.parse().unwrap(),
        };
        let pods = [
            placed("backend-2", "w2", "deployment/backend"),
            placed("backend-1", "w1", "deployment/backend"),
            placed("redis-0", "w1", "statefulset/redis"),
        ];
        let runs = |workload: &str, without: Option<&str>| {
            NodeChoice::Runs(Runs {
                workload: workload.parse().unwrap(),
                without: without.map(|without| without.parse().unwrap()),
            })
        };
        for (of, expected) in [
            (NodeChoice::ControlPlane, Some("c")),
            (runs("deployment/backend", None), Some("w1")),
            (runs("deployment/backend", Some("statefulset/redis")), Some("w2")),
            (runs("statefulset/redis", Some("deployment/backend")), None),
            (runs("deployment/frontend", None), None),
        ] {
            assert_eq!(chosen(&of, &nodes, &pods, 1).as_deref(), expected, "{of}");
        }
        let any = |seed| chosen(&NodeChoice::AnyWorker, &nodes, &pods, seed).unwrap();
        assert!((0..20).all(|seed| any(seed) == any(seed) && any(seed).starts_with('w')));
        assert!((0..20).any(|seed| any(seed) == "w1") && (0..20).any(|seed| any(seed) == "w2"));
        assert_eq!(chosen(&NodeChoice::AnyWorker, &nodes[..1], &pods, 1), None, "no worker");
    }
}
