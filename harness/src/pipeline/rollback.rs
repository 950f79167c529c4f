//! Roll-back: workloads return to an earlier revision, and that is verified.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, ask};
use super::manifests::{self, ManifestError};
use super::revision::{self, NoRevision, Revision};
use super::rollout::{self, Baseline};
use super::traffic::Traffic;
use super::{Sink, StageError, Tell, permit, smoke, telling_stage};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::cluster::permission::Refused;
use crate::config::Config;
use crate::duration;
use crate::event::{RolloutStep, StageResult};
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
/// waits until that is rolled out and answers every smoke check. Traffic runs meanwhile, and
/// what it loses is told. Returns one line a workload.
///
/// A workload belongs to the release if `gate.toml` builds an image of it that carries the
/// system's version. Configuration and Services stay as they are. A revision that was rolled
/// back is returned to only when it is asked for by its number.
///
/// # Errors
/// [`RollbackError`]. Nothing is changed unless every workload has its revision; without a
/// number, one that has never changed stays as it is, unless that is all of them.
pub async fn rollback(
    config: &Config,
    cluster: &Cluster,
    to_revision: Option<i64>,
    clock: RunClock,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Vec<String>, RollbackError> {
    let work = async |tell: Tell| {
        let stopped = || RollbackError::Cancelled;
        let choosing = choose(config, cluster, to_revision);
        let chosen = cancel.run_until_cancelled(choosing).await.ok_or_else(stopped)??;
        let starting =
            async { if chosen.rolls_out { Traffic::start(config, cluster, clock, &tell).await } else { None } };
        let traffic = cancel.run_until_cancelled(starting).await.ok_or_else(stopped)?;
        tell.moment(clock.now(), RolloutStep::Writing).await;
        let restored = Restoring { config, cluster, clock, tell: &tell, cancel }.carry_out(&chosen.plan).await;
        if let Some(traffic) = traffic {
            // Stopped before its end it is told as broken off.
            cancel.run_until_cancelled(traffic.end()).await;
        }
        let facts = [chosen.passed_over, restored?].concat();
        Ok((facts.clone(), facts))
    };
    telling_stage("rollback", sink, work).await
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
pub(super) struct Return {
    pub(super) workload: WorkloadRef,
    pub(super) to: Revision,
    /// The revision that is left, where its controller has made one.
    pub(super) left: Option<String>,
}

/// What a roll-back will do.
struct Chosen {
    plan: Vec<Return>,
    /// One line for each revision that is passed over because it was rolled back, and for each
    /// workload that has never changed.
    passed_over: Vec<String>,
    /// Whether anything will change, or is still changing.
    rolls_out: bool,
}

async fn choose(config: &Config, cluster: &Cluster, to_revision: Option<i64>) -> Result<Chosen, RollbackError> {
    permit(config, cluster).await?;
    let workloads = released(config)?;
    if workloads.is_empty() {
        return Err(RollbackError::NothingToRollBack);
    }
    let mut chosen = Chosen { plan: Vec::new(), passed_over: Vec::new(), rolls_out: false };
    let mut unchanged = None;
    for workload in workloads {
        let history = revision::history(cluster, &workload).await?;
        let history = history.ok_or_else(|| RollbackError::Absent { workload: workload.clone() })?;
        let no_revision =
            |error: NoRevision| RollbackError::NoRevision { workload: workload.clone(), reason: error.to_string() };
        let to = match history.choose_good(to_revision) {
            Ok(to) => to.clone(),
            // A release need not change every workload: one that has never changed stays.
            Err(error @ NoRevision::NoPrevious) => {
                chosen.passed_over.push(format!("{workload} stays as it is: {error}"));
                unchanged.get_or_insert_with(|| no_revision(error));
                continue;
            }
            Err(error) => return Err(no_revision(error)),
        };
        let newest = history.choose(to_revision).map_err(no_revision)?;
        if let Some(why) = newest.rolled_back.as_ref().filter(|_| newest.number != to.number) {
            chosen.passed_over.push(format!("{workload}: revision {} was rolled back: {why}", newest.number));
        }
        chosen.rolls_out |= !history.settled || history.template != to.template;
        chosen.plan.push(Return { workload, to, left: None });
    }
    match unchanged {
        Some(error) if chosen.plan.is_empty() => Err(error),
        _ => Ok(chosen),
    }
}

/// The way back to earlier revisions.
pub(super) struct Restoring<'a> {
    pub(super) config: &'a Config,
    pub(super) cluster: &'a Cluster,
    pub(super) clock: RunClock,
    pub(super) tell: &'a Tell,
    pub(super) cancel: &'a CancellationToken,
}

impl Restoring<'_> {
    /// Restores these revisions, verifies that they are rolled out, and asks what runs again
    /// every smoke check. Only the verification can be cancelled: half a release back is worse
    /// than either.
    pub(super) async fn carry_out(&self, plan: &[Return]) -> Result<Vec<String>, RollbackError> {
        let cluster = self.cluster;
        let before = baseline(cluster).await?;
        self.tell.moment(self.clock.now(), RolloutStep::Returning).await;
        for Return { workload, to, .. } in plan {
            revision::restore(cluster, workload, to).await?;
            revision::release_stuck_pods(cluster, workload, to).await?;
        }
        let verifying = self.verify(plan, before);
        self.cancel.run_until_cancelled(verifying).await.ok_or(RollbackError::Cancelled)?
    }

    async fn verify(&self, plan: &[Return], before: Baseline) -> Result<Vec<String>, RollbackError> {
        let workloads: Vec<WorkloadRef> = plan.iter().map(|one| one.workload.clone()).collect();
        let followed = rollout::follow(self.cluster, &workloads, &before, &self.config.rollout).await;
        let finished = followed.map_err(|error| RollbackError::NotRestored { reason: error.to_string() })?;
        self.tell.moment(self.clock.now(), RolloutStep::Settled).await;
        let line = |one: &Return| {
            let took = finished.get(&one.workload).copied().unwrap_or_default();
            format!("{} is back at what was revision {}, after {}", one.workload, one.to.number, seconds(took))
        };
        let mut facts: Vec<String> = plan.iter().map(line).collect();
        let version = plan.iter().find_map(|one| version_of(self.config, &one.to.template));
        facts.push(self.prove(version.as_deref()).await?);
        Ok(facts)
    }

    /// Asks what runs again every smoke check.
    async fn prove(&self, version: Option<&str>) -> Result<String, RollbackError> {
        if self.config.smoke.is_empty() {
            return Ok("not smoke-tested: gate.toml has no smoke check to ask it".to_owned());
        }
        let Some(version) = version else {
            return Ok("not smoke-tested: what runs again is no image that gate.toml builds".to_owned());
        };
        let unproven =
            |reason: String| RollbackError::NotRestored { reason: format!("{version} runs again, but {reason}") };
        let asked = smoke::ask_all(self.config, self.cluster, version, false).await;
        let results = asked.and_then(smoke::passed).map_err(|error| unproven(error.to_string()))?;
        self.tell.moment(self.clock.now(), RolloutStep::Restored).await;
        Ok(format!("{version} runs again and passed {} smoke checks", results.len()))
    }
}

/// The version of the release that a pod template runs: what stands in the tag of an image that
/// carries the system's version, before the digits of its digest.
fn version_of(config: &Config, template: &Value) -> Option<String> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    containers.iter().filter_map(|container| container["image"].as_str()).find_map(|image| {
        let (repository, tag) = image.split('@').next()?.rsplit_once(':')?;
        let name = repository.rsplit('/').next()?;
        let built = config.images.get(repository).or_else(|| config.images.get(name))?;
        let (version, _digits) = tag.rsplit_once('-')?;
        built.version.is_none().then(|| version.to_owned())
    })
}

/// Restart counts before anything is changed.
pub(super) async fn baseline(cluster: &Cluster) -> Result<Baseline, ApiError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let everything = ListParams::default();
    let pods = ask("list pods", || api.list(&everything)).await?;
    Ok(Baseline::of(&pods.items))
}

/// Workloads that run an image which carries the system's version.
pub(super) fn released(config: &Config) -> Result<BTreeSet<WorkloadRef>, ManifestError> {
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
