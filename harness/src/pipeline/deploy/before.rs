//! What ran before a deployment: the way back from a bad one.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::super::api::ApiError;
use super::super::revision::{self, History, mark};
use super::super::rollback::{self, Restoring, Return};
use super::super::rollout::Baseline;
use super::{DeployError, Deployment};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;

/// What ran before.
pub(super) struct Before {
    pub(super) baseline: Baseline,
    histories: BTreeMap<WorkloadRef, History>,
}

impl Before {
    pub(super) async fn read(cluster: &Cluster, workloads: &[WorkloadRef]) -> Result<Self, ApiError> {
        let baseline = rollback::baseline(cluster).await?;
        let mut histories = BTreeMap::new();
        for workload in workloads {
            if let Some(history) = revision::history(cluster, workload).await? {
                histories.insert(workload.clone(), history);
            }
        }
        Ok(Self { baseline, histories })
    }

    /// Whether every workload is there, and no rollout is under way.
    pub(super) fn is_settled(&self, workloads: &[WorkloadRef]) -> bool {
        workloads.iter().all(|workload| self.histories.get(workload).is_some_and(|history| history.settled))
    }

    /// Takes the marks of earlier roll-backs from what is now rolled out well.
    pub(super) async fn forgive(&self, cluster: &Cluster, workloads: &[WorkloadRef]) -> Result<(), ApiError> {
        let is_marked = |history: &&History| history.revisions.iter().any(|revision| revision.rolled_back.is_some());
        for workload in workloads {
            if self.histories.get(workload).filter(is_marked).is_none() {
                continue;
            }
            let now = revision::history(cluster, workload).await?;
            let newest = now.as_ref().and_then(History::newest).filter(|newest| newest.rolled_back.is_some());
            if let Some(newest) = newest {
                mark::write(cluster, workload, &newest.name, None).await?;
            }
        }
        Ok(())
    }

    /// Returns every workload that changed to the revision that served, and proves that it does
    /// again.
    pub(super) async fn way_back(
        &self,
        of: &Deployment<'_>,
        reason: String,
        refused: Option<ApiError>,
        cancel: &CancellationToken,
    ) -> DeployError {
        let plan = match self.changed(of.cluster).await {
            Ok(plan) => plan,
            Err(error) => return DeployError::RollbackFailed { reason, error },
        };
        match (plan.is_empty(), refused) {
            // Nothing that ran was touched.
            (true, Some(error)) => DeployError::Api(error),
            (true, None) => DeployError::BadFirstInstall { reason },
            (false, _) => {
                let restoring = Restoring {
                    config: of.config,
                    cluster: of.cluster,
                    clock: of.options.clock,
                    tell: &of.tell,
                    cancel,
                };
                match restoring.carry_out(&plan).await {
                    Ok(mut restored) => {
                        restored.extend(mark_all(of.cluster, &plan, &reason).await);
                        DeployError::RolledBack { reason, restored }
                    }
                    Err(error) => DeployError::RollbackFailed { reason, error: error.to_string() },
                }
            }
        }
    }

    async fn changed(&self, cluster: &Cluster) -> Result<Vec<Return>, String> {
        let mut plan = Vec::new();
        for (workload, before) in &self.histories {
            let now = revision::history(cluster, workload).await.map_err(|error| error.to_string())?;
            let Some(now) = now else { return Err(format!("{workload} is gone")) };
            // A half-finished rollout is not what served.
            let served = before.serving();
            let template = served.map_or(&before.template, |revision| &revision.template);
            if now.template == *template {
                continue;
            }
            // The controller may count an old revision up, but it keeps its template.
            let Some(served) = served else { return Err(format!("{workload} had no revision yet")) };
            let left = now.newest().filter(|newest| newest.template == now.template).map(|newest| newest.name.clone());
            plan.push(Return { workload: workload.clone(), to: served.clone(), left });
        }
        Ok(plan)
    }
}

/// Marks what was rolled back, so that nobody returns to it by accident. Returns what could not
/// be marked: the roll-back itself is done.
async fn mark_all(cluster: &Cluster, plan: &[Return], reason: &str) -> Vec<String> {
    let mut unmarked = Vec::new();
    for Return { workload, left, .. } in plan {
        let Some(left) = left else { continue };
        if let Err(error) = mark::write(cluster, workload, left, Some(reason)).await {
            unmarked.push(format!("`rollback` without a revision may return to {left}: {error}"));
        }
    }
    unmarked
}
