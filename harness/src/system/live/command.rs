//! Carrying out a runbook's commands as kubectl does, without kubectl.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::secret;
use crate::cluster::Cluster;
use crate::double::{self, Answers};
use crate::fault::workload;
use crate::pipeline::undo;
use crate::runbook::command::{Action, Command};
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Carries out a command in the run's namespace; returns what kubectl prints. Waits for
/// nothing that the command sets in motion.
///
/// # Errors
/// [`SystemError`] where the API refuses, and where the command names another namespace:
/// nothing outside of the run's own is ever touched.
pub(super) async fn carry_out(cluster: &Cluster, run: &str, command: &Command) -> Result<String, SystemError> {
    let ours = &cluster.namespace;
    if let Some(named) = command.namespace.as_ref().filter(|named| *named != ours) {
        let message =
            format!("carry out `{}`: it works in namespace `{named}`, and this run in `{ours}`", command.text);
        return Err(SystemError { message, transient: false });
    }
    match &command.action {
        Action::RolloutRestart(workload) => workload::restart(cluster, workload).await,
        Action::RolloutUndo { workload, to_revision } => undo(cluster, workload, *to_revision).await,
        Action::Scale { workload, replicas } => scale(cluster, workload, *replicas).await,
        Action::DeletePod { name } => delete_pod(cluster, name).await,
        Action::ApplySecret { name, key, .. } => secret::apply(cluster, run, name, key).await,
        // The rehearsal is the provider, so it is the rehearsal that comes back.
        Action::ProviderAnswersAgain => {
            double::switch(cluster, Answers::Ok).await.map(|()| "the LLM's double answers as it should".to_owned())
        }
    }
}

/// The patch of the scale subresource that `kubectl scale` sends.
async fn scale(cluster: &Cluster, workload: &WorkloadRef, replicas: u32) -> Result<String, SystemError> {
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let parameters = PatchParams::default();
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let scaled: Result<v1::Scale, kube::Error> = match workload.kind {
        WorkloadKind::Deployment => {
            Api::<Deployment>::namespaced(client, namespace).patch_scale(name, &parameters, &patch).await
        }
        WorkloadKind::StatefulSet => {
            Api::<StatefulSet>::namespaced(client, namespace).patch_scale(name, &parameters, &patch).await
        }
    };
    scaled.map_err(|error| SystemError::from_api(&format!("scale {workload} to {replicas}"), &error))?;
    Ok(format!("{} scaled", with_group(workload)))
}

/// Deletes in the background, as kubectl does; it then waits until the pod is gone, which
/// here is the engine's to watch.
async fn delete_pod(cluster: &Cluster, name: &str) -> Result<String, SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let deleted = api.delete(name, &DeleteParams::background()).await;
    deleted.map_err(|error| SystemError::from_api(&format!("delete pod `{name}`"), &error))?;
    Ok(format!("pod \"{name}\" deleted from {} namespace", cluster.namespace))
}

fn with_group(workload: &WorkloadRef) -> String {
    let kind = match workload.kind {
        WorkloadKind::Deployment => "deployment.apps",
        WorkloadKind::StatefulSet => "statefulset.apps",
    };
    format!("{kind}/{}", workload.name)
}
