//! What a run's process exits with.

use super::row::Row;
use super::{Judged, Report, ScenarioVerdict, SoakReport, StageReport, words};
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
        let rows = self.rows();
        gate(&GateFacts {
            // The record stops in the middle: what is missing counts as asked for. So does what
            // was skipped where nothing else was rehearsed: a run is not green for doing nothing.
            selected: self.stages.len()
                + self.judged_rollouts().count()
                + rows.len()
                + self.soak.iter().count()
                + usize::from(!is_over)
                + if rows.is_empty() { self.skipped.len() } else { 0 },
            verdicts: self
                .judged_rollouts()
                .map(|(_, given)| verdict(given.verdict, given.why.as_deref()))
                .chain(rows.iter().map(judged))
                .chain(self.soak.iter().map(soaked))
                .collect(),
            stages: self.stages.iter().filter_map(of_stage).collect(),
            rules_unmet: self.rules_unmet().len(),
            is_unclean: self.is_unclean(),
            is_environment: self.stages.iter().any(is_environment),
            interrupt: self.is_cancelled().then_some(Interrupt::Interrupt),
        })
    }

    /// The gate's rules beyond verdicts that do not hold, each in words.
    pub(super) fn rules_unmet(&self) -> Vec<String> {
        let grown = self.reference.as_ref().map_or(0, |reference| reference.warnings());
        let warnings = grown + self.soak.as_ref().map_or(0, SoakReport::warnings);
        let strict = (self.rules.strict && warnings > 0)
            .then(|| format!("{} with --strict", words::count(warnings, "warning", "warnings")));
        let cluster = self.cluster.as_ref();
        let untaken = self.rules.require.zip(cluster).filter(|(require, cluster)| !require.takes(cluster.kind));
        let require =
            untaken.map(|_| format!("{}, and --require measured takes no such figures", self.rehearsed_or_measured));
        strict.into_iter().chain(require).collect()
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

fn judged(row: &Row<'_>) -> Verdict {
    verdict(row.judged(), row.why())
}

fn soaked(soak: &SoakReport) -> Verdict {
    let ScenarioVerdict { verdict: judged, why } = &soak.verdict;
    verdict(*judged, why.as_deref())
}

fn verdict(judged: Judged, why: Option<&str>) -> Verdict {
    let why = || why.unwrap_or_default().to_owned();
    match judged {
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
        && !matches!(stage.stage.as_str(), "checklist" | "smoke" | "soak")
}

/// A stage that changes what runs.
fn is_rollout(stage: &StageReport) -> bool {
    matches!(stage.stage.as_str(), "deploy" | "rollback" | "deploy again")
}
