//! Judging: one verdict a scenario, one gate over all of them, one exit code.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::event::{Ended, Offset, StageResult, Subject};
use crate::outcome::{Outcome, Recovery, StepResult};
use crate::scenario::plan::{BudgetFrom, Expect, Plan, Step, Symptom};

mod rollout;

pub use rollout::judge_rollout;

/// One scenario's judgement, from best to worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The promise was kept, and there is evidence for it.
    Pass,
    /// There is no evidence either way.
    Inconclusive {
        /// What is missing.
        why: String,
    },
    /// The promise was broken, and there is evidence for it.
    Fail {
        /// Which.
        why: String,
    },
}

impl Verdict {
    /// `pass`, `inconclusive` or `fail`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive { .. } => "inconclusive",
            Self::Fail { .. } => "fail",
        }
    }

    /// The reason, where it is not a pass.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Inconclusive { why } | Self::Fail { why } => Some(why),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())?;
        self.why().map_or(Ok(()), |why| write!(formatter, ": {why}"))
    }
}

/// Judges one scenario.
///
/// What spoils the experiment comes first: a run that was cut short, did not inject, disturbed
/// the system by looking, or could not prove its fault says nothing, whatever it measured.
/// Then what had to stay good throughout must have stayed so. Then pass needs the upper end of
/// the recovery time within the budget; fail needs its lower end beyond, or something bad that
/// was seen beyond; all else is inconclusive.
#[must_use]
pub fn judge(plan: &Plan, outcome: &Outcome) -> Verdict {
    let judged = match spoiled(outcome) {
        Some(why) => Err(why),
        None => {
            throughout(outcome).map_or_else(|| measured(plan, outcome), Ok).and_then(|judged| watched(outcome, judged))
        }
    };
    judged.unwrap_or_else(|why| Verdict::Inconclusive { why })
}

/// What keeps the run from saying anything.
fn spoiled(outcome: &Outcome) -> Option<String> {
    if let Some(error) = outcome.fault_failed() {
        return Some(format!("the fault could not be injected: {error}"));
    }
    match outcome.ended() {
        Some(Ended::Completed) => {}
        Some(Ended::Broken { reason }) => return Some(reason.clone()),
        Some(Ended::Cancelled) => return Some("the run was cancelled".to_owned()),
        None => return Some("the record stops in the middle of the scenario".to_owned()),
    }
    if let Some(effect) = outcome.observer_effect() {
        return Some(format!("observer effect: {effect}"));
    }
    if outcome.fault_sent_at().is_none() {
        return Some("the fault was never sent".to_owned());
    }
    if outcome.fault_time().is_none() {
        let unmet = outcome.proof().into_iter().filter(|rule| rule.at.is_none());
        let unmet: Vec<String> = unmet.map(|rule| rule.rule).collect();
        return Some(format!("no proof that the fault took effect; never seen: {}", unmet.join("; ")));
    }
    None
}

/// Whether something was bad that had to stay good.
fn throughout(outcome: &Outcome) -> Option<Verdict> {
    let bad = outcome.broken_invariant()?;
    let subject = match &bad.subject {
        Subject::Service => String::new(),
        Subject::Pod { name, .. } => format!(" at pod {name}"),
    };
    let check = &bad.check;
    Some(Verdict::Fail { why: format!("check `{check}` must stay good throughout, and saw{subject}: {}", bad.reason) })
}

/// Nothing passes that rests on a check which nobody could look at.
fn watched(outcome: &Outcome, judged: Verdict) -> Result<Verdict, String> {
    match outcome.unwatched_invariant() {
        Some(check) if judged == Verdict::Pass => Err(format!(
            "check `{check}` must stay good throughout, and nobody can tell: it was not good before the fault, or did \
             not answer after it"
        )),
        _ => Ok(judged),
    }
}

fn measured(plan: &Plan, outcome: &Outcome) -> Result<Verdict, String> {
    let budget = plan.budget.max;
    match outcome.recovery() {
        Recovery::Absorbed => absorbed(plan),
        Recovery::Recovered { last_bad: None, .. } if plan.symptom == Symptom::Required => {
            Err("the fault is proven, but no bad sample was seen".to_owned())
        }
        Recovery::Recovered { first_good, from: BudgetFrom::Remedy, .. }
            if outcome.remedy_sent().is_none_or(|sent| first_good < sent) =>
        {
            Err("the system recovered by itself before the remedy was sent".to_owned())
        }
        Recovery::Recovered { upper, .. } if upper <= budget => Ok(Verdict::Pass),
        Recovery::Recovered { lower, upper, .. } if lower > budget => Ok(Verdict::Fail {
            why: format!("recovery took {}, the budget is {}", interval(lower, upper), duration::text(budget)),
        }),
        Recovery::Recovered { lower, upper, .. } => Err(format!(
            "recovery took {}, and the budget of {} lies inside",
            interval(lower, upper),
            duration::text(budget)
        )),
        Recovery::NotYet => match bad_beyond(plan, outcome) {
            Some(evidence) => Ok(Verdict::Fail { why: evidence }),
            None => Err(unrecovered(outcome)),
        },
    }
}

fn absorbed(plan: &Plan) -> Result<Verdict, String> {
    match plan.symptom {
        Symptom::Optional => Ok(Verdict::Pass),
        Symptom::Required => Err("the fault is proven, but no bad sample was seen: it was absorbed".to_owned()),
    }
}

/// Evidence that the steady state was not back when the budget was over.
///
/// A bad sample was bad at some time after it was sent. A missing pod counts only while
/// samples still come in, and with the margin of `slow`: a watch tells late.
fn bad_beyond(plan: &Plan, outcome: &Outcome) -> Option<String> {
    let start = match plan.budget.from {
        BudgetFrom::Fault => outcome.fault_time()?.1,
        BudgetFrom::Remedy => outcome.remedy_sent()?,
    };
    let end = start + plan.budget.max;
    let over = format!("the budget of {} was over", duration::text(plan.budget.max));
    if let Some(bad) = outcome.last_bad().filter(|bad| *bad > end) {
        return Some(format!("still bad {} after {over}", seconds(bad.since(end))));
    }
    let (ready, expected) = outcome.pods_missing()?;
    let is_watched = |at: Offset| at > end + plan.slow_max();
    let looked = outcome.last_answer().is_some_and(is_watched);
    looked.then(|| format!("{ready} of {expected} pods ready {} after {over}", seconds(outcome.now().since(end))))
}

fn unrecovered(outcome: &Outcome) -> String {
    let failed = outcome.steps().iter().find_map(|step| step.error.as_deref());
    match (failed, outcome.last_bad(), outcome.good_since()) {
        (Some(error), ..) => format!("a remedy step could not be carried out: {error}"),
        (None, Some(_), Some(_)) => "good again at the end, but not long enough to count as recovered".to_owned(),
        (None, Some(_), None) => "no recovery was seen, and nothing bad beyond the budget either".to_owned(),
        (None, None, _) => "too few samples after the fault to say anything".to_owned(),
    }
}

/// What differs from what the scenario's author expected of the remedy, and decides nothing:
/// a step that is known not to help and did, and one that should have helped and did not.
#[must_use]
pub fn remarks(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let remark = |(number, step): (usize, &Step)| {
        let command = &step.command;
        match (step.expect, outcome.step_result(number)) {
            (Expect::NoRecovery, StepResult::Recovered) => {
                Some(format!("`{command}` was expected not to recover the system, and it did"))
            }
            (Expect::Recovery, StepResult::NotRecovered) => {
                Some(format!("`{command}` was expected to recover the system, and it did not"))
            }
            (Expect::NoRecovery | Expect::Recovery | Expect::Part, _) => None,
        }
    };
    plan.remedy.iter().enumerate().filter_map(remark).collect()
}

/// A recovery time in seconds, from its lower to its upper end: `32.41–32.85 s`.
#[must_use]
pub fn interval(lower: Duration, upper: Duration) -> String {
    format!("{:.2}–{:.2} s", lower.as_secs_f64(), upper.as_secs_f64())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// How a command of this program ends. Documented here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// 0: everything that was asked for holds.
    Pass,
    /// 1: the gate failed: a promise was broken, a stage failed, or a rule of the gate does not hold.
    GateFailed,
    /// 2: wrong usage, or an invalid file.
    Usage,
    /// 3: nothing failed, but not everything was shown.
    Inconclusive,
    /// 4: nothing was selected.
    NothingSelected,
    /// 5: something that was broken or made could not be put right.
    CleanUpIncomplete,
    /// 6: the environment lacks something, or forbids it.
    Environment,
    /// 7: the release was bad and the previous one is back.
    RolledBack,
    /// 8: the release was bad and the previous one is not back.
    RollbackFailed,
    /// 70: a bug in this program.
    Bug,
    /// 130: interrupted by SIGINT, and cleaned up.
    Interrupted,
    /// 143: interrupted by SIGTERM, and cleaned up.
    Terminated,
}

impl Exit {
    /// Every exit, worst first: of several that apply, the first of this list counts.
    /// An interrupted run is never worse than what it had found before, and its missing
    /// verdicts are no news.
    pub const BY_PRECEDENCE: [Self; 12] = [
        Self::Bug,
        Self::CleanUpIncomplete,
        Self::RollbackFailed,
        Self::RolledBack,
        Self::Environment,
        Self::Usage,
        Self::GateFailed,
        Self::Terminated,
        Self::Interrupted,
        Self::Inconclusive,
        Self::NothingSelected,
        Self::Pass,
    ];

    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::GateFailed => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::NothingSelected => 4,
            Self::CleanUpIncomplete => 5,
            Self::Environment => 6,
            Self::RolledBack => 7,
            Self::RollbackFailed => 8,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::GateFailed => "gate failed",
            Self::Usage => "usage or invalid file",
            Self::Inconclusive => "inconclusive",
            Self::NothingSelected => "nothing selected",
            Self::CleanUpIncomplete => "clean-up incomplete",
            Self::Environment => "environment",
            Self::RolledBack => "deploy failed and was rolled back",
            Self::RollbackFailed => "roll-back failed",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let first = Self::BY_PRECEDENCE.into_iter().find(|exit| *exit == self || *exit == other);
        first.unwrap_or(self)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The signals that stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interrupt {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// All that the gate is drawn from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFacts {
    /// How many scenarios and stages were asked for.
    pub selected: usize,
    /// The scenarios' verdicts; one that is asked for and missing here is inconclusive.
    pub verdicts: Vec<Verdict>,
    /// How each stage of the pipeline ended.
    pub stages: Vec<StageResult>,
    /// How many of the gate's rules beyond verdicts do not hold.
    pub rules_unmet: usize,
    /// Whether something that was broken or made is not put right.
    pub is_unclean: bool,
    /// Whether the environment stopped the run.
    pub is_environment: bool,
    /// The signal that stopped the run.
    pub interrupt: Option<Interrupt>,
}

/// The gate: the worst of all that happened.
#[must_use]
pub fn gate(facts: &GateFacts) -> Exit {
    let verdicts = facts.verdicts.iter().map(|verdict| match verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Inconclusive { .. } => Exit::Inconclusive,
        Verdict::Fail { .. } => Exit::GateFailed,
    });
    let stages = facts.stages.iter().map(|stage| match stage {
        StageResult::Done => Exit::Pass,
        StageResult::Failed { .. } => Exit::GateFailed,
        StageResult::RolledBack { .. } => Exit::RolledBack,
        StageResult::RollbackFailed { .. } => Exit::RollbackFailed,
        StageResult::Cancelled => Exit::Inconclusive,
    });
    let interrupt = facts.interrupt.map(|interrupt| match interrupt {
        Interrupt::Interrupt => Exit::Interrupted,
        Interrupt::Terminate => Exit::Terminated,
    });
    // What was asked for and has no verdict and no stage was not shown.
    let shown = facts.verdicts.len() + facts.stages.len();
    let run = [
        (shown < facts.selected).then_some(Exit::Inconclusive),
        (facts.rules_unmet > 0).then_some(Exit::GateFailed),
        facts.is_unclean.then_some(Exit::CleanUpIncomplete),
        facts.is_environment.then_some(Exit::Environment),
        interrupt,
        (facts.selected == 0).then_some(Exit::NothingSelected),
    ];
    verdicts.chain(stages).chain(run.into_iter().flatten()).fold(Exit::Pass, Exit::worst)
}
