//! What faults need to know of workloads: their pods, their replicas, whether they are ready.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, pods};
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// How long a healed workload may take until all its pods are ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The pod of this name, if there is one.
pub(super) async fn pod(cluster: &Cluster, name: &str) -> Result<Option<Pod>, SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    api.get_opt(name).await.map_err(|error| SystemError::from_api(&format!("read pod `{name}`"), &error))
}

/// The first pod of the workload, by name, that is not being deleted.
pub(super) async fn first_pod(cluster: &Cluster, workload: &WorkloadRef) -> Result<Pod, SystemError> {
    let mut found = pods_of(cluster, workload).await?;
    found.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    found.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    found.into_iter().next().ok_or_else(|| SystemError {
        message: format!("find a pod of {workload} in namespace `{}`: there is none", cluster.namespace),
        transient: false,
    })
}

/// The id of the pod's first container, where it has started.
pub(super) fn first_container_id(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()?.container_id.clone()
}

/// The workload's `spec.replicas`.
pub(super) async fn replicas(cluster: &Cluster, workload: &WorkloadRef) -> Result<u32, SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let scale = match workload.kind {
        WorkloadKind::Deployment => Api::<Deployment>::namespaced(client, namespace).get_scale(name).await,
        WorkloadKind::StatefulSet => Api::<StatefulSet>::namespaced(client, namespace).get_scale(name).await,
    };
    let scale = scale.map_err(|error| SystemError::from_api(&format!("read the scale of {workload}"), &error))?;
    // An absent number of replicas is zero here, as the API writes it.
    Ok(scale.spec.and_then(|spec| spec.replicas).and_then(|number| u32::try_from(number).ok()).unwrap_or(0))
}

/// Scales the workload.
pub(super) async fn scale(cluster: &Cluster, workload: &WorkloadRef, replicas: u32) -> Result<(), SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let scaled: Result<Scale, _> = match workload.kind {
        WorkloadKind::Deployment => {
            Api::<Deployment>::namespaced(client, namespace).patch_scale(name, &parameters, &patch).await
        }
        WorkloadKind::StatefulSet => {
            Api::<StatefulSet>::namespaced(client, namespace).patch_scale(name, &parameters, &patch).await
        }
    };
    scaled.map(drop).map_err(|error| SystemError::from_api(&format!("scale {workload} to {replicas}"), &error))
}

/// Waits until as many pods as the workload wants are ready, and no other is left.
pub(super) async fn wait_until_ready(cluster: &Cluster, workload: &WorkloadRef) -> Result<(), SystemError> {
    let mut last = String::from("nothing");
    let looking = async {
        loop {
            match look(cluster, workload).await {
                Ok(None) => return Ok(()),
                Ok(Some(not_yet)) => last = not_yet,
                Err(error) if error.transient => last = error.to_string(),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, looking).await {
        Ok(result) => result,
        Err(_) => Err(SystemError {
            message: format!("see {workload} ready within {} s; last seen: {last}", READY_WITHIN.as_secs()),
            transient: false,
        }),
    }
}

async fn look(cluster: &Cluster, workload: &WorkloadRef) -> Result<Option<String>, SystemError> {
    let wanted = replicas(cluster, workload).await? as usize;
    let facts: Vec<_> = pods_of(cluster, workload).await?.iter().map(pods::facts).collect();
    let ready = facts.iter().filter(|pod| pod.ready && !pod.terminating).count();
    let same = ready == wanted && facts.len() == wanted;
    Ok((!same).then(|| format!("{ready} of {wanted} pods ready, {} there", facts.len())))
}

async fn pods_of(cluster: &Cluster, workload: &WorkloadRef) -> Result<Vec<Pod>, SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|error| SystemError::from_api(&format!("list pods of {workload}"), &error))?;
    Ok(all.items.into_iter().filter(|pod| pods::facts(pod).workload.as_ref() == Some(workload)).collect())
}
