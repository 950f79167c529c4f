//! Applying: where each object goes, in which order, and whether it changes what runs.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersion;
use kube::discovery::{self, ApiGroup, Scope};
use serde_json::{Value, json};

use super::super::api::{ApiError, ask, ask_optional};
use super::super::manifests::Manifest;
use super::{DeployError, MANAGED_BY};
use crate::cluster::Cluster;
use crate::heal::receipts::{FIELD_MANAGER, RUN_LABEL};

/// An object with the place where it is applied.
pub(super) struct Planned {
    pub(super) manifest: Manifest,
    resource: ApiResource,
    namespaced: bool,
}

impl Planned {
    /// Namespaces first, then what others read, then what sends traffic, then what runs.
    pub(super) fn rank(&self) -> u8 {
        match self.manifest.kind() {
            "Namespace" => 0,
            "ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => 1,
            "ConfigMap" | "Secret" | "PersistentVolume" | "PersistentVolumeClaim" => 2,
            "Service" => 3,
            "StatefulSet" => 5,
            "Deployment" | "DaemonSet" | "Job" | "CronJob" => 6,
            _ => 4,
        }
    }

    pub(super) async fn apply(&self, cluster: &Cluster) -> Result<(), ApiError> {
        self.patch(cluster, &parameters()).await.map(drop)
    }

    /// Whether applying it would change what it is to run. Where that cannot be found out, it
    /// would: applying says the rest.
    async fn changes(&self, cluster: &Cluster) -> bool {
        let doing = format!("get {}", self.manifest.title());
        let api = self.api(cluster);
        let Ok(Some(now)) = ask_optional(&doing, || api.get(self.manifest.name())).await else { return true };
        let then = self.patch(cluster, &parameters().dry_run()).await;
        then.map_or(true, |then| now.data["spec"] != then.data["spec"])
    }

    fn api(&self, cluster: &Cluster) -> Api<DynamicObject> {
        match self.namespaced {
            true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &self.resource),
            false => Api::all_with(cluster.client.clone(), &self.resource),
        }
    }

    async fn patch(&self, cluster: &Cluster, parameters: &PatchParams) -> Result<DynamicObject, ApiError> {
        let api = self.api(cluster);
        let patch = Patch::Apply(&self.manifest.value);
        let doing = format!("apply {}", self.manifest.title());
        ask(&doing, || api.patch(self.manifest.name(), parameters, &patch)).await
    }
}

/// What a person changed by hand, a release takes back: that is what a release is.
fn parameters() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Whether applying these objects would change what any workload is to run.
pub(super) async fn changes(objects: &[Planned], cluster: &Cluster) -> bool {
    for object in objects.iter().filter(|object| object.manifest.workload().is_some()) {
        if object.changes(cluster).await {
            return true;
        }
    }
    false
}

/// Finds where each object is applied, and marks it as ours. Writes nothing.
pub(super) async fn plan(
    cluster: &Cluster,
    mut manifests: Vec<Manifest>,
    run: &str,
) -> Result<Vec<Planned>, DeployError> {
    let mut groups: BTreeMap<String, Option<ApiGroup>> = BTreeMap::new();
    if !manifests.iter().any(|manifest| manifest.kind() == "Namespace") {
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}});
        manifests.push(Manifest { value, file: "gate.toml".to_owned(), line: 1 });
    }
    let mut planned = Vec::new();
    for mut manifest in manifests {
        let api_version = manifest.api_version().to_owned();
        if !groups.contains_key(&api_version) {
            groups.insert(api_version.clone(), group(cluster, &api_version).await?);
        }
        let found = groups[&api_version].as_ref().and_then(|group| served(group, &api_version, manifest.kind()));
        let Some((resource, namespaced)) = found else {
            return Err(DeployError::Unserved {
                title: manifest.title(),
                kind: manifest.kind().to_owned(),
                file: manifest.file,
                line: manifest.line,
                api_version,
            });
        };
        if cluster.is_lane() && !namespaced && manifest.kind() != "Namespace" {
            // There is one for all lanes, and it came with the system's own namespace.
            continue;
        }
        mark(&mut manifest.value, cluster, namespaced, run);
        planned.push(Planned { manifest, resource, namespaced });
    }
    planned.sort_by_key(Planned::rank);
    Ok(planned)
}

async fn group(cluster: &Cluster, api_version: &str) -> Result<Option<ApiGroup>, ApiError> {
    let doing = format!("discover {api_version}");
    let version: GroupVersion = api_version.parse().map_err(|error| ApiError {
        doing: doing.clone(),
        reason: format!("{error}"),
        status: None,
    })?;
    ask_optional(&doing, || discovery::pinned_group(&cluster.client, &version)).await
}

fn served(group: &ApiGroup, api_version: &str, kind: &str) -> Option<(ApiResource, bool)> {
    let version = api_version.rsplit('/').next().unwrap_or(api_version);
    let resources = group.versioned_resources(version);
    let found = resources.into_iter().find(|(resource, _)| resource.kind == kind);
    found.map(|(resource, capabilities)| (resource, capabilities.scope == Scope::Namespaced))
}

/// Namespace, label and annotation. Pod templates stay as they are: a mark there would be a
/// new revision, and restart every pod of every run.
fn mark(object: &mut Value, cluster: &Cluster, namespaced: bool, run: &str) {
    if namespaced {
        object["metadata"]["namespace"] = json!(cluster.namespace);
    } else if object["kind"] == "Namespace" {
        object["metadata"]["name"] = json!(cluster.namespace);
    }
    object["metadata"]["labels"][MANAGED_BY] = json!(FIELD_MANAGER);
    object["metadata"]["annotations"][RUN_LABEL] = json!(run);
}
