//! Did the fault take effect? Read from the record of the second channel.

use std::collections::{BTreeMap, BTreeSet};

use super::levels::{Levels, Way};
use super::timeline::{Kind, kind};
use crate::event::{Offset, PodFacts, Sample, SocketChange, SocketEndKind, SocketEvent, Subject};
use crate::sample::Check;
use crate::scenario::plan::{CheckName, Plan, Proof, Role, WorkloadRef};

/// One rule of the plan's proof, and when it was first met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The rule in words.
    pub rule: String,
    /// When the first evidence for it was there; absent where there is none.
    pub at: Option<Offset>,
}

/// What a proof check read on both sides of the fault.
#[derive(Debug, Clone, PartialEq, Default)]
struct Readings {
    /// Of the samples sent before the fault, the newest, and whether it was good.
    before: Option<(Offset, bool)>,
    /// When the first bad sample sent after the fault was there.
    failed: Option<Offset>,
    values_before: BTreeSet<String>,
    /// Values of samples sent after the fault, by whose they are, and when each was first there.
    values_after: BTreeMap<(Subject, String), Offset>,
    /// The number that was read last before the fault, when it was asked for, by whose it was. A
    /// higher one from before may be of an earlier count.
    number_before: BTreeMap<Subject, (Offset, f64)>,
}

impl Readings {
    /// Values that no sample before the fault had, and when each was first there.
    fn new_values(&self) -> impl Iterator<Item = (&Subject, Offset)> {
        let known = !self.values_before.is_empty();
        let new = self.values_after.iter().filter(move |((_, value), _)| known && !self.values_before.contains(value));
        new.map(|((subject, _), at)| (subject, *at))
    }
}

/// The evidence so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evidence {
    rules: Vec<Proof>,
    /// Whose pods checks with the target `each-pod` ask.
    workload: WorkloadRef,
    fault: Option<Offset>,
    readings: BTreeMap<CheckName, Readings>,
    /// What metric checks read.
    levels: BTreeMap<CheckName, Levels>,
    /// When sockets of the load ended since the fault, and how.
    closed: Vec<(Offset, SocketEndKind)>,
    /// The pods as they were when the fault was sent, by uid.
    pods_before: BTreeMap<String, PodFacts>,
    /// The first sight of each pod that was not there before.
    replaced: Vec<(PodFacts, Offset)>,
    /// uids of pods with another container, and when that was first seen.
    restarted: BTreeMap<String, Offset>,
    /// uids of pods that left, and when that was first seen.
    left: BTreeMap<String, Offset>,
    /// uids of pods that were ready before and were not, and when that was first seen.
    unready: BTreeMap<String, Offset>,
    /// Containers that ended since the fault: whose, why, and when that was first seen.
    ended: Vec<(WorkloadRef, String, Offset)>,
}

impl Evidence {
    pub(super) fn new(plan: &Plan) -> Self {
        let proof_checks = || plan.checks.iter().filter(|planned| planned.role == Role::Proof);
        let metrics = proof_checks().filter(|planned| matches!(planned.check, Check::Metric(_)));
        Self {
            rules: plan.proof.clone(),
            workload: plan.workload.clone(),
            fault: None,
            levels: metrics.map(|planned| (planned.name.clone(), Levels::default())).collect(),
            closed: Vec::new(),
            readings: proof_checks().map(|planned| (planned.name.clone(), Readings::default())).collect(),
            pods_before: BTreeMap::new(),
            replaced: Vec::new(),
            restarted: BTreeMap::new(),
            left: BTreeMap::new(),
            unready: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    /// The fault is about to be sent; the pods are as in `pods`.
    pub(super) fn fault_sent(&mut self, at: Offset, pods: &BTreeMap<String, PodFacts>) {
        self.fault = Some(at);
        self.pods_before = pods.clone();
    }

    pub(super) fn sample(&mut self, sample: &Sample, slow: std::time::Duration) {
        let Some(readings) = self.readings.get_mut(&sample.check) else { return };
        let kind = kind(sample, slow);
        if kind == Kind::Missing {
            return;
        }
        if let Some(levels) = self.levels.get_mut(&sample.check) {
            levels.read(sample, self.fault);
        }
        match self.fault {
            Some(fault) if sample.sent >= fault => {
                if kind == Kind::Bad {
                    readings.failed = earliest(readings.failed, sample.done);
                }
                if let Some(value) = &sample.value {
                    let place = (sample.subject.clone(), value.clone());
                    let first = readings.values_after.entry(place).or_insert(sample.done);
                    *first = (*first).min(sample.done);
                }
            }
            fault => {
                readings.before = readings.before.max(Some((sample.sent, kind == Kind::Good)));
                // An answer that came after the fault may already tell of it.
                if fault.is_none_or(|fault| sample.done <= fault) {
                    readings.values_before.extend(sample.value.clone());
                    if let Some(number) = sample.value.as_deref().and_then(number) {
                        let read = (sample.sent, number);
                        let newest = readings.number_before.entry(sample.subject.clone()).or_insert(read);
                        if newest.0 < read.0 {
                            *newest = read;
                        }
                    }
                }
            }
        }
    }

    pub(super) fn socket(&mut self, event: &SocketEvent) {
        if let SocketChange::Ended { end, .. } = &event.what
            && !event.backs_off
            && end.kind() != SocketEndKind::Way
            && self.fault.is_some_and(|fault| event.at >= fault)
        {
            self.closed.push((event.at, end.kind()));
        }
    }

    pub(super) fn pod_seen(&mut self, at: Offset, pod: &PodFacts) {
        if self.fault.is_none() {
            return;
        }
        self.note_ended(at, pod);
        let Some(before) = self.pods_before.get(&pod.uid) else {
            if self.replaced.iter().all(|(seen, _)| seen.uid != pod.uid) {
                self.replaced.push((pod.clone(), at));
            }
            if pod.terminating {
                self.left.entry(pod.uid.clone()).or_insert(at);
            }
            return;
        };
        if is_restarted(before, pod) {
            self.restarted.entry(pod.uid.clone()).or_insert(at);
        }
        if pod.terminating && !before.terminating {
            self.left.entry(pod.uid.clone()).or_insert(at);
        }
        if before.ready && !pod.ready && !pod.terminating {
            self.unready.entry(pod.uid.clone()).or_insert(at);
        }
    }

    /// A container's end that the evidence does not tell of. One that was told of may have ended
    /// in the same way once more: then there is another container.
    fn note_ended(&mut self, at: Offset, pod: &PodFacts) {
        let (Some(workload), Some(reason)) = (&pod.workload, &pod.ended) else { return };
        let before = self.pods_before.get(&pod.uid);
        let is_known = before.is_some_and(|before| before.ended == pod.ended && !is_restarted(before, pod));
        if !is_known {
            self.ended.push((workload.clone(), reason.clone(), at));
        }
    }

    pub(super) fn pod_gone(&mut self, at: Offset, uid: &str) {
        if self.fault.is_some() {
            self.left.entry(uid.to_owned()).or_insert(at);
        }
    }

    /// Each rule and its first evidence.
    pub(super) fn rules(&self) -> Vec<Proven> {
        self.rules.iter().map(|rule| Proven { rule: words(rule), at: self.first(rule) }).collect()
    }

    /// The first evidence, once every rule is met. A single piece of evidence already
    /// postdates the effect, so the earliest one bounds the fault's time best.
    pub(super) fn first_of_all(&self) -> Option<Offset> {
        let mut first = None;
        for rule in &self.rules {
            first = earliest(first, self.first(rule)?);
        }
        first
    }

    fn first(&self, rule: &Proof) -> Option<Offset> {
        let fault = self.fault?;
        let of_before = |uid: &String, workload| {
            self.pods_before.get(uid).is_some_and(|pod| pod.workload.as_ref() == Some(workload))
        };
        match rule {
            Proof::PodReplaced(workload) => {
                let of = self.replaced.iter().filter(|(pod, _)| pod.workload.as_ref() == Some(workload));
                of.map(|(_, at)| *at).min()
            }
            Proof::ContainerReplaced(workload) => {
                self.restarted.iter().filter(|(uid, _)| of_before(uid, workload)).map(|(_, at)| *at).min()
            }
            Proof::PodGone(workload) => {
                self.left.iter().filter(|(uid, _)| of_before(uid, workload)).map(|(_, at)| *at).min()
            }
            Proof::PodNotReady(workload) => {
                self.unready.iter().filter(|(uid, _)| of_before(uid, workload)).map(|(_, at)| *at).min()
            }
            Proof::ContainerEnded(wanted) => {
                let is_wanted =
                    |workload: &WorkloadRef, reason: &String| *workload == wanted.of && *reason == wanted.reason;
                let ended = self.ended.iter().filter(|(workload, reason, _)| is_wanted(workload, reason));
                ended.map(|(_, _, at)| *at).min()
            }
            // A check that was bad before the fault says nothing by staying so.
            Proof::CheckFailed(check) => {
                let readings = self.readings.get(check)?;
                readings.before.filter(|(_, good)| *good).and(readings.failed)
            }
            Proof::ValueChanged(check) => self.readings.get(check)?.new_values().map(|(_, at)| at).min(),
            Proof::ValueChangedEverywhere(check) => self.changed_everywhere(self.readings.get(check)?),
            Proof::Grew(check) => {
                let readings = self.readings.get(check)?;
                let grown = readings.values_after.iter().filter(|((subject, value), _)| {
                    number(value).zip(self.number_before(readings, subject)).is_some_and(|(now, before)| now > before)
                });
                grown.map(|(_, at)| *at).min()
            }
            Proof::SocketsClosed(wanted) => {
                let is_wanted = |kind: SocketEndKind| wanted.kind.is_none_or(|wanted| wanted == kind);
                let mut closed: Vec<Offset> =
                    self.closed.iter().filter(|(_, kind)| is_wanted(*kind)).map(|(at, _)| *at).collect();
                closed.sort_unstable();
                // Fewer may be chance, so the fault shows only with the last of them.
                closed.get((wanted.at_least as usize).saturating_sub(1)).copied()
            }
            Proof::MetricFell(moved) => self.levels.get(&moved.check)?.moved(Way::Fell, moved.by),
            Proof::MetricRose(moved) => self.levels.get(&moved.check)?.moved(Way::Rose, moved.by),
            Proof::AnyOf(rules) => rules.iter().filter_map(|rule| self.first(rule)).min(),
        }
        .map(|at| at.max(fault))
    }
}

impl Evidence {
    /// The first moment at which every pod of the workload that was there had a new value.
    fn changed_everywhere(&self, readings: &Readings) -> Option<Offset> {
        let mut changed = BTreeMap::<&str, Offset>::new();
        for (subject, at) in readings.new_values() {
            if let Subject::Pod { uid, .. } = subject {
                let first = changed.entry(uid).or_insert(at);
                *first = (*first).min(at);
            }
        }
        let fault = self.fault?;
        let before = self.pods_before.values().filter(|pod| !pod.terminating).map(|pod| (pod, fault));
        let members = before.chain(self.replaced.iter().map(|(pod, at)| (pod, *at)));
        let members: Vec<(&str, Offset)> = members
            .filter(|(pod, _)| pod.workload.as_ref() == Some(&self.workload))
            .map(|(pod, since)| (pod.uid.as_str(), since))
            .collect();
        let holds = |at: Offset| {
            let is_there = |uid: &str, since: Offset| since <= at && self.left.get(uid).is_none_or(|left| *left > at);
            let mut there = members.iter().filter(|(uid, since)| is_there(uid, *since)).peekable();
            there.peek().is_some() && there.all(|(uid, _)| changed.get(uid).is_some_and(|first| *first <= at))
        };
        // It becomes so when a value is read or when a pod leaves, at no other time.
        let moments = changed.values().chain(self.left.values()).copied();
        moments.filter(|at| *at >= fault && holds(*at)).min()
    }

    /// What a number is held against: a counter of a new pod began with 0.
    fn number_before(&self, readings: &Readings, subject: &Subject) -> Option<f64> {
        let is_new = matches!(subject, Subject::Pod { uid, .. } if !self.pods_before.contains_key(uid));
        readings.number_before.get(subject).map(|(_, number)| *number).or(is_new.then_some(0.0))
    }
}

fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether a container of the pod is another one than before.
fn is_restarted(before: &PodFacts, now: &PodFacts) -> bool {
    // Between two containers the list is empty for a moment.
    let other = !now.container_ids.is_empty() && now.container_ids != before.container_ids;
    now.restarts > before.restarts || (other && !before.container_ids.is_empty())
}

fn earliest(known: Option<Offset>, other: Offset) -> Option<Offset> {
    Some(known.map_or(other, |known| known.min(other)))
}

/// A rule as a report shows it.
fn words(rule: &Proof) -> String {
    match rule {
        Proof::PodReplaced(workload) => format!("a pod of {workload} has a new uid"),
        Proof::ContainerReplaced(workload) => format!("a pod of {workload} has a new container"),
        Proof::PodGone(workload) => format!("a pod of {workload} is gone or terminating"),
        Proof::PodNotReady(workload) => format!("a pod of {workload} is not ready"),
        Proof::ContainerEnded(ended) => format!("a container of {} ended: {}", ended.of, ended.reason),
        Proof::CheckFailed(check) => format!("check `{check}` fails"),
        Proof::ValueChanged(check) => format!("check `{check}` reads another value"),
        Proof::SocketsClosed(wanted) => {
            let how = wanted.kind.map_or_else(|| "ended".to_owned(), |kind| format!("ended: {kind}"));
            format!("at least {} sockets {how}", wanted.at_least)
        }
        Proof::MetricFell(moved) => format!("check `{}` reads at least {} less", moved.check, moved.by),
        Proof::MetricRose(moved) => format!("check `{}` reads at least {} more", moved.check, moved.by),
        Proof::ValueChangedEverywhere(check) => format!("check `{check}` reads another value at every pod"),
        Proof::Grew(check) => format!("check `{check}` reads a higher number"),
        Proof::AnyOf(rules) => rules.iter().map(words).collect::<Vec<_>>().join(", or "),
    }
}
