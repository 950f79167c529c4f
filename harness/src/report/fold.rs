//! The fold of a run's events into its report.

use crate::checklist::Checked;
use crate::event::{
    ClusterFacts, ClusterKind, Ended, Event, LaneFacts, Offset, Rules, RunFacts, StageResult, Subject, What,
};
use crate::outcome::rollout::RolloutOutcome;
use crate::outcome::{CheckTally, FirstBad, LoadTotals, Outcome, Recovery, Slip, StepResult};
use crate::reference::Comparand;
use crate::scenario::plan::{BudgetFrom, CheckName, Plan, Role, ScenarioId};
use crate::soak::Soak;
use crate::verdict::{Exit, Verdict, judge};

use super::{
    BaselineReport, Interval, Judged, LoadReport, LoadSums, Millis, ProofReport, Report, RolloutReport, RunVerdict,
    SamplingReport, ScenarioReport, ScenarioVerdict, SkippedReport, SlipReport, SoakReport, StageReport, StepReport,
    SymptomReport, repeat, words,
};

impl Report {
    /// Folds all events of a run, in the order of the journal.
    ///
    /// A record without its last event is that of a run which did not come to its end, and is
    /// reported so: it never passes.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.apply(event));
        fold.report()
    }
}

/// A run's report in the making. It takes the events one by one, in the order of the journal,
/// and keeps what a report needs: no samples of a scenario that has ended.
#[derive(Debug, Default)]
pub struct Fold {
    now: Offset,
    run: Option<RunFacts>,
    rules: Rules,
    comparand: Option<Comparand>,
    cluster: Option<ClusterFacts>,
    stages: Vec<Stage>,
    checklist: Vec<Checked>,
    soak: Option<Soak>,
    scenarios: Vec<Scenario>,
    skipped: Vec<SkippedReport>,
    notes: Vec<String>,
    heal_failed: Option<String>,
    clean: Option<bool>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    from: Offset,
    end: Option<(Offset, StageResult)>,
    facts: Vec<String>,
    /// Its rollout, where it has one.
    rollout: RolloutOutcome,
}

#[derive(Debug)]
enum Scenario {
    Open(Box<Open>),
    /// It has ended: what is known about it has become its report.
    Closed(Box<ScenarioReport>),
}

/// A scenario that has not ended, with its samples.
#[derive(Debug)]
struct Open {
    plan: Plan,
    outcome: Outcome,
    lane: Option<LaneFacts>,
    /// Something was, or was about to be, broken, and is not known to be healed.
    broken: bool,
    heal_failed: Option<String>,
}

impl Fold {
    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        match &event.what {
            What::RunStarted(facts) => self.run = Some((**facts).clone()),
            What::RulesSet(rules) => self.rules = *rules,
            What::ReferenceGiven(comparand) => self.comparand = Some((**comparand).clone()),
            What::ClusterReady(facts) => self.cluster = Some(facts.clone()),
            What::StageStarted { stage } => self.stages.push(Stage::started(stage, event.at)),
            What::StageFinished { stage, result, facts } => self.stage_finished(event.at, stage, result, facts),
            What::ChecklistTaken(checked) => self.checklist.clone_from(checked),
            What::SoakStarted(plan) => {
                self.soak = Some(Soak::new((**plan).clone(), event.at + plan.warm_up));
            }
            What::SoakLooked(look) => {
                self.soak.iter_mut().for_each(|soak| soak.look(event.at, look.clone()));
            }
            What::ScenarioSkipped { plan, why } => self.skipped.push(skipped(plan, why)),
            What::ScenarioStarted(plan) => self.scenarios.push(Scenario::new(plan)),
            What::Note { text } if event.scenario.is_none() => {
                self.notes.push(text.clone());
                return;
            }
            What::HealFailed { error } if event.scenario.is_none() => self.heal_failed = Some(error.clone()),
            What::Healed { .. } if event.scenario.is_none() => self.heal_failed = None,
            What::RunEnded { clean } => self.clean = Some(*clean),
            What::Rollout(moment) => self.of_rollout(|rollout| rollout.moment(moment)),
            What::PodSeen(pod) if event.scenario.is_none() => {
                self.of_rollout(|rollout| rollout.pod_seen(event.at, pod));
            }
            What::PodGone { name, uid } if event.scenario.is_none() => {
                self.of_rollout(|rollout| rollout.pod_gone(event.at, name, uid));
            }
            // These are of a scenario.
            What::LaneTaken(_)
            | What::PhaseEntered(_)
            | What::Evidence { .. }
            | What::PodSeen(_)
            | What::PodGone { .. }
            | What::SamplingAt { .. }
            | What::Sample(_)
            | What::BaselineCompared(_)
            | What::Load(_)
            | What::Socket(_)
            | What::StageSaid { .. }
            | What::FaultPrepared { .. }
            | What::FaultSent
            | What::FaultDone
            | What::FaultFailed { .. }
            | What::StepSent { .. }
            | What::StepDone { .. }
            | What::StepFailed { .. }
            | What::HealSent
            | What::Logged(_)
            | What::Healed { .. }
            | What::HealFailed { .. }
            | What::Note { .. }
            | What::ScenarioEnded(_) => {}
        }
        match &event.scenario {
            Some(id) => self.scenario(id).into_iter().for_each(|scenario| scenario.apply(event)),
            // What concerns the whole run concerns the scenario that is under way.
            None => {
                let open = self.scenarios.iter_mut().filter(|one| matches!(one, Scenario::Open(_)));
                open.for_each(|scenario| scenario.apply(event));
            }
        }
    }

    /// How often a scenario has been started.
    #[must_use]
    pub fn runs_of(&self, id: &ScenarioId) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.id() == id).count()
    }

    /// The stage that began last of those that have ended, and how it ended.
    #[must_use]
    pub fn last_stage(&self) -> Option<(&str, &StageResult)> {
        let ended = |stage: &'_ Stage| stage.end.is_some();
        let stage = self.stages.iter().rev().find(|stage| ended(stage))?;
        stage.end.as_ref().map(|(_, result)| (stage.name.as_str(), result))
    }

    /// With repeats, the newest of the name.
    fn scenario(&mut self, id: &ScenarioId) -> Option<&mut Scenario> {
        self.scenarios.iter_mut().rev().find(|scenario| scenario.id() == id)
    }

    /// What belongs to the rollout of the stage that is under way.
    fn of_rollout(&mut self, apply: impl FnOnce(&mut RolloutOutcome)) {
        if let Some(stage) = self.stages.last_mut().filter(|stage| stage.end.is_none()) {
            apply(&mut stage.rollout);
        }
    }

    fn stage_finished(&mut self, at: Offset, name: &str, result: &StageResult, facts: &[String]) {
        let open = self.stages.iter().rposition(|stage| stage.name == name && stage.end.is_none());
        let place = open.unwrap_or_else(|| {
            self.stages.push(Stage::started(name, at));
            self.stages.len() - 1
        });
        self.stages[place].end = Some((at, result.clone()));
        self.stages[place].facts = facts.to_vec();
    }

    /// The report of what has been taken in so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let now = self.now;
        let mut scenarios: Vec<ScenarioReport> = self.scenarios.iter().map(Scenario::report).collect();
        // As in the files: side by side, the order of their starts is the scheduler's affair.
        scenarios.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        let mut report = Report {
            verdict: RunVerdict { verdict: Exit::Pass, why: String::new() },
            exit_code: 0,
            reproduce: self.run.as_ref().map(reproduce),
            rehearsed_or_measured: place(self.cluster.as_ref()),
            run: self.run.clone(),
            cluster: self.cluster.clone(),
            took_ms: since_start(now),
            rollouts: self.stages.iter().filter_map(Stage::rollout).collect(),
            stages: self.stages.iter().map(|stage| stage.report(now)).collect(),
            checklist: self.checklist.clone(),
            soak: self.soak.as_ref().map(SoakReport::of),
            repeats: repeat::repeats(&scenarios),
            scenarios,
            rules: self.rules,
            reference: None,
            skipped: self.skipped.clone(),
            notes: self.notes.clone(),
            heal_failed: self.heal_failed.clone(),
            clean: self.clean,
        };
        match &self.comparand {
            Some(comparand) => report.compare(comparand),
            None => report.judge(),
        }
        report
    }
}

impl Report {
    /// Draws the run's verdict from everything else in the report.
    pub fn judge(&mut self) {
        let exit = self.exit();
        self.exit_code = exit.code();
        self.verdict = RunVerdict { verdict: exit, why: words::why(self, exit) };
    }
}

impl Stage {
    fn started(name: &str, at: Offset) -> Self {
        Self { name: name.to_owned(), from: at, end: None, facts: Vec::new(), rollout: RolloutOutcome::default() }
    }

    /// Its rollout, where something was rolled out.
    fn rollout(&self) -> Option<RolloutReport> {
        let began = self.rollout.is_judged() || self.rollout.writing.is_some();
        began.then(|| RolloutReport::of(&self.name, &self.rollout))
    }

    fn report(&self, now: Offset) -> StageReport {
        let (until, result) = self.end.as_ref().map_or((now, None), |(at, result)| (*at, Some(result.clone())));
        let took_ms = Millis::floor(until.since(self.from));
        StageReport { stage: self.name.clone(), result, took_ms, facts: self.facts.clone() }
    }
}

impl Scenario {
    fn new(plan: &Plan) -> Self {
        let (plan, outcome) = (plan.clone(), Outcome::new(plan));
        Self::Open(Box::new(Open { plan, outcome, lane: None, broken: false, heal_failed: None }))
    }

    fn id(&self) -> &ScenarioId {
        match self {
            Self::Open(open) => &open.plan.id,
            Self::Closed(report) => &report.id,
        }
    }

    fn apply(&mut self, event: &Event) {
        match self {
            Self::Open(open) => {
                open.apply(event);
                if open.outcome.ended().is_some() {
                    *self = Self::Closed(Box::new(open.report()));
                }
            }
            Self::Closed(report) => told_later(report, event),
        }
    }

    fn report(&self) -> ScenarioReport {
        match self {
            Self::Open(open) => open.report(),
            Self::Closed(report) => (**report).clone(),
        }
    }
}

/// A scenario's end decides its verdict; what may still follow is that it is put right.
fn told_later(report: &mut ScenarioReport, event: &Event) {
    if let What::Healed { facts } = &event.what {
        report.left_broken = false;
        report.heal_failed = None;
        report.healed = Some(facts.clone());
    } else if let What::HealFailed { error } = &event.what {
        report.heal_failed = Some(error.clone());
    } else if let What::Note { text } = &event.what {
        report.notes.push(text.clone());
    }
}

impl Open {
    fn apply(&mut self, event: &Event) {
        if matches!(event.what, What::FaultPrepared { .. } | What::FaultSent) {
            self.broken = true;
        } else if matches!(event.what, What::Healed { .. }) {
            self.broken = false;
            self.heal_failed = None;
        } else if let What::HealFailed { error } = &event.what {
            self.heal_failed = Some(error.clone());
        } else if let What::LaneTaken(lane) = &event.what {
            self.lane = Some(lane.clone());
        }
        self.outcome.apply(event);
    }

    fn report(&self) -> ScenarioReport {
        let Self { plan, outcome, lane, broken, heal_failed } = self;
        let plan = plan.clone();
        let verdict = verdict(&judge(&plan, outcome));
        let recovery = outcome.recovery();
        let recovery_ms = match recovery {
            Recovery::Recovered { lower, upper, .. } => {
                Some(Interval { lower: Millis::floor(lower), upper: Millis::ceil(upper) })
            }
            Recovery::NotYet | Recovery::Absorbed => None,
        };
        let fault_sent = outcome.fault_sent_at();
        ScenarioReport {
            verdict,
            budget_ms: Millis::floor(plan.budget.max),
            budget_from: plan.budget.from,
            budget_source: plan.budget.source.clone(),
            fault: words::fault(&plan.fault),
            fault_sent_ms: fault_sent.map(since_start),
            fault_failed: outcome.fault_failed().map(str::to_owned),
            fault_proven: outcome.fault_time().is_some(),
            fault_ms: outcome.fault_time().map(|(sent, proven)| [since_start(sent), since_start(proven)]),
            proof: proof(outcome),
            symptom: outcome.first_bad().map(symptom),
            symptom_ms: outcome.symptom().map(since_start),
            detection_ms: outcome.symptom().zip(fault_sent).map(|(bad, sent)| Millis::ceil(bad.since(sent))),
            recovery_ms,
            absorbed: recovery == Recovery::Absorbed,
            felt_from_ms: (recovery == Recovery::Absorbed).then(|| felt_from(&plan, outcome)),
            bad_for_at_least_ms: (recovery == Recovery::NotYet).then(|| bad_for(&plan, outcome)).flatten(),
            remedy: remedy(&plan, outcome),
            phases_ms: outcome.phases().into_iter().map(|(phase, took)| (phase, Millis::floor(took))).collect(),
            sampling: outcome.checks().map(|(name, tally)| sampling(name, tally)).collect(),
            slip: slip(outcome.slip()),
            baseline: baseline(outcome),
            load: LoadReport { before: load(outcome.load().0), from_fault: load(outcome.load().1) },
            sockets: super::sockets::of(outcome.sockets()),
            healed: outcome.healed().map(<[String]>::to_vec),
            heal_failed: heal_failed.clone(),
            left_broken: *broken,
            notes: outcome.notes().to_vec(),
            ended: outcome.ended().cloned(),
            id: plan.id,
            round: plan.round,
            title: plan.title,
            file: plan.file,
            line: plan.line,
            promise: plan.promise,
            workload: plan.workload,
            lane: lane.clone(),
        }
    }
}

/// The longest outage that may have fallen between two looks: from right after a good answer's
/// request was sent to the latest good answer to the next one.
fn felt_from(plan: &Plan, outcome: &Outcome) -> Millis {
    let decides = |name: &CheckName| plan.checks.iter().any(|one| one.name == *name && one.role == Role::Recovery);
    let interval = outcome.checks().filter(|(name, _)| decides(name)).map(|(_, tally)| tally.interval).max();
    Millis::ceil(interval.unwrap_or_default() + plan.slow)
}

fn skipped(plan: &Plan, why: &str) -> SkippedReport {
    SkippedReport {
        id: plan.id.clone(),
        title: plan.title.clone(),
        file: plan.file.clone(),
        line: plan.line,
        why: why.to_owned(),
    }
}

pub(super) fn since_start(at: Offset) -> Millis {
    Millis::floor(at.since(Offset::ZERO))
}

fn place(cluster: Option<&ClusterFacts>) -> String {
    match cluster {
        None => "no cluster was reached".to_owned(),
        Some(facts) => match facts.kind {
            ClusterKind::Embedded => "rehearsed on embedded".to_owned(),
            ClusterKind::Kind | ClusterKind::Context => format!("measured on {}", facts.name),
        },
    }
}

/// The command with the seed that was drawn, where it takes one and none was given.
fn reproduce(facts: &RunFacts) -> String {
    if matches!(facts.command.split_whitespace().nth(2), Some("deploy" | "rollback")) {
        return facts.command.clone();
    }
    if facts.command.split_whitespace().any(|word| word == "--seed" || word.starts_with("--seed=")) {
        facts.command.clone()
    } else {
        format!("{} --seed {}", facts.command, facts.seed)
    }
}

pub(super) fn verdict(verdict: &Verdict) -> ScenarioVerdict {
    match verdict {
        Verdict::Pass => ScenarioVerdict { verdict: Judged::Pass, why: None },
        Verdict::Inconclusive { why } => ScenarioVerdict { verdict: Judged::Inconclusive, why: Some(why.clone()) },
        Verdict::Fail { why } => ScenarioVerdict { verdict: Judged::Fail, why: Some(why.clone()) },
    }
}

fn proof(outcome: &Outcome) -> Vec<ProofReport> {
    let rules = outcome.proof().into_iter();
    rules.map(|proven| ProofReport { rule: proven.rule, at_ms: proven.at.map(since_start) }).collect()
}

fn symptom(bad: &FirstBad) -> SymptomReport {
    let subject = match &bad.subject {
        Subject::Service => "the service".to_owned(),
        Subject::Pod { name, .. } => format!("pod {name}"),
    };
    SymptomReport { check: bad.check.0.clone(), subject, reason: bad.reason.clone() }
}

/// From the latest start the budget can have to the last bad sample.
fn bad_for(plan: &Plan, outcome: &Outcome) -> Option<Millis> {
    let start = match plan.budget.from {
        BudgetFrom::Fault => outcome.fault_time()?.1,
        BudgetFrom::Remedy => outcome.remedy_sent()?,
    };
    Some(Millis::floor(outcome.last_bad()?.since(start)))
}

fn remedy(plan: &Plan, outcome: &Outcome) -> Vec<StepReport> {
    let steps = plan.remedy.iter().zip(outcome.steps()).enumerate();
    steps
        .map(|(place, (step, known))| StepReport {
            command: step.command.to_string(),
            expect: step.expect,
            watch_ms: Millis::floor(step.watch),
            sent_ms: known.sent.map(since_start),
            recovered: match outcome.step_result(place) {
                StepResult::NotSent | StepResult::Watching => None,
                // Stopped early, nobody watched to the end.
                StepResult::NotRecovered if matches!(outcome.ended(), Some(Ended::Cancelled)) => None,
                StepResult::NotRecovered => Some(false),
                StepResult::Recovered => Some(true),
            },
            output: known.output.clone(),
            error: known.error.clone(),
        })
        .collect()
}

fn sampling(name: &CheckName, tally: &CheckTally) -> SamplingReport {
    SamplingReport {
        check: name.0.clone(),
        interval_ms: Millis::floor(tally.interval),
        slowed_by: tally.slowed_by.clone(),
        good: tally.good,
        bad: tally.bad,
        missing: tally.missing,
        missing_reason: tally.missing_reason.clone(),
    }
}

fn slip(slip: Slip) -> SlipReport {
    SlipReport { p50_ms: Millis::ceil(slip.p50), p99_ms: Millis::ceil(slip.p99), max_ms: Millis::ceil(slip.max) }
}

fn baseline(outcome: &Outcome) -> Option<BaselineReport> {
    let known = outcome.baseline()?;
    Some(BaselineReport {
        quiet_requests: known.quiet_requests,
        quiet_slow: known.quiet_slow,
        sampled_requests: known.sampled_requests,
        sampled_slow: known.sampled_slow,
        slow_above_ms: Millis::floor(known.slow_above),
        restarts: known.restarts,
        effect: known.effect.clone(),
    })
}

fn load(totals: &LoadTotals) -> LoadSums {
    LoadSums {
        seconds: totals.seconds,
        requests_good: totals.requests_good,
        requests_lost: totals.requests_lost,
        sockets_lost: totals.sockets_lost,
        sockets_open_max: totals.sockets_open_max,
        latency_max_ms: Millis::ceil(totals.latency_max),
    }
}
