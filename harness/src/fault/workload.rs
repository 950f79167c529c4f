//! What faults need to know of workloads: their pods, their replicas, whether they are ready.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::clock::wall_clock;
use crate::cluster::{Cluster, pods};
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// How long a healed workload may take until all its pods are ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);
/// What `kubectl rollout restart` leaves in a template.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
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
    wait_until_ready_within(cluster, workload, READY_WITHIN).await
}

/// The same, for what takes longer.
pub(super) async fn wait_until_ready_within(
    cluster: &Cluster,
    workload: &WorkloadRef,
    within: Duration,
) -> Result<(), SystemError> {
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
    match tokio::time::timeout(within, looking).await {
        Ok(result) => result,
        Err(_) => Err(SystemError {
            message: format!("see {workload} ready within {} s; last seen: {last}", within.as_secs()),
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

/// Restarts the workload as `kubectl rollout restart` does, in the patch that it sends (seen on
/// 1.36); returns what kubectl prints.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub(crate) async fn restart(cluster: &Cluster, workload: &WorkloadRef) -> Result<String, SystemError> {
    let now = wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({ RESTARTED_AT: now });
    let patch = Patch::Strategic(json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }));
    let parameters = PatchParams { field_manager: Some("kubectl-rollout".to_owned()), ..PatchParams::default() };
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let (patched, kind) = match workload.kind {
        WorkloadKind::Deployment => {
            let api = Api::<Deployment>::namespaced(client, namespace);
            (api.patch(name, &parameters, &patch).await.map(drop), "deployment.apps")
        }
        WorkloadKind::StatefulSet => {
            let api = Api::<StatefulSet>::namespaced(client, namespace);
            (api.patch(name, &parameters, &patch).await.map(drop), "statefulset.apps")
        }
    };
    patched.map_err(|error| SystemError::from_api(&format!("restart {workload}"), &error))?;
    Ok(format!("{kind}/{name} restarted"))
}

/// When the workload's newest template was last restarted, as the annotation says it.
pub(super) async fn restarted_at(cluster: &Cluster, workload: &WorkloadRef) -> Result<Option<String>, SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let template = match workload.kind {
        WorkloadKind::Deployment => {
            let found = Api::<Deployment>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.template))
        }
        WorkloadKind::StatefulSet => {
            let found = Api::<StatefulSet>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.template))
        }
    };
    let template = template.map_err(|error| SystemError::from_api(&format!("read {workload}"), &error))?;
    let metadata = template.and_then(|template| template.metadata);
    Ok(restarted_annotation(metadata.and_then(|metadata| metadata.annotations).as_ref()))
}

/// The annotation among those of a template, or of a pod that was made from it.
pub(super) fn restarted_annotation(annotations: Option<&BTreeMap<String, String>>) -> Option<String> {
    annotations?.get(RESTARTED_AT).cloned()
}

/// Every pod of the workload, those on their way out included.
pub(super) async fn pods_of(cluster: &Cluster, workload: &WorkloadRef) -> Result<Vec<Pod>, SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|error| SystemError::from_api(&format!("list pods of {workload}"), &error))?;
    Ok(all.items.into_iter().filter(|pod| pods::facts(pod).workload.as_ref() == Some(workload)).collect())
}
