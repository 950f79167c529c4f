//! A Secret rotated as the runbook does it, with the key that nobody writes down.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::fault::secret::kept;
use crate::system::SystemError;

/// Who `kubectl apply` says it is.
const FIELD_MANAGER: &str = "kubectl-client-side-apply";

/// Applies a Secret with one key; where the runbook has a placeholder stands the original that
/// the run has kept. Returns what kubectl prints.
///
/// Other keys stay, as they do with kubectl. The annotation in which kubectl notes what it
/// applied is left out: it would be one more place with the key.
///
/// # Errors
/// [`SystemError`] where the API refuses, or the run has kept no original.
pub(super) async fn apply(cluster: &Cluster, run: &str, name: &str, key: &str) -> Result<String, SystemError> {
    let value = kept::of_run(cluster, run, name, key).await?;
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let failed = |error: kube::Error| SystemError::from_api(&format!("apply secret `{name}`"), &error);
    let Some(there) = api.get_opt(name).await.map_err(failed)? else {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let data = Some(BTreeMap::from([(key.to_owned(), value)]));
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = api.create(&parameters, &Secret { metadata, data, ..Secret::default() }).await;
        return created.map(|_| format!("secret/{name} created")).map_err(failed);
    };
    if there.data.is_some_and(|data| data.get(key) == Some(&value)) {
        return Ok(format!("secret/{name} unchanged"));
    }
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch(name, &parameters, &Patch::Merge(json!({ "data": { key: value } }))).await;
    patched.map(|_| format!("secret/{name} configured")).map_err(failed)
}
