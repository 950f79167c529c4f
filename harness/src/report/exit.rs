//! What a run's process exits with.

use super::{Judged, Report, ScenarioVerdict, StageReport};
use crate::event::{Ended, StageResult};
use crate::verdict::{Exit, GateFacts, Interrupt, Verdict, gate};

impl Report {
    /// The gate over everything the report holds.
    ///
    /// A signal shows as cancelled, whichever it was: a caller that took SIGTERM turns
    /// [`Exit::Interrupted`] into [`Exit::Terminated`].
    #[must_use]
    pub fn exit(&self) -> Exit {
        let is_over = self.clean.is_some();
        gate(&GateFacts {
            // The record stops in the middle: what is missing counts as asked for. So does what
            // was skipped where nothing else was rehearsed: a run is not green for doing nothing.
            selected: self.stages.len()
                + self.judged_rollouts().count()
                + self.scenarios.len()
                + usize::from(!is_over)
                + if self.scenarios.is_empty() { self.skipped.len() } else { 0 },
            verdicts: self
                .judged_rollouts()
                .map(|(_, verdict)| judged(verdict))
                .chain(self.scenarios.iter().map(|scenario| judged(&scenario.verdict)))
                .collect(),
            stages: self.stages.iter().filter_map(of_stage).collect(),
            is_unclean: self.is_unclean(),
            is_environment: self.stages.iter().any(is_environment),
            interrupt: self.is_cancelled().then_some(Interrupt::Interrupt),
        })
    }

    pub(super) fn is_unclean(&self) -> bool {
        match self.clean {
            Some(true) => self.heal_failed.is_some() || self.scenarios.iter().any(|one| one.heal_failed.is_some()),
            Some(false) => true,
            None => {
                self.heal_failed.is_some()
                    || self.scenarios.iter().any(|one| one.left_broken || one.heal_failed.is_some())
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.stages.iter().any(|stage| stage.result == Some(StageResult::Cancelled))
            || self.scenarios.iter().any(|scenario| scenario.ended == Some(Ended::Cancelled))
    }
}

fn judged(verdict: &ScenarioVerdict) -> Verdict {
    let why = || verdict.why.clone().unwrap_or_default();
    match verdict.verdict {
        Judged::Pass => Verdict::Pass,
        Judged::Inconclusive => Verdict::Inconclusive { why: why() },
        Judged::Fail => Verdict::Fail { why: why() },
    }
}

/// How the gate takes a stage; nothing where it did not end, which the gate counts as not shown.
fn of_stage(stage: &StageReport) -> Option<StageResult> {
    match &stage.result {
        // Nothing was put back: the cluster stands where a failed roll-back leaves it.
        Some(StageResult::Failed { error }) if is_rollout(stage) => {
            Some(StageResult::RollbackFailed { error: error.clone() })
        }
        result => result.clone(),
    }
}

/// A stage that does not judge the release fails because of where it runs: a tool, a registry,
/// the cluster.
fn is_environment(stage: &StageReport) -> bool {
    matches!(stage.result, Some(StageResult::Failed { .. }))
        && !is_rollout(stage)
        && !matches!(stage.stage.as_str(), "smoke" | "soak")
}

/// A stage that changes what runs.
fn is_rollout(stage: &StageReport) -> bool {
    matches!(stage.stage.as_str(), "deploy" | "rollback" | "deploy again")
}
