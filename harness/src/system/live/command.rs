//! Carrying out a runbook's commands as kubectl does, without kubectl.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::secret;
use crate::cluster::{Cluster, objects};
use crate::double::{self, Answers};
use crate::fault::{network_cut, registry, workload};
use crate::pipeline::undo;
use crate::runbook::command::{Action, Command};
use crate::scenario::object::ObjectRef;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Carries out a command in the run's namespace; returns what kubectl prints. Waits for
/// nothing that the command sets in motion. In a lane, the system's namespace that a command
/// names is the lane's.
///
/// # Errors
/// [`SystemError`] where the API refuses, and where the command names another namespace:
/// nothing outside of the run's own is ever touched.
pub(super) async fn carry_out(cluster: &Cluster, run: &str, command: &Command) -> Result<String, SystemError> {
    let ours = &cluster.home;
    if let Some(named) = command.namespace.as_ref().filter(|named| *named != ours) {
        let message =
            format!("carry out `{}`: it works in namespace `{named}`, and this run in `{ours}`", command.text);
        return Err(SystemError { message, transient: false });
    }
    match &command.action {
        Action::RolloutRestart(workload) => workload::restart(cluster, workload).await,
        Action::RolloutUndo { workload, to_revision } => undo(cluster, workload, *to_revision).await,
        Action::Scale { workload, replicas } => scale(cluster, workload, *replicas).await,
        Action::Annotate { object, changes, overwrite } => annotate(cluster, object, changes, *overwrite).await,
        Action::DeletePod { name } => delete_pod(cluster, name).await,
        Action::ApplySecret { name, key, .. } => secret::apply(cluster, run, name, key).await,
        // The rehearsal is the provider, so it is the rehearsal that comes back.
        Action::ProviderAnswersAgain => {
            double::switch(cluster, Answers::Ok).await.map(|()| "the LLM's double answers as it should".to_owned())
        }
        Action::RegistryAnswersAgain => {
            registry::answers_again(cluster).await.map(|()| "the registry is started".to_owned())
        }
        Action::NetworkIsWholeAgain => {
            network_cut::is_whole_again(cluster).await.map(|()| "no policy of a fault is left".to_owned())
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

/// Looks first, and changes nothing that is there unless told to, as `kubectl annotate` does.
async fn annotate(
    cluster: &Cluster,
    object: &ObjectRef,
    changes: &BTreeMap<String, Option<String>>,
    overwrite: bool,
) -> Result<String, SystemError> {
    let api = objects::api(cluster, object);
    let failed = |error: &kube::Error| SystemError::from_api(&format!("annotate {object}"), error);
    let found = api.get(&object.name).await.map_err(|error| failed(&error))?;
    let there = found.metadata.annotations.unwrap_or_default();
    let declared = changes.iter().filter(|(_, value)| value.is_some()).filter_map(|(key, _)| there.get_key_value(key));
    let declared: Vec<_> = declared.map(|(key, value)| format!("'{key}' already has a value ({value})")).collect();
    if !overwrite && !declared.is_empty() {
        let message = format!(
            "annotate {object}: --overwrite is false but found the following declared annotation(s): {}",
            declared.join("; ")
        );
        return Err(SystemError { message, transient: false });
    }
    let patch = Patch::Merge(json!({ "metadata": { "annotations": changes } }));
    let parameters = PatchParams { field_manager: Some("kubectl-annotate".to_owned()), ..PatchParams::default() };
    api.patch(&object.name, &parameters, &patch).await.map_err(|error| failed(&error))?;
    Ok(format!("{} annotated", object.with_group()))
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
