//! The runbook's commands, carried out as kubectl carries them out.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::pipeline::undo;
use crate::runbook::command::{Action, Command};
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Carries out one command in its namespace, or in the run's where it names none; returns the
/// line that kubectl prints.
pub(super) async fn carry_out(cluster: &Cluster, command: &Command) -> Result<String, SystemError> {
    let namespace = command.namespace.as_deref().unwrap_or(&cluster.namespace);
    if namespace != cluster.namespace {
        return Err(SystemError {
            message: format!(
                "carry out `{}`: it works in namespace `{namespace}`, and this run in `{}`",
                command.text, cluster.namespace
            ),
            transient: false,
        });
    }
    match &command.action {
        Action::RolloutRestart(workload) => {
            let stamp = crate::clock::wall_clock().to_string();
            let annotations = json!({ "kubectl.kubernetes.io/restartedAt": stamp });
            let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
            patch_workload(cluster, workload, None, &Patch::Strategic(patch), command).await?;
            Ok(format!("{workload} restarted"))
        }
        Action::Scale { workload, replicas } => {
            let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
            patch_workload(cluster, workload, Some("scale"), &patch, command).await?;
            Ok(format!("{workload} scaled"))
        }
        Action::RolloutUndo { workload, to_revision } => undo(cluster, workload, *to_revision).await,
        Action::DeletePod { name } => {
            let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
            let deleted = api.delete(name, &DeleteParams::default()).await;
            deleted.map_err(|error| SystemError::from_api(&format!("carry out `{}`", command.text), &error))?;
            Ok(format!("pod \"{name}\" deleted"))
        }
    }
}

async fn patch_workload(
    cluster: &Cluster,
    workload: &WorkloadRef,
    subresource: Option<&str>,
    patch: &Patch<Value>,
    command: &Command,
) -> Result<(), SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = match (workload.kind, subresource) {
        (WorkloadKind::Deployment, None) => {
            Api::<Deployment>::namespaced(client, namespace).patch(name, &parameters, patch).await.map(drop)
        }
        (WorkloadKind::StatefulSet, None) => {
            Api::<StatefulSet>::namespaced(client, namespace).patch(name, &parameters, patch).await.map(drop)
        }
        (WorkloadKind::Deployment, Some(_)) => {
            Api::<Deployment>::namespaced(client, namespace).patch_scale(name, &parameters, patch).await.map(drop)
        }
        (WorkloadKind::StatefulSet, Some(_)) => {
            Api::<StatefulSet>::namespaced(client, namespace).patch_scale(name, &parameters, patch).await.map(drop)
        }
    };
    patched.map_err(|error| SystemError::from_api(&format!("carry out `{}`", command.text), &error))
}
