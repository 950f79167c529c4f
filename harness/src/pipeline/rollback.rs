//! Roll-back: workloads return to an earlier revision, and that is verified.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, ask};
use super::manifests::{self, ManifestError};
use super::revision::{self, NoRevision};
use super::rollout::{self, Baseline};
use super::{Sink, StageError, permit, stage};
use crate::cluster::Cluster;
use crate::cluster::permission::Refused;
use crate::config::{Config, RolloutConfig};
use crate::duration;
use crate::event::StageResult;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// A roll-back did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// This cluster may not be written to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The manifests, which say what belongs to a release, cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A workload has no such revision; nothing was changed.
    #[error("roll back {workload}: {reason}")]
    NoRevision {
        /// Which workload.
        workload: WorkloadRef,
        /// What there is.
        reason: String,
    },
    /// A workload does not exist.
    #[error("roll back {workload}: it does not exist")]
    Absent {
        /// Which workload.
        workload: WorkloadRef,
    },
    /// No workload belongs to the release.
    #[error("roll back: no workload runs an image of the release")]
    NothingToRollBack,
    /// The API server refused or was silent.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The earlier revision did not become good either.
    #[error("roll back: {reason}")]
    NotRestored {
        /// The decisive condition.
        reason: String,
    },
    /// The user stopped it, before anything was changed or while it was verified.
    #[error("roll back: cancelled")]
    Cancelled,
}

impl StageError for RollbackError {
    fn result(&self) -> StageResult {
        match self {
            Self::Cancelled => StageResult::Cancelled,
            error => StageResult::RollbackFailed { error: error.to_string() },
        }
    }
}

/// Returns every workload of the release to the given revision, or to its previous one, and
/// waits until that is rolled out. Returns one line a workload.
///
/// A workload belongs to the release if `gate.toml` builds an image of it that carries the
/// system's version. Configuration and Services stay as they are.
///
/// # Errors
/// [`RollbackError`]. Nothing is changed unless every workload has its revision.
pub async fn rollback(
    config: &Config,
    cluster: &Cluster,
    to_revision: Option<i64>,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Vec<String>, RollbackError> {
    let work = async {
        let choosing = choose(config, cluster, to_revision);
        let plan = cancel.run_until_cancelled(choosing).await.ok_or(RollbackError::Cancelled)??;
        let facts = restore(cluster, &plan, &config.rollout, cancel).await?;
        Ok((facts.clone(), facts))
    };
    stage("rollback", sink, work).await
}

/// Returns one workload to the given revision, or to its previous one, as
/// `kubectl rollout undo` does; returns the line that kubectl prints. Follows nothing.
///
/// # Errors
/// [`SystemError`] where there is no such revision, or the API refuses.
pub(crate) async fn undo(
    cluster: &Cluster,
    workload: &WorkloadRef,
    to_revision: Option<u64>,
) -> Result<String, SystemError> {
    let refused = |reason: String| SystemError { message: format!("undo {workload}: {reason}"), transient: false };
    let api = |error: ApiError| SystemError { message: format!("undo {workload}: {error}"), transient: true };
    let history = revision::history(cluster, workload).await.map_err(api)?;
    let history = history.ok_or_else(|| refused("it does not exist".to_owned()))?;
    let wanted = to_revision.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let chosen = history.choose(wanted).map_err(|error| refused(error.to_string()))?;
    revision::restore(cluster, workload, chosen).await.map_err(api)?;
    Ok(format!("{workload} rolled back"))
}

/// A workload and the revision that it returns to.
type Return = (WorkloadRef, revision::Revision);

async fn choose(config: &Config, cluster: &Cluster, to_revision: Option<i64>) -> Result<Vec<Return>, RollbackError> {
    permit(config, cluster).await?;
    let workloads = released(config)?;
    if workloads.is_empty() {
        return Err(RollbackError::NothingToRollBack);
    }
    let mut plan = Vec::new();
    for workload in workloads {
        let history = revision::history(cluster, &workload).await?;
        let history = history.ok_or_else(|| RollbackError::Absent { workload: workload.clone() })?;
        let chosen = history.choose(to_revision).map_err(|error: NoRevision| RollbackError::NoRevision {
            workload: workload.clone(),
            reason: error.to_string(),
        })?;
        plan.push((workload, chosen.clone()));
    }
    Ok(plan)
}

/// Restores these revisions, and verifies that they are rolled out. Only the verification
/// can be cancelled: half a release back is worse than either.
pub(super) async fn restore(
    cluster: &Cluster,
    plan: &[Return],
    limits: &RolloutConfig,
    cancel: &CancellationToken,
) -> Result<Vec<String>, RollbackError> {
    let before = baseline(cluster).await?;
    for (workload, target) in plan {
        revision::restore(cluster, workload, target).await?;
        revision::release_stuck_pods(cluster, workload, target).await?;
    }
    let workloads: Vec<WorkloadRef> = plan.iter().map(|(workload, _)| workload.clone()).collect();
    let following = rollout::follow(cluster, &workloads, &before, limits);
    let followed = cancel.run_until_cancelled(following).await.ok_or(RollbackError::Cancelled)?;
    let finished = followed.map_err(|error| RollbackError::NotRestored { reason: error.to_string() })?;
    let line = |(workload, target): &Return| {
        let took = finished.get(workload).copied().unwrap_or_default();
        format!("{workload} is back at what was revision {}, after {}", target.number, seconds(took))
    };
    Ok(plan.iter().map(line).collect())
}

/// Restart counts before anything is changed.
pub(super) async fn baseline(cluster: &Cluster) -> Result<Baseline, ApiError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let everything = ListParams::default();
    let pods = ask("list pods", || api.list(&everything)).await?;
    Ok(Baseline::of(&pods.items))
}

/// Workloads that run an image which carries the system's version.
fn released(config: &Config) -> Result<BTreeSet<WorkloadRef>, ManifestError> {
    let of_release = |repository: &str| config.images.get(repository).is_some_and(|image| image.version.is_none());
    let manifests = manifests::load(config, manifests::AS_DEPLOYED)?;
    Ok(manifests
        .objects
        .iter()
        .filter(|object| object.repositories().into_iter().any(of_release))
        .filter_map(manifests::Manifest::workload)
        .collect())
}

pub(super) fn seconds(time: std::time::Duration) -> String {
    duration::text(std::time::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}
