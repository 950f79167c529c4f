//! A rollout restarted, as `kubectl rollout restart` does it: every pod is replaced, one after
//! the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Restarts the workload's rollout. Nothing of it has to be undone: its controller goes on to
/// its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RolloutRestart {
    /// Whose.
    pub workload: WorkloadRef,
}

impl RolloutRestart {
    /// Makes sure that the workload is there. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where it is not.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        workload::replicas(cluster, &self.workload).await?;
        Ok(Receipt::RolloutRestart { namespace: cluster.namespace.clone(), workload: self.workload.clone() })
    }
}

pub(super) async fn inject(receipt: &Receipt, cluster: &Cluster) -> Result<(), SystemError> {
    let Receipt::RolloutRestart { workload: restarted, .. } = receipt else { unreachable!("dispatched by kind") };
    workload::restart(cluster, restarted).await.map(drop)
}
