//! A kubelet stopped: its node's containers run on, and nobody tends them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::{self, NodeChoice, NodeDeed};
use super::{Receipt, drain, node_container};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Its unit.
const UNIT: &str = "kubelet";

/// Stops the kubelet of a node; healed by starting it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kubelet {
    /// Of which node.
    pub of: NodeChoice,
}

/// What healing a kubelet needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubeletReceipt {
    /// The node.
    pub node: String,
    /// Id of its container.
    pub container: String,
    /// The namespace whose pods were on it.
    pub namespace: String,
    /// Their workloads, which must be whole again.
    pub workloads: Vec<WorkloadRef>,
}

impl Kubelet {
    /// Chooses the node. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is none.
    pub async fn prepare(&self, cluster: &Cluster, seed: u64) -> Result<Receipt, SystemError> {
        let node = node::prepared(cluster, &self.of, seed, NodeDeed::Stop).await?;
        Ok(Receipt::Kubelet(KubeletReceipt {
            node: node.node,
            container: node.container,
            namespace: node.namespace,
            workloads: node.workloads,
        }))
    }
}

impl KubeletReceipt {
    pub(super) async fn inject(&self) -> Result<(), SystemError> {
        let engine = node_container::engine().await?;
        node_container::run(&engine, &self.container, &["systemctl", "stop", UNIT]).await.map(drop)
    }

    /// Starts it where it does not run, without an API server.
    pub(super) async fn heal_below(&self) -> Result<Vec<String>, SystemError> {
        let engine = node_container::engine().await?;
        if node_container::state(&engine, &self.container).await?.is_none() {
            return Ok(Vec::new());
        }
        // One that runs is asked for its state, which is no error then.
        let state = node_container::run(&engine, &self.container, &["sh", "-c", STATE]).await?;
        if state.trim() == "active" {
            return Ok(Vec::new());
        }
        node_container::run(&engine, &self.container, &["systemctl", "start", UNIT]).await?;
        Ok(vec![format!("kubelet of node {} started", self.node)])
    }

    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        drain::wait_until_ready(cluster, &self.node).await?;
        node::wait_for(cluster, &self.namespace, &self.workloads).await?;
        Ok(Vec::new())
    }
}

/// `is-active` says in its exit code as well what it prints.
const STATE: &str = "systemctl is-active kubelet || true";

impl fmt::Display for KubeletReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kubelet of node {} stopped", self.node)
    }
}
