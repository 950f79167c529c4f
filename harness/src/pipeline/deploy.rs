//! Deploy: server-side apply of a release, then its rollout, and the way back from a bad one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersion;
use kube::discovery::{self, ApiGroup, Scope};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, ask, ask_optional};
use super::manifests::{self, Manifest, ManifestError};
use super::revision::{self, History};
use super::rollback::{self, seconds};
use super::rollout::{self, Baseline, RolloutError};
use super::{BuiltRelease, Sink, StageError, secrets, stage};
use crate::cluster::Cluster;
use crate::cluster::permission::{self, Refused};
use crate::config::Config;
use crate::event::{ClusterKind, StageResult};
use crate::heal::receipts::{FIELD_MANAGER, RUN_LABEL};
use crate::scenario::plan::WorkloadRef;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// How a release is deployed.
#[derive(Debug, Clone, Copy)]
pub struct DeployOptions<'a> {
    /// Name of the stage: `deploy`, `install previous release`.
    pub stage: &'a str,
    /// The profile of `gate.toml`, or [`manifests::AS_DEPLOYED`].
    pub profile: &'a str,
    /// The run's id, for an annotation on every object.
    pub run: &'a str,
}

/// A deployment did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// This cluster may not be written to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The manifests cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The cluster does not serve a kind; nothing was changed.
    #[error("{file}:{line}: {title}: the cluster does not serve {kind} of {api_version}")]
    Unserved {
        /// The manifest's file.
        file: String,
        /// Its line.
        line: u64,
        /// `deployment/backend`.
        title: String,
        /// The kind.
        kind: String,
        /// Its API version.
        api_version: String,
    },
    /// The API server refused or was silent; no running workload had been changed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The API server was lost while the rollout was followed. It goes on by itself.
    #[error("{reason}")]
    Blind {
        /// What was last seen.
        reason: String,
    },
    /// The release is bad, and the previous one runs again, verified.
    #[error("{reason}; rolled back: {}", restored.join("; "))]
    RolledBack {
        /// The decisive condition.
        reason: String,
        /// What was restored, one line a workload.
        restored: Vec<String>,
    },
    /// The release is bad, and the previous one could not be restored.
    #[error("{reason}; {error}")]
    RollbackFailed {
        /// The decisive condition.
        reason: String,
        /// Why there is no way back.
        error: String,
    },
    /// The first release is bad: there is nothing to return to, and it stays as it is.
    #[error("{reason}; nothing was there before, so there is nothing to roll back to")]
    BadFirstInstall {
        /// The decisive condition.
        reason: String,
    },
    /// The user stopped it; what was applied stays, and its rollout goes on by itself.
    #[error("deploy: cancelled")]
    Cancelled,
}

impl StageError for DeployError {
    fn result(&self) -> StageResult {
        match self {
            Self::Cancelled => StageResult::Cancelled,
            Self::RolledBack { reason, .. } => StageResult::RolledBack { reason: reason.clone() },
            Self::RollbackFailed { .. } => StageResult::RollbackFailed { error: self.to_string() },
            error => StageResult::Failed { error: error.to_string() },
        }
    }

    fn facts(&self) -> Vec<String> {
        match self {
            Self::RolledBack { restored, .. } => restored.clone(),
            _ => Vec::new(),
        }
    }
}

/// Applies a built and pushed release, and waits until it is rolled out: new pods ready,
/// old pods gone. A bad release is rolled back to what ran before, and that is verified.
///
/// # Errors
/// [`DeployError`]. Cancelling leaves what was applied; see [`DeployError::Cancelled`].
pub async fn deploy(
    config: &Config,
    cluster: &Cluster,
    release: &BuiltRelease,
    options: DeployOptions<'_>,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<(), DeployError> {
    let work = async {
        let rolling_out = roll_out(config, cluster, release, options);
        match cancel.run_until_cancelled(rolling_out).await.ok_or(DeployError::Cancelled)?? {
            Ended::Good { facts } => Ok(((), facts)),
            Ended::Bad { reason, refused, before } => {
                Err(before.way_back(config, cluster, reason, refused, cancel).await)
            }
        }
    };
    stage(options.stage, sink, work).await
}

/// Whether this cluster and namespace may be written to.
///
/// # Errors
/// [`Refused`], also where the namespace's label cannot be read.
pub async fn permit(config: &Config, cluster: &Cluster) -> Result<(), Refused> {
    let label = match cluster.facts.kind {
        ClusterKind::Embedded | ClusterKind::Kind => None,
        ClusterKind::Context => {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            let found = ask_optional("get namespace", || api.get(&cluster.namespace)).await.ok().flatten();
            found.and_then(|namespace| namespace.metadata.labels?.remove(permission::ALLOW_LABEL))
        }
    };
    permission::may_write(&cluster.facts, config.clusters.values(), label.as_deref())
}

/// Labels of everything we make.
pub(super) fn managed_labels() -> BTreeMap<String, String> {
    BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])
}

/// How rolling out ended.
enum Ended {
    Good {
        facts: Vec<String>,
    },
    /// The release must go, if there is something to go back to.
    Bad {
        reason: String,
        /// The refusal that made it bad, where one did.
        refused: Option<ApiError>,
        before: Before,
    },
}

async fn roll_out(
    config: &Config,
    cluster: &Cluster,
    release: &BuiltRelease,
    options: DeployOptions<'_>,
) -> Result<Ended, DeployError> {
    permit(config, cluster).await?;
    let manifests = manifests::load(config, options.profile)?.with_images(release)?;
    let objects = plan(cluster, manifests.objects, options.run).await?;
    let workloads: Vec<WorkloadRef> = objects.iter().filter_map(|object| object.manifest.workload()).collect();
    let before = Before::read(cluster, &workloads).await?;

    let mut facts = Vec::new();
    let (first, rest): (Vec<&Planned>, Vec<&Planned>) = objects.iter().partition(|object| object.rank() == 0);
    for namespace in first {
        namespace.apply(cluster).await?;
    }
    for (name, secret) in &config.secrets {
        facts.push(secrets::ensure(cluster, name, secret).await?);
    }
    for object in rest {
        if let Err(error) = object.apply(cluster).await {
            return Ok(Ended::Bad { reason: error.to_string(), refused: Some(error), before });
        }
    }
    facts.push(format!("{} of {}: {} objects applied", options.profile, release.version, objects.len()));

    match rollout::follow(cluster, &workloads, &before.baseline, &config.rollout).await {
        Ok(finished) => {
            let line = |(workload, took)| format!("{workload}: new pods ready, old ones gone after {}", seconds(took));
            facts.extend(finished.into_iter().map(line));
            Ok(Ended::Good { facts })
        }
        Err(RolloutError::Blind { reason }) => Err(DeployError::Blind { reason }),
        Err(bad @ RolloutError::Bad { .. }) => Ok(Ended::Bad { reason: bad.to_string(), refused: None, before }),
    }
}

/// What ran before: the way back.
struct Before {
    baseline: Baseline,
    histories: BTreeMap<WorkloadRef, History>,
}

impl Before {
    async fn read(cluster: &Cluster, workloads: &[WorkloadRef]) -> Result<Self, ApiError> {
        let baseline = rollback::baseline(cluster).await?;
        let mut histories = BTreeMap::new();
        for workload in workloads {
            if let Some(history) = revision::history(cluster, workload).await? {
                histories.insert(workload.clone(), history);
            }
        }
        Ok(Self { baseline, histories })
    }

    /// Returns every workload that changed to the revision it had.
    async fn way_back(
        &self,
        config: &Config,
        cluster: &Cluster,
        reason: String,
        refused: Option<ApiError>,
        cancel: &CancellationToken,
    ) -> DeployError {
        let plan = match self.changed(cluster).await {
            Ok(plan) => plan,
            Err(error) => return DeployError::RollbackFailed { reason, error },
        };
        match (plan.is_empty(), refused) {
            // Nothing that ran was touched.
            (true, Some(error)) => DeployError::Api(error),
            (true, None) => DeployError::BadFirstInstall { reason },
            (false, _) => match rollback::restore(cluster, &plan, &config.rollout, cancel).await {
                Ok(restored) => DeployError::RolledBack { reason, restored },
                Err(error) => DeployError::RollbackFailed { reason, error: error.to_string() },
            },
        }
    }

    async fn changed(&self, cluster: &Cluster) -> Result<Vec<(WorkloadRef, revision::Revision)>, String> {
        let mut plan = Vec::new();
        for (workload, before) in &self.histories {
            let now = revision::history(cluster, workload).await.map_err(|error| error.to_string())?;
            let Some(now) = now else { return Err(format!("{workload} is gone")) };
            if now.template == before.template {
                continue;
            }
            let Some(number) = before.current else { return Err(format!("{workload} had no revision yet")) };
            // The controller may count an old revision up, but it keeps its template.
            let kept = before.choose(Some(number)).map_err(|error| format!("{workload}: {error}"))?;
            plan.push((workload.clone(), kept.clone()));
        }
        Ok(plan)
    }
}

/// An object with the place where it is applied.
struct Planned {
    manifest: Manifest,
    resource: ApiResource,
    namespaced: bool,
}

impl Planned {
    /// Namespaces first, then what others read, then what sends traffic, then what runs.
    fn rank(&self) -> u8 {
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

    async fn apply(&self, cluster: &Cluster) -> Result<(), ApiError> {
        let api: Api<DynamicObject> = match self.namespaced {
            true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &self.resource),
            false => Api::all_with(cluster.client.clone(), &self.resource),
        };
        // What a person changed by hand, a release takes back: that is what a release is.
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&self.manifest.value);
        let doing = format!("apply {}", self.manifest.title());
        ask(&doing, || api.patch(self.manifest.name(), &parameters, &patch)).await.map(drop)
    }
}

/// Finds where each object is applied, and marks it as ours. Writes nothing.
async fn plan(cluster: &Cluster, mut manifests: Vec<Manifest>, run: &str) -> Result<Vec<Planned>, DeployError> {
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
