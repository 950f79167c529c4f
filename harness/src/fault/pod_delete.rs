//! A pod deleted, as `kubectl delete pod` does it.

use kube::api::{Api, DeleteParams, Preconditions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use k8s_openapi::api::core::v1::Pod;

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Deletes the workload's first pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodDelete {
    /// Whose pod.
    pub of: WorkloadRef,
}

impl PodDelete {
    /// Finds the pod. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is none.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let pod = workload::first_pod(cluster, &self.of).await?;
        Ok(Receipt::PodDelete {
            namespace: cluster.namespace.clone(),
            pod: pod.metadata.name.unwrap_or_default(),
            uid: pod.metadata.uid.unwrap_or_default(),
            of: self.of.clone(),
        })
    }
}

pub(super) async fn inject(receipt: &Receipt, cluster: &Cluster) -> Result<(), SystemError> {
    let Receipt::PodDelete { namespace, pod, uid, .. } = receipt else { unreachable!("dispatched by kind") };
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    // Only the pod that the evidence knows: one that was replaced meanwhile is another.
    let preconditions = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let deleted = api.delete(pod, &parameters).await;
    deleted.map(drop).map_err(|error| SystemError::from_api(&format!("delete pod `{pod}`"), &error))
}
