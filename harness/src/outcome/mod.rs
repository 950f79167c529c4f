//! The fold of events into what is known about one scenario.
//!
//! Nothing here reads a clock: an outcome of the same events is the same outcome, live
//! or replayed. Samples may come in any order among themselves, since each carries its
//! own times; all other events count in the order of the journal.
//!
//! # What "recovered" means
//!
//! Every required series is good: each recovery check at the Service, and each recovery
//! check at every pod of the workload that is not terminating. On top of that the
//! workload has as many ready pods as the evidence: a replica that is missing has no
//! samples that could be bad, so its absence counts by itself, from the event that showed
//! it to the event that ended it. Such an absence moves the first good moment back, and is
//! evidence of bad while it lasts. It never raises the lower end of the recovery time,
//! because a watch event says when we were told, not when it was so.
//!
//! A pod's samples count from its first sight until it is seen terminating or gone. A pod
//! that appears later must be good as well from then on.

use std::time::Duration;

use crate::event::{Baseline, Ended, Event, Offset, Phase, Sample, Seen, Subject, What};
use crate::scenario::plan::{BudgetFrom, CheckName, Plan};

mod invariants;
mod known;
mod levels;
mod pods;
mod progress;
mod proof;
pub mod rollout;
mod scan;
mod sockets;
mod tally;
mod timeline;

use invariants::Invariants;
pub use known::{FirstBad, Recovery, StepOutcome, StepResult};
use pods::Pods;
use progress::{FaultMark, Progress};
pub use proof::Proven;
use scan::Change;
pub use sockets::{EndCount, Sockets};
use tally::Tally;
pub use tally::{CheckTally, LoadTotals, Slip};
pub(crate) use timeline::{Kind, kind};
use timeline::{Point, SeriesId, Timeline};

/// What is known about one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    plan: Plan,
    /// The newest time in any event.
    now: Offset,
    pods: Pods,
    timeline: Timeline,
    evidence: proof::Evidence,
    invariants: Invariants,
    tally: Tally,
    sockets: Sockets,
    fault: Option<FaultMark>,
    fault_failed: Option<String>,
    /// What changed about the pods since the fault, in order.
    changes: Vec<(Offset, Change)>,
    /// The scan of what can no longer change, and how far it is.
    scanned: Option<Progress>,
    first_bad: Option<FirstBad>,
    steps: Vec<StepOutcome>,
    baseline: Option<Baseline>,
    heal_failed: Option<String>,
    healed: Option<Vec<String>>,
    notes: Vec<String>,
    ended: Option<(Offset, Ended)>,
}

impl Outcome {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            now: Offset::ZERO,
            pods: Pods::new(plan.workload.clone()),
            timeline: Timeline::new(plan),
            evidence: proof::Evidence::new(plan),
            invariants: Invariants::new(plan),
            tally: Tally::new(plan),
            sockets: Sockets::default(),
            fault: None,
            fault_failed: None,
            changes: Vec::new(),
            scanned: None,
            first_bad: None,
            steps: vec![StepOutcome::default(); plan.remedy.len()],
            baseline: None,
            heal_failed: None,
            healed: None,
            notes: Vec::new(),
            ended: None,
        }
    }

    /// Takes the next event in. Events of other scenarios change nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.scenario.as_ref().is_some_and(|scenario| *scenario != self.plan.id) {
            return;
        }
        let at = event.at;
        self.now = self.now.max(at);
        match &event.what {
            What::Sample(sample) => self.sample(sample),
            What::Evidence { pods } => self.change_pods(at, |table| table.evidence(pods)),
            What::PodSeen(pod) => {
                self.evidence.pod_seen(at, pod);
                self.change_pods(at, |table| table.seen(pod));
            }
            What::PodGone { uid, .. } => {
                self.evidence.pod_gone(at, uid);
                self.change_pods(at, |table| table.gone(uid));
            }
            What::SamplingAt { check, interval, reason } => {
                self.timeline.set_interval(check, *interval);
                self.tally.sampling_at(check, *interval, reason.as_ref());
            }
            What::FaultSent => self.fault_sent(at),
            What::FaultFailed { error } => self.fault_failed = Some(error.clone()),
            What::StepSent { step } => self.step(*step, |known| known.sent = Some(at)),
            What::StepDone { step, output } => self.step(*step, |known| {
                known.done = Some(at);
                known.output.clone_from(output);
            }),
            What::StepFailed { step, error } => self.step(*step, |known| {
                known.done = Some(at);
                known.error = Some(error.clone());
            }),
            What::PhaseEntered(phase) => self.tally.phase(at, *phase),
            What::BaselineCompared(baseline) => self.baseline = Some(baseline.clone()),
            What::Load(second) => self.tally.load(second, self.fault.as_ref().map(|fault| fault.at)),
            What::Socket(event) => {
                self.evidence.socket(event);
                self.sockets.take(event, self.fault.as_ref().map(|fault| fault.at));
            }
            What::HealSent => self.invariants.heal_sent(at),
            What::Healed { facts } => self.healed = Some(facts.clone()),
            What::HealFailed { error } => self.heal_failed = Some(error.clone()),
            What::Note { text } => self.notes.push(text.clone()),
            What::ScenarioEnded(ended) => self.ended = Some((at, ended.clone())),
            What::RunStarted(_)
            | What::RulesSet(_)
            | What::ReferenceGiven(_)
            | What::ClusterReady(_)
            | What::StageStarted { .. }
            | What::StageSaid { .. }
            | What::StageFinished { .. }
            | What::ChecklistTaken(_)
            | What::SoakStarted(_)
            | What::SoakLooked(_)
            | What::ScenarioStarted(_)
            | What::LaneTaken(_)
            | What::ScenarioSkipped { .. }
            | What::FaultPrepared { .. }
            | What::Rollout(_)
            | What::FaultDone
            | What::Logged(_)
            | What::RunEnded { .. } => {}
        }
        self.scan_settled();
    }

    /// Whether every required series was good, and watched, for `window` up to `now`, and the
    /// workload has exactly the ready pods that the evidence has (before there is evidence: all
    /// of its pods, at least one, are ready).
    #[must_use]
    pub fn is_steady(&self, now: Offset, window: Duration) -> bool {
        if !self.pods.is_calm() {
            return false;
        }
        let Some(required) = self.required() else { return false };
        let from = Offset::from_duration(now.since(Offset::ZERO).saturating_sub(window));
        let points = &self.timeline.points()[self.timeline.first_from(from)..];
        required.into_iter().all(|series| {
            let of_series = points.iter().filter(|point| point.series == series && point.sent <= now);
            is_unbroken(of_series, from, now, self.plan.slow_max())
        })
    }

    /// When the fault took effect: between the moment it was sent and the first evidence of it.
    /// Absent until every rule of the plan's proof is met.
    #[must_use]
    pub fn fault_time(&self) -> Option<(Offset, Offset)> {
        let sent = self.fault.as_ref()?.at;
        Some((sent, self.evidence.first_of_all()?))
    }

    /// When the fault was sent, proven or not.
    #[must_use]
    pub fn fault_sent_at(&self) -> Option<Offset> {
        self.fault.as_ref().map(|fault| fault.at)
    }

    /// Each rule of the plan's proof and its first evidence.
    #[must_use]
    pub fn proof(&self) -> Vec<Proven> {
        self.evidence.rules()
    }

    /// When the first bad sample that was sent after the fault was known to be bad.
    #[must_use]
    pub fn symptom(&self) -> Option<Offset> {
        self.first_bad.as_ref().map(|bad| bad.done)
    }

    /// The sample that [`Self::symptom`] speaks of.
    #[must_use]
    pub fn first_bad(&self) -> Option<&FirstBad> {
        self.first_bad.as_ref()
    }

    /// The first bad sample of a check that must stay good throughout.
    #[must_use]
    pub fn broken_invariant(&self) -> Option<&FirstBad> {
        self.invariants.broken()
    }

    /// A check that must stay good throughout, and of which nobody can say whether it did: it
    /// was not good before the fault, or gave no answer after it.
    #[must_use]
    pub fn unwatched_invariant(&self) -> Option<&CheckName> {
        self.invariants.unwatched()
    }

    /// Whether, and how fast, the steady state is back.
    ///
    /// Both ends count from the first remedy step where the budget does; a system that was back
    /// before it has a recovery time of zero, and `first_good` is earlier than the step.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let (Some((sent, proven)), Some(scan)) = (self.fault_time(), self.scan()) else { return Recovery::NotYet };
        let from = self.plan.budget.from;
        let (earliest, latest) = match from {
            BudgetFrom::Fault => (sent, proven),
            // Nothing is counted before the step, so its time does not matter where it is absent.
            BudgetFrom::Remedy => self.remedy_sent().map_or((Offset::MAX, Offset::MAX), |step| (step, step)),
        };
        if let Some(held) = scan.held() {
            // A streak that was over before the proof may be the calm before a slow fault: it
            // counts only if it went on for `hold` after the proof.
            let calm = held.first_good + self.plan.hold < proven;
            if calm && !scan.good_from_until(held.first_good, proven + self.plan.hold) {
                return Recovery::NotYet;
            }
            return Recovery::Recovered {
                first_good: held.first_good,
                last_bad: held.last_bad,
                lower: held.last_bad.map_or(Duration::ZERO, |bad| bad.since(latest)),
                upper: held.first_good.since(earliest),
                from,
            };
        }
        let watched = self.watch_start().map_or(proven, |start| start + self.plan.budget.max) + self.plan.hold;
        match scan.untouched_until() {
            Some(until) if until >= watched => Recovery::Absorbed,
            _ => Recovery::NotYet,
        }
    }

    /// Since when everything is good without a break, at the end of the record: a recovery that
    /// has not held long enough. Absent before the fault and while something is bad.
    #[must_use]
    pub fn good_since(&self) -> Option<Offset> {
        self.scan()?.good_since()
    }

    /// When the last bad sample after the fault was sent.
    #[must_use]
    pub fn last_bad(&self) -> Option<Offset> {
        self.scan()?.last_bad()
    }

    /// When the newest sample of a recovery check that was answered, right or wrong, was sent.
    #[must_use]
    pub fn last_answer(&self) -> Option<Offset> {
        let answered = |point: &&Point| point.kind != Kind::Missing;
        self.timeline.points().iter().rev().find(answered).map(|point| point.sent)
    }

    /// How many ready pods there are and how many there should be, where some are missing.
    #[must_use]
    pub fn pods_missing(&self) -> Option<(usize, usize)> {
        (!self.pods.is_complete()).then(|| (self.pods.ready(), self.pods.expected().unwrap_or(1)))
    }

    /// Until when to watch: budget, `hold`, `slow` and one interval after the budget's start.
    /// Absent before it has started.
    #[must_use]
    pub fn deadline(&self) -> Option<Offset> {
        let watch = self.plan.budget.max + self.plan.hold + self.plan.slow_max() + self.timeline.interval_max();
        self.watch_start().map(|start| start + watch)
    }

    /// What became of each remedy step.
    #[must_use]
    pub fn steps(&self) -> &[StepOutcome] {
        &self.steps
    }

    /// Whether a remedy step recovered the system before the next one was sent.
    #[must_use]
    pub fn step_result(&self, step: usize) -> StepResult {
        let sent_at = |step: usize| self.steps.get(step).and_then(|known| known.sent);
        let Some(sent) = sent_at(step) else { return StepResult::NotSent };
        let next = sent_at(step + 1);
        match self.recovery() {
            Recovery::Recovered { first_good, .. } if first_good < sent => StepResult::NotSent,
            Recovery::Recovered { first_good, .. } if next.is_none_or(|next| first_good < next) => {
                StepResult::Recovered
            }
            Recovery::Recovered { .. } => StepResult::NotRecovered,
            Recovery::NotYet | Recovery::Absorbed => {
                let is_last = step + 1 == self.plan.remedy.len();
                let until = if is_last { self.deadline() } else { Some(sent + self.plan.remedy[step].watch) };
                let is_over = next.is_some() || self.ended.is_some() || until.is_some_and(|until| self.now >= until);
                if is_over { StepResult::NotRecovered } else { StepResult::Watching }
            }
        }
    }

    /// How each check was sampled, by name.
    pub fn checks(&self) -> impl Iterator<Item = (&CheckName, &CheckTally)> {
        self.tally.checks.iter()
    }

    /// Load in the seconds before the fault, and in those from it on.
    #[must_use]
    pub fn load(&self) -> (&LoadTotals, &LoadTotals) {
        (&self.tally.load_before, &self.tally.load_after)
    }

    /// What became of the load's WebSockets.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// How far samples were sent behind their schedule.
    #[must_use]
    pub fn slip(&self) -> Slip {
        self.tally.slip()
    }

    /// Time spent in each phase.
    #[must_use]
    pub fn phases(&self) -> Vec<(Phase, Duration)> {
        self.tally.times(self.ended.as_ref().map_or(self.now, |(at, _)| *at))
    }

    /// The comparison of the system with and without our sampling.
    #[must_use]
    pub fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_ref()
    }

    /// How our sampling changed the system, where it did.
    #[must_use]
    pub fn observer_effect(&self) -> Option<&str> {
        self.baseline.as_ref()?.effect.as_deref()
    }

    /// Why injection failed.
    #[must_use]
    pub fn fault_failed(&self) -> Option<&str> {
        self.fault_failed.as_deref()
    }

    /// What healing undid, where it was verified.
    #[must_use]
    pub fn healed(&self) -> Option<&[String]> {
        self.healed.as_deref()
    }

    /// Why healing could not be verified.
    #[must_use]
    pub fn heal_failed(&self) -> Option<&str> {
        self.heal_failed.as_deref()
    }

    /// Lines worth reading that decide nothing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How the scenario ended; absent while it runs, and where the journal stops before.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref().map(|(_, ended)| ended)
    }

    /// The newest time in any event.
    #[must_use]
    pub fn now(&self) -> Offset {
        self.now
    }

    /// When the first remedy step was sent.
    #[must_use]
    pub fn remedy_sent(&self) -> Option<Offset> {
        self.steps.first().and_then(|step| step.sent)
    }

    /// Where the budget counts from, once that is known.
    fn watch_start(&self) -> Option<Offset> {
        match self.plan.budget.from {
            BudgetFrom::Fault => self.fault_sent_at(),
            BudgetFrom::Remedy => self.remedy_sent(),
        }
    }

    fn step(&mut self, step: usize, note: impl FnOnce(&mut StepOutcome)) {
        if let Some(known) = self.steps.get_mut(step) {
            note(known);
        }
    }

    fn sample(&mut self, sample: &Sample) {
        self.now = self.now.max(sample.done);
        let slow = self.plan.slow_of(&sample.check);
        self.tally.sample(sample, slow);
        self.evidence.sample(sample, slow);
        self.invariants.sample(sample, slow);
        let Some(place) = self.timeline.insert(sample, slow) else { return };
        self.note_first_bad(sample);
        // Older than anything that could still come: what was scanned has to be scanned again.
        if self.scanned.as_ref().is_some_and(|progress| place < progress.points) {
            self.scanned = None;
        }
    }

    fn note_first_bad(&mut self, sample: &Sample) {
        let is_after = self.fault.as_ref().is_some_and(|fault| sample.sent >= fault.at);
        // What a pod does not answer before it was ever ready is its start, and no symptom.
        let is_starting = matches!(&sample.subject, Subject::Pod { uid, .. } if !self.pods.has_been_ready(uid));
        if !is_after || is_starting || kind(sample, self.plan.slow_of(&sample.check)) != Kind::Bad {
            return;
        }
        if self.first_bad.as_ref().is_none_or(|known| (sample.done, &sample.subject) < (known.done, &known.subject)) {
            let reason = match &sample.seen {
                Seen::Bad { reason } | Seen::Missing { reason } => reason.clone(),
                Seen::Good => {
                    format!("right, but later than {}", crate::duration::text(self.plan.slow_of(&sample.check)))
                }
            };
            let (check, subject) = (sample.check.clone(), sample.subject.clone());
            self.first_bad = Some(FirstBad { done: sample.done, check, subject, reason });
        }
    }

    fn fault_sent(&mut self, at: Offset) {
        self.evidence.fault_sent(at, self.pods.table());
        self.invariants.fault_sent(at);
        let members: Vec<String> = self.pods.members().map(str::to_owned).collect();
        let mut required: Vec<SeriesId> = self.timeline.fixed().collect();
        required.extend(members.iter().flat_map(|uid| self.timeline.of_pod(uid)));
        self.fault = Some(FaultMark { at, complete: self.pods.is_complete(), required });
        self.changes.clear();
        self.scanned = None;
    }

    /// Changes the table of pods, and notes what that changes for recovery.
    fn change_pods(&mut self, at: Offset, change: impl FnOnce(&mut Pods)) {
        let before: Vec<String> = self.pods.members().map(str::to_owned).collect();
        let was_complete = self.pods.is_complete();
        change(&mut self.pods);
        if self.fault.is_none() {
            return;
        }
        let after: Vec<String> = self.pods.members().map(str::to_owned).collect();
        for uid in after.iter().filter(|uid| !before.contains(uid)) {
            let series = self.timeline.of_pod(uid);
            self.changes.extend(series.into_iter().map(|series| (at, Change::Required(series))));
        }
        for uid in before.iter().filter(|uid| !after.contains(uid)) {
            let series = self.timeline.of_pod(uid);
            self.changes.extend(series.into_iter().map(|series| (at, Change::Dropped(series))));
        }
        if was_complete != self.pods.is_complete() {
            let change = if was_complete { Change::Incomplete } else { Change::Complete };
            self.changes.push((at, change));
        }
    }

    /// The series that must be good now; nothing where one of them has no sample yet.
    fn required(&self) -> Option<Vec<SeriesId>> {
        let of_pods = self.pods.members().flat_map(|uid| self.timeline.known_of_pod(uid));
        self.timeline.fixed().map(Some).chain(of_pods).collect()
    }
}

/// Only good samples, none further apart than the gap allows, from one edge to the other.
fn is_unbroken<'a>(points: impl Iterator<Item = &'a Point>, from: Offset, now: Offset, slow: Duration) -> bool {
    let mut last: Option<&Point> = None;
    for point in points {
        let reaches = match last {
            None => point.intended.since(from) <= point.gap_max(),
            Some(last) => !last.is_gap_before(point),
        };
        match point.kind {
            Kind::Missing => {}
            Kind::Good if reaches => last = Some(point),
            Kind::Good | Kind::Bad => return false,
        }
    }
    // The newest sample may still be waiting for its answer.
    last.is_some_and(|last| now.since(last.intended) <= last.gap_max() + slow)
}
