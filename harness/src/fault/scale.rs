//! A workload scaled, as `kubectl scale` does it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Scales a workload to a number of replicas; healed by scaling it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scale {
    /// Which workload.
    pub workload: WorkloadRef,
    /// To how many replicas.
    pub replicas: u32,
}

impl Scale {
    /// Reads the number of replicas to go back to. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where the workload is not there.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        Ok(Receipt::Scale {
            namespace: cluster.namespace.clone(),
            workload: self.workload.clone(),
            replicas_before: workload::replicas(cluster, &self.workload).await?,
            replicas_fault: self.replicas,
        })
    }
}

pub(super) async fn inject(receipt: &Receipt, cluster: &Cluster) -> Result<(), SystemError> {
    let Receipt::Scale { workload, replicas_fault, .. } = receipt else { unreachable!("dispatched by kind") };
    workload::scale(cluster, workload, *replicas_fault).await
}

pub(super) async fn heal(receipt: &Receipt, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
    let Receipt::Scale { workload, replicas_before, replicas_fault, .. } = receipt else {
        unreachable!("dispatched by kind")
    };
    // Any other number is somebody's decision since then: the remedy's, or a person's.
    if replicas_before == replicas_fault || workload::replicas(cluster, workload).await? != *replicas_fault {
        return Ok(Vec::new());
    }
    workload::scale(cluster, workload, *replicas_before).await?;
    Ok(vec![format!("{workload} scaled back from {replicas_fault} to {replicas_before}")])
}
