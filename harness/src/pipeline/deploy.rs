//! Deploy: server-side apply of a release, then its rollout, and the way back from a bad one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, ask_optional};
use super::manifests::{self, ManifestError};
use super::rollback::seconds;
use super::rollout::{self, RolloutError};
use super::traffic::Traffic;
use super::{BuiltRelease, Sink, StageError, Tell, secrets, telling_stage};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::cluster::permission::{self, Refused};
use crate::config::Config;
use crate::event::{ClusterKind, RolloutStep, StageResult};
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::WorkloadRef;

mod apply;
mod before;

use apply::Planned;
use before::Before;

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
    /// The run's clock.
    pub clock: RunClock,
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
/// old pods gone. While anything is rolled out, traffic runs and what it loses is told. A bad
/// release is rolled back to what served before, and that is verified and asked.
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
    let work = async |tell: Tell| {
        let deployment = Deployment { config, cluster, release, options, tell };
        deployment.carry_out(cancel).await.map(|facts| ((), facts))
    };
    telling_stage(options.stage, sink, work).await
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
    },
}

/// One deployment.
struct Deployment<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    release: &'a BuiltRelease,
    options: DeployOptions<'a>,
    tell: Tell,
}

/// What is known before the first write.
struct Prepared {
    objects: Vec<Planned>,
    workloads: Vec<WorkloadRef>,
    before: Before,
    /// Whether a workload changes, or has not yet come to the end of an earlier change.
    rolls_out: bool,
}

impl Deployment<'_> {
    async fn carry_out(&self, cancel: &CancellationToken) -> Result<Vec<String>, DeployError> {
        let stopped = || DeployError::Cancelled;
        let prepared = cancel.run_until_cancelled(self.prepare()).await.ok_or_else(stopped)??;
        let starting = self.traffic(&prepared);
        let traffic = cancel.run_until_cancelled(starting).await.ok_or_else(stopped)?;
        let ended = cancel.run_until_cancelled(self.roll_out(&prepared)).await.ok_or_else(stopped)??;
        let ended = match ended {
            Ended::Good { facts } => Ok(facts),
            Ended::Bad { reason, refused } => Err(prepared.before.way_back(self, reason, refused, cancel).await),
        };
        if let Some(traffic) = traffic {
            // Stopped before its end it is told as broken off.
            cancel.run_until_cancelled(traffic.end()).await;
        }
        ended
    }

    /// Reads everything that is needed; writes nothing.
    async fn prepare(&self) -> Result<Prepared, DeployError> {
        permit(self.config, self.cluster).await?;
        let manifests = manifests::load(self.config, self.options.profile)?;
        let manifests = manifests.with_images(self.release)?.spoiled(self.config, self.release)?;
        let manifests = manifests.for_lane(&self.cluster.home, &self.cluster.namespace);
        let objects = apply::plan(self.cluster, manifests.objects, self.options.run).await?;
        let workloads: Vec<WorkloadRef> = objects.iter().filter_map(|object| object.manifest.workload()).collect();
        let before = Before::read(self.cluster, &workloads).await?;
        let rolls_out = !before.is_settled(&workloads) || apply::changes(&objects, self.cluster).await;
        Ok(Prepared { objects, workloads, before, rolls_out })
    }

    async fn traffic(&self, prepared: &Prepared) -> Option<Traffic> {
        if !prepared.rolls_out {
            return None;
        }
        Traffic::start(self.config, self.cluster, self.options.clock, &self.tell).await
    }

    async fn roll_out(&self, prepared: &Prepared) -> Result<Ended, DeployError> {
        let cluster = self.cluster;
        let mut facts = Vec::new();
        let (first, rest): (Vec<&Planned>, Vec<&Planned>) =
            prepared.objects.iter().partition(|object| object.rank() == 0);
        if prepared.rolls_out {
            self.moment(RolloutStep::Writing).await;
        }
        for namespace in first {
            namespace.apply(cluster).await?;
        }
        for (name, secret) in &self.config.secrets {
            facts.push(secrets::ensure(cluster, name, secret).await?);
        }
        for object in rest {
            if let Err(error) = object.apply(cluster).await {
                return Ok(self.bad(error.to_string(), Some(error)).await);
            }
        }
        let (profile, version) = (self.options.profile, &self.release.version);
        facts.push(format!("{profile} of {version}: {} objects applied", prepared.objects.len()));

        let before = &prepared.before;
        match rollout::follow(cluster, &prepared.workloads, &before.baseline, &self.config.rollout).await {
            Ok(finished) => {
                if prepared.rolls_out {
                    self.moment(RolloutStep::Settled).await;
                } else {
                    facts.push("nothing was to be rolled out: every workload runs this release already".to_owned());
                }
                before.forgive(cluster, &prepared.workloads).await?;
                let line =
                    |(workload, took)| format!("{workload}: new pods ready, old ones gone after {}", seconds(took));
                facts.extend(finished.into_iter().map(line));
                Ok(Ended::Good { facts })
            }
            Err(RolloutError::Blind { reason }) => Err(DeployError::Blind { reason }),
            Err(bad @ RolloutError::Bad { .. }) => Ok(self.bad(bad.to_string(), None).await),
        }
    }

    async fn bad(&self, reason: String, refused: Option<ApiError>) -> Ended {
        self.moment(RolloutStep::Bad { reason: reason.clone() }).await;
        Ended::Bad { reason, refused }
    }

    async fn moment(&self, step: RolloutStep) {
        self.tell.moment(self.options.clock.now(), step).await;
    }
}
