//! One scenario while it goes on: everything that may have to be drawn.

use std::collections::BTreeMap;
use std::time::Duration;

use super::frame::{Frame, Look};
use super::{Row, Shade, Timeline, Told};
use crate::event::{Event, LoadSecond, Offset, PodFacts, Sample, Subject, What};
use crate::outcome::{Kind, kind};
use crate::sample::{Check, ClusterCheck};
use crate::scenario::plan::{CheckName, Plan, PlannedCheck, Role, WorkloadRef};

/// How much of the time after the fault is drawn before it.
const BEFORE: u32 = 5;
/// But at least so much.
const BEFORE_MIN: Duration = Duration::from_secs(1);
/// Nobody looked where looks are further apart than so many intervals.
const GAP_INTERVALS: u32 = 3;
/// The most rows of one timeline.
const ROWS_MAX: usize = 40;
/// The most lines about pods.
const TOLD_MAX: usize = 60;

/// The fold of one scenario's events into its timeline.
#[derive(Debug)]
pub(super) struct Sketch {
    service: String,
    workload: WorkloadRef,
    slow: Duration,
    /// Role and interval of each check.
    checks: BTreeMap<CheckName, (Role, Duration)>,
    /// Whom checks ask that do not go through the Service or to its pods.
    asked: BTreeMap<CheckName, String>,
    began: Offset,
    fault: Option<Offset>,
    now: Offset,
    looks: BTreeMap<(Subject, CheckName), Vec<Look>>,
    /// In the order in which they were first seen.
    pods: Vec<PodLine>,
    load: Vec<LoadSecond>,
    told: Vec<Told>,
    told_left_out: usize,
    logged: Vec<Told>,
}

/// One pod, as Kubernetes tells it.
#[derive(Debug)]
struct PodLine {
    facts: PodFacts,
    states: Vec<Look>,
    gone: Option<Offset>,
}

impl Sketch {
    pub(super) fn new(at: Offset, plan: &Plan) -> Self {
        let checks = plan.checks.iter().map(|check| (check.name.clone(), (check.role, check.interval)));
        Self {
            service: plan.service.clone(),
            workload: plan.workload.clone(),
            slow: plan.slow,
            checks: checks.collect(),
            asked: plan.checks.iter().filter_map(asked_elsewhere).collect(),
            began: at,
            fault: None,
            now: at,
            looks: BTreeMap::new(),
            pods: Vec::new(),
            load: Vec::new(),
            told: Vec::new(),
            told_left_out: 0,
            logged: Vec::new(),
        }
    }

    /// Takes the next event of the scenario in.
    pub(super) fn apply(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        match &event.what {
            What::Sample(sample) => self.look(sample),
            What::Evidence { pods } => pods.iter().for_each(|pod| self.pod(event.at, pod, false)),
            What::PodSeen(pod) => self.pod(event.at, pod, true),
            What::PodGone { uid, .. } => self.gone(event.at, uid),
            What::SamplingAt { check, interval, .. } => {
                if let Some((_, known)) = self.checks.get_mut(check) {
                    // A series that became slower keeps the gaps of its slow half.
                    *known = (*known).max(*interval);
                }
            }
            What::Load(second) => self.load.push(second.clone()),
            What::FaultSent => self.fault = Some(event.at),
            What::Logged(line) => self.logged.push(Told::logged(line)),
            // These are told by the report, or not drawn.
            What::RunStarted(_)
            | What::RulesSet(_)
            | What::ReferenceGiven(_)
            | What::ChecklistTaken(_)
            | What::SoakStarted(_)
            | What::SoakLooked(_)
            | What::ClusterReady(_)
            | What::StageStarted { .. }
            | What::StageSaid { .. }
            | What::StageFinished { .. }
            | What::ScenarioStarted(_)
            | What::LaneTaken(_)
            | What::ScenarioSkipped { .. }
            | What::PhaseEntered(_)
            | What::BaselineCompared(_)
            | What::Socket(_)
            | What::Rollout(_)
            | What::FaultPrepared { .. }
            | What::FaultDone
            | What::FaultFailed { .. }
            | What::StepSent { .. }
            | What::StepDone { .. }
            | What::StepFailed { .. }
            | What::HealSent
            | What::Healed { .. }
            | What::HealFailed { .. }
            | What::Note { .. }
            | What::ScenarioEnded(_)
            | What::RunEnded { .. } => {}
        }
    }

    /// What is to be drawn of it.
    pub(super) fn timeline(&self) -> Timeline {
        let frame = self.frame();
        let mut rows = self.rows(frame);
        let rows_left_out = rows.len().saturating_sub(ROWS_MAX);
        rows.truncate(ROWS_MAX);
        let is_drawn = |second: &&LoadSecond| second.from < frame.until && second.from + SECOND > frame.from;
        Timeline {
            from: frame.from,
            until: frame.until,
            rows,
            rows_left_out,
            load: self.load.iter().filter(is_drawn).cloned().collect(),
            told: self.told.iter().filter(|told| told.at >= frame.from).cloned().collect(),
            told_left_out: self.told_left_out,
            logged: self.logged.clone(),
        }
    }

    /// The time around the fault; all of it where there was none.
    fn frame(&self) -> Frame {
        let until = self.now.max(self.began + Duration::from_millis(1));
        let from = self.fault.map_or(self.began, |fault| {
            let before = (until.since(fault) / BEFORE).max(BEFORE_MIN);
            Offset::from_duration(fault.since(Offset::ZERO).saturating_sub(before)).max(self.began)
        });
        Frame { from, until }
    }

    fn look(&mut self, sample: &Sample) {
        self.now = self.now.max(sample.done);
        let (at, shade) = match kind(sample, self.slow) {
            Kind::Good => (sample.sent, Shade::Good),
            Kind::Bad => (sample.sent, Shade::Bad),
            // What was never sent stands where the schedule wanted it.
            Kind::Missing => (sample.intended, Shade::Missing),
        };
        let series = (sample.subject.clone(), sample.check.clone());
        self.looks.entry(series).or_default().push(Look { at, shade });
    }

    fn pod(&mut self, at: Offset, pod: &PodFacts, is_news: bool) {
        let state = Look { at, shade: shade(pod) };
        let line = match self.pods.iter_mut().find(|line| line.facts.uid == pod.uid) {
            Some(line) => {
                let news = changes(&line.facts, pod);
                if line.states.last().is_none_or(|last| last.shade != state.shade) {
                    line.states.push(state);
                }
                line.facts = pod.clone();
                news
            }
            None => {
                self.pods.push(PodLine { facts: pod.clone(), states: vec![state], gone: None });
                vec!["is new".to_owned()]
            }
        };
        if is_news && !line.is_empty() {
            self.tell(at, format!("{} {}", pod.name, line.join(", ")));
        }
    }

    fn gone(&mut self, at: Offset, uid: &str) {
        let Some(line) = self.pods.iter_mut().find(|line| line.facts.uid == uid) else { return };
        line.gone = Some(at);
        let text = format!("{} is gone", line.facts.name);
        self.tell(at, text);
    }

    fn tell(&mut self, at: Offset, text: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(Told { at, text });
        } else {
            self.told_left_out += 1;
        }
    }

    fn rows(&self, frame: Frame) -> Vec<Row> {
        let service = format!("Service {}", self.service);
        let asked = self.check_rows(frame, &Subject::Service, &service);
        let (mut rows, mut elsewhere): (Vec<Row>, Vec<Row>) = asked.into_iter().partition(|row| row.subject == service);
        elsewhere.sort_by(|one, other| one.subject.cmp(&other.subject));
        let (own, other): (Vec<_>, Vec<_>) =
            self.pods.iter().enumerate().partition(|(_, line)| line.facts.workload.as_ref() == Some(&self.workload));
        for (place, line) in own.into_iter().chain(other) {
            let (name, uid) = (line.facts.name.clone(), line.facts.uid.clone());
            let is_next = self.pods[..place].iter().any(|before| before.facts.name == name);
            let label = if is_next { format!("{name} (the next)") } else { name.clone() };
            let checks = self.check_rows(frame, &Subject::Pod { name, uid }, &label);
            let own = self.pod_row(frame, line, &label);
            let says_something = |row: &Row| !checks.is_empty() || row.stretches.len() > 1 || line.gone.is_some();
            rows.extend(own.filter(says_something).into_iter().chain(checks));
        }
        rows.extend(elsewhere);
        rows
    }

    fn check_rows(&self, frame: Frame, subject: &Subject, label: &str) -> Vec<Row> {
        let of_subject = self.looks.iter().filter(|((of, _), _)| of == subject);
        let elsewhere = |check| match subject {
            Subject::Service => self.asked.get(check).map(String::as_str),
            Subject::Pod { .. } => None,
        };
        let rows = of_subject.map(|((_, check), looks)| {
            let (role, interval) = self.checks.get(check).copied().unwrap_or((Role::Recovery, Duration::ZERO));
            let count = |shade| {
                let counted = looks.iter().filter(|look| look.shade == shade && frame.holds(look.at)).count();
                u64::try_from(counted).unwrap_or(u64::MAX)
            };
            Row {
                subject: elsewhere(check).unwrap_or(label).to_owned(),
                what: check.0.clone(),
                is_proof: role == Role::Proof,
                bad: count(Shade::Bad),
                missing: count(Shade::Missing),
                stretches: frame.of_looks(looks, interval * GAP_INTERVALS),
            }
        });
        rows.filter(|row| !row.stretches.is_empty()).collect()
    }

    fn pod_row(&self, frame: Frame, line: &PodLine, label: &str) -> Option<Row> {
        let stretches = frame.of_states(&line.states, line.gone.unwrap_or(frame.until));
        (!stretches.is_empty()).then(|| Row {
            subject: label.to_owned(),
            what: "ready in Kubernetes".to_owned(),
            is_proof: false,
            bad: 0,
            missing: 0,
            stretches,
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn asked_elsewhere(planned: &PlannedCheck) -> Option<(CheckName, String)> {
    let asked = match &planned.check {
        Check::Redis(redis) => redis.of.to_string(),
        Check::Log(log) => format!("Logs of {}", log.of),
        Check::LlmDouble(_) => "The LLM's double".to_owned(),
        Check::Sockets(_) => "Our own sockets".to_owned(),
        Check::Metric(metric) => format!("Metric {}", metric.name),
        Check::Cluster(ClusterCheck::NodesReady | ClusterCheck::NodesSchedulable) => "Nodes".to_owned(),
        Check::Cluster(ClusterCheck::ApiServer) => "API server".to_owned(),
        Check::Cluster(ClusterCheck::Registry) => "Registry".to_owned(),
        Check::Http(_) | Check::Websocket(_) | Check::Question(_) | Check::Survival(_) | Check::Environment(_) => {
            return None;
        }
    };
    Some((planned.name.clone(), asked))
}

fn shade(pod: &PodFacts) -> Shade {
    match (pod.terminating, pod.ready) {
        (true, _) => Shade::Leaving,
        (false, true) => Shade::Good,
        (false, false) => Shade::Bad,
    }
}

/// What is new about a pod, in words.
fn changes(before: &PodFacts, now: &PodFacts) -> Vec<String> {
    let mut news = Vec::new();
    if now.restarts > before.restarts {
        news.push(format!("has a new container (restart {})", now.restarts));
    }
    if now.terminating && !before.terminating {
        news.push("is terminating".to_owned());
    }
    if now.ready != before.ready {
        news.push(if now.ready { "is ready" } else { "is not ready" }.to_owned());
    }
    if let Some(reason) = now.reason.as_ref().filter(|_| now.reason != before.reason) {
        news.push(reason.clone());
    }
    news
}
