//! Where the engine is: its state, what is known, and the record of both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::watch;

use super::baseline::{Churn, Finding, Trial};
use super::bounds;
use super::calls::Returned;
use super::next::{Back, Call, Stage, State, View, steady_window};
use super::patience::Tried;
use super::{Outcome, Unrecorded};
use crate::clock::RunClock;
use crate::event::{Event, Offset, Phase, PodFacts, Sample, Seen, Subject, What};
use crate::fault::Receipt;
use crate::outcome::Recovery;
use crate::scenario::plan::{CheckName, Plan, Role};
use crate::system::{Observation, Rate, SystemError};

/// Takes in events, and may refuse one: shorthand for the closure that [`super::run`] is given.
pub(super) trait Sink {
    type Error: std::error::Error + 'static;

    fn accept(&mut self, event: &Event) -> Result<(), Self::Error>;
}

impl<F, E> Sink for F
where
    F: FnMut(&Event) -> Result<(), E>,
    E: std::error::Error + 'static,
{
    type Error = E;

    fn accept(&mut self, event: &Event) -> Result<(), E> {
        self(event)
    }
}

/// A scenario on its way.
pub(super) struct Progress<'a, K: Sink> {
    pub(super) clock: RunClock,
    pub(super) state: State,
    pub(super) trial: Trial,
    /// What healing needs, once the fault is prepared.
    pub(super) receipt: Option<Receipt>,
    /// Whether the fault's sending went wrong, so that it may still arrive.
    pub(super) uncertain: bool,
    plan: &'a Plan,
    outcome: Outcome,
    sink: &'a mut K,
    refused: Option<K::Error>,
    healed: bool,
    last: Offset,
    phase: Option<Phase>,
    rate: watch::Sender<Rate>,
    intervals: BTreeMap<CheckName, Duration>,
    /// How long right answers took before the fault, by check.
    answers: BTreeMap<CheckName, Vec<Duration>>,
    pods: HashMap<String, PodFacts>,
    trouble: Option<String>,
}

impl<'a, K: Sink> Progress<'a, K> {
    pub(super) fn new(plan: &'a Plan, clock: RunClock, rate: watch::Sender<Rate>, sink: &'a mut K) -> Self {
        Self {
            clock,
            state: State::new(clock.now()),
            trial: Trial::default(),
            receipt: None,
            uncertain: false,
            plan,
            outcome: Outcome::new(plan),
            sink,
            refused: None,
            healed: true,
            last: clock.now(),
            phase: None,
            rate,
            intervals: BTreeMap::new(),
            answers: BTreeMap::new(),
            pods: HashMap::new(),
            trouble: None,
        }
    }

    /// Stamps an event, has it recorded, and only then counts it. The only place where
    /// events come from. After a refusal nothing is recorded any more: a record with a
    /// hole would tell another story.
    pub(super) fn emit(&mut self, what: What) {
        if self.refused.is_some() {
            return;
        }
        self.last = self.last.max(self.clock.now());
        let event = Event { at: self.last, scenario: Some(self.plan.id.clone()), what };
        match self.sink.accept(&event) {
            Ok(()) => self.outcome.apply(&event),
            Err(error) => {
                self.break_off(format!("the record cannot be written: {error}"));
                self.refused = Some(error);
            }
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        self.emit(What::Note { text: text.to_owned() });
    }

    pub(super) fn break_off(&mut self, reason: String) {
        self.state.broken.get_or_insert(reason);
    }

    pub(super) fn show_phase(&mut self) {
        let phase = self.state.stage.phase();
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            self.emit(What::PhaseEntered(phase));
        }
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        if stage == Stage::Healing && self.state.stage == Stage::Watching && !self.state.cancelled {
            self.tell_why_watching_ended();
        }
        if self.state.stage == Stage::Baseline {
            self.set_rate(|rate| rate.light_load = false);
        }
        self.state.stage = stage;
        self.show_phase();
        self.state.since = self.clock.now();
        self.state.answered = false;
        self.state.step_failed = false;
        match stage {
            Stage::Settling => self.sample(true),
            Stage::Baseline => {
                let light = self.plan.load.requests_per_second <= 0.0;
                self.set_rate(|rate| rate.light_load = light);
                self.trial = Trial::start(self.state.since);
            }
            _ => {}
        }
    }

    fn tell_why_watching_ended(&mut self) {
        let recovery = self.outcome.recovery();
        if recovery == Recovery::NotYet && self.outcome.fault_time().is_none() && self.outcome.symptom().is_none() {
            self.note("neither a proof nor a symptom of the fault was seen: no more is waited for");
        }
    }

    pub(super) fn sample(&mut self, on: bool) {
        self.state.sampling = on;
        self.set_rate(|rate| rate.factor = if on { 1.0 } else { 0.0 });
    }

    fn set_rate(&self, change: impl FnOnce(&mut Rate)) {
        self.rate.send_if_modified(|rate| {
            let before = rate.clone();
            change(rate);
            *rate != before
        });
    }

    /// Says what is about to be done; whether it may be.
    pub(super) fn announce(&mut self, call: Call) -> bool {
        match call {
            Call::Pods | Call::Prepare | Call::Keep => {}
            Call::Inject => self.emit(What::FaultSent),
            Call::Step(step) => {
                self.emit(What::StepSent { step });
                self.state.since = self.last;
            }
            Call::Heal => self.emit(What::HealSent),
        }
        // Healing needs no record; everything else does.
        let may = self.refused.is_none() || call == Call::Heal;
        if may {
            self.state.call = Some(call);
        }
        may
    }

    pub(super) fn returned(&mut self, returned: Returned) {
        self.state.call = None;
        self.state.answered = true;
        match returned {
            Returned::Pods(tried) => match self.weathered("reading pods", tried) {
                Ok(pods) => {
                    self.pods = pods.iter().map(|pod| (pod.uid.clone(), pod.clone())).collect();
                    self.emit(What::Evidence { pods });
                }
                Err(error) => self.break_off(format!("the pods could not be read: {error}")),
            },
            Returned::Prepared(tried) => match self.weathered("preparing the fault", tried) {
                Ok(receipt) => self.prepared(receipt),
                Err(error) => self.break_off(format!("the fault could not be prepared: {error}")),
            },
            Returned::Kept(tried) => {
                if let Err(error) = self.weathered("keeping the receipt", tried) {
                    self.break_off(format!("the receipt could not be left in the cluster: {error}"));
                }
            }
            Returned::Injected(tried) => {
                self.uncertain = tried.retries > 0 || tried.result.is_err();
                match self.weathered("sending the fault", tried) {
                    Ok(()) => self.emit(What::FaultDone),
                    Err(error) => {
                        self.emit(What::FaultFailed { error: error.message.clone() });
                        self.break_off(format!("the fault could not be sent: {error}"));
                    }
                }
            }
            Returned::Stepped(step, tried) => match self.weathered("a remedy step", tried) {
                Ok(output) => self.emit(What::StepDone { step, output }),
                Err(error) => {
                    self.state.step_failed = true;
                    self.emit(What::StepFailed { step, error: error.message });
                }
            },
            Returned::Healed(tried) => match self.weathered("healing", tried) {
                Ok(facts) => {
                    self.healed = true;
                    self.emit(What::Healed { facts });
                }
                Err(error) => {
                    self.state.heal_failed = true;
                    self.emit(What::HealFailed { error: error.message });
                }
            },
        }
    }

    /// The receipt counts as prepared only once it is on the record.
    fn prepared(&mut self, receipt: Receipt) {
        self.emit(What::FaultPrepared { receipt: receipt.clone() });
        if self.refused.is_none() {
            self.receipt = Some(receipt);
            self.state.prepared = true;
            self.healed = false;
        }
    }

    fn weathered<T>(&mut self, doing: &str, tried: Tried<T>) -> Result<T, SystemError> {
        if let (Some(weather), true) = (&tried.weather, tried.result.is_ok()) {
            self.note(&format!("{doing} took {} tries more: {weather}", tried.retries));
        }
        tried.result
    }

    pub(super) fn observing_ended(&mut self, ended: Result<(), SystemError>) {
        let reason = match ended {
            Ok(()) => "observing ended by itself".to_owned(),
            Err(error) => format!("observing ended: {error}"),
        };
        self.note(&reason);
        self.break_off(reason);
    }

    pub(super) fn take_in(&mut self, observations: impl Iterator<Item = Observation>) {
        for observation in observations {
            match observation {
                Observation::Request(request) if self.state.stage == Stage::Baseline => self.trial.request(request),
                Observation::Request(_) => {}
                Observation::Record(what) => {
                    self.look_at(&what);
                    self.emit(what);
                }
            }
        }
    }

    fn look_at(&mut self, what: &What) {
        match what {
            What::Sample(sample) => self.look_at_sample(sample),
            What::SamplingAt { check, interval, .. } => {
                self.intervals.insert(check.clone(), *interval);
            }
            What::PodSeen(pod) => {
                let before = self.pods.insert(pod.uid.clone(), pod.clone());
                if self.state.stage == Stage::Baseline
                    && let Some(churn) = before.and_then(|before| churn(&before, pod, self.clock.now()))
                    && pod.workload.as_ref() == Some(&self.plan.workload)
                {
                    self.trial.churn(churn);
                }
            }
            What::PodGone { uid, .. } => {
                self.pods.remove(uid);
            }
            _ => {}
        }
    }

    fn look_at_sample(&mut self, sample: &Sample) {
        if self.state.stage == Stage::Baseline {
            self.trial.look(sample.sent, sample.done);
        }
        match &sample.seen {
            Seen::Good if !self.state.prepared => {
                let took = sample.done.since(sample.sent);
                self.answers.entry(sample.check.clone()).or_default().push(took);
            }
            Seen::Good => {}
            Seen::Bad { reason } | Seen::Missing { reason } => {
                let at = match &sample.subject {
                    Subject::Service => String::new(),
                    Subject::Pod { name, .. } => format!(" at pod {name}"),
                };
                self.trouble = Some(format!("check `{}`{at}: {reason}", sample.check));
            }
        }
    }

    /// Ends the baseline, or adds a round to it.
    pub(super) fn compare(&mut self) {
        let (baseline, finding) = self.trial.compare();
        match finding {
            Finding::Unsure => return self.trial.add_round(self.clock.now()),
            Finding::Clear if baseline.quiet_requests == 0 => {
                self.note("no load and no HTTP check: whether sampling disturbs the system is not known");
            }
            Finding::Clear => {}
            Finding::Effect(ref effect) => self.break_off(format!("observer effect: {effect}")),
        }
        self.emit(What::BaselineCompared(baseline));
        self.state.answered = true;
        let costly = self.costly();
        self.set_rate(|rate| rate.costly = costly);
    }

    fn costly(&self) -> BTreeSet<CheckName> {
        let mut costly = BTreeSet::new();
        for (check, took) in &self.answers {
            let mut took = took.clone();
            took.sort_unstable();
            if took.len() >= bounds::COSTLY_ANSWERS_MIN && took[took.len() / 2] > bounds::COSTLY_ABOVE {
                costly.insert(check.clone());
            }
        }
        costly
    }

    pub(super) fn view(&self, now: Offset) -> View {
        let back = match self.outcome.recovery() {
            Recovery::NotYet => Back::NotYet,
            Recovery::Absorbed => Back::Absorbed,
            Recovery::Recovered { .. } => Back::Recovered,
        };
        View {
            steady: self.outcome.is_steady(now, steady_window(self.plan, self.state.stage, self.slowest())),
            proven: self.outcome.fault_time().is_some(),
            symptom: self.outcome.symptom().is_some(),
            back,
            good_since: self.outcome.good_since(),
            deadline: self.outcome.deadline(),
            trouble: self.trouble(),
        }
    }

    /// Interval of the slowest check that the steady state needs.
    fn slowest(&self) -> Duration {
        let checks = self.plan.checks.iter().filter(|check| check.role == Role::Recovery);
        let interval = |name: &CheckName, planned: Duration| self.intervals.get(name).copied().unwrap_or(planned);
        checks.map(|check| interval(&check.name, check.interval)).max().unwrap_or_default()
    }

    fn trouble(&self) -> String {
        let missing = self.outcome.pods_missing();
        let missing = missing.map(|(ready, wanted)| format!("{ready} of {wanted} pods ready"));
        let seen: Vec<String> = missing.into_iter().chain(self.trouble.clone()).collect();
        if seen.is_empty() { "no bad sample, but too few good ones".to_owned() } else { seen.join("; ") }
    }

    pub(super) fn into_result(self) -> Result<Outcome, Unrecorded<K::Error>> {
        match self.refused {
            None => Ok(self.outcome),
            Some(source) => Err(Unrecorded { source, healed: self.healed }),
        }
    }
}

/// What got worse about a pod between two sights of it.
fn churn(before: &PodFacts, now: &PodFacts, at: Offset) -> Option<Churn> {
    let restarts = now.restarts.saturating_sub(before.restarts);
    let unready = u32::from(before.ready && !now.ready);
    (restarts + unready > 0).then_some(Churn { at, restarts, unready })
}
