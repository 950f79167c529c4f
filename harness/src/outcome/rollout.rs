//! The fold of events into what is known about one rollout.
//!
//! A rollout is judged by traffic that began before its first write and ended after its last
//! old pod was gone. Seconds of the traffic count every request by its intended start.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{LoadSecond, LostRequest, Offset, PodFacts, RolloutMoment, RolloutStep, TrafficFacts};

const SECOND: Duration = Duration::from_secs(1);
/// A pod that is gone may still be what a request was sent to for this long: until the change
/// of its endpoint has reached every rule.
const STILL_ASKED: Duration = Duration::from_secs(2);

/// What is known about one rollout.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RolloutOutcome {
    /// Traffic, one entry a Service.
    pub traffic: Vec<Traffic>,
    /// When traffic began.
    pub started: Option<Offset>,
    /// When the first write was about to be sent.
    pub writing: Option<Offset>,
    /// When a decisive condition was seen, and which.
    pub bad: Option<(Offset, String)>,
    /// When the first write of the way back was about to be sent.
    pub returning: Option<Offset>,
    /// When the last old pod was gone: of the release, or of what was returned to.
    pub settled: Option<Offset>,
    /// When what was restored had answered as it should.
    pub restored: Option<Offset>,
    /// When traffic ended.
    pub ended: Option<Offset>,
    /// What became of which pod, in order.
    pub pods: Vec<PodMoment>,
    known: BTreeMap<String, PodFacts>,
}

/// The traffic to one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// What was sent.
    pub facts: TrafficFacts,
    /// When it was seen to flow.
    pub flows: Option<Offset>,
    /// Why nobody can count what was lost.
    pub unmeasured: Option<String>,
    /// What was counted.
    pub seconds: Vec<LoadSecond>,
    /// The first lost requests.
    pub lost: Vec<LostRequest>,
}

/// Something became of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodMoment {
    /// When it was seen.
    pub at: Offset,
    /// Its name.
    pub pod: String,
    /// What.
    pub change: PodChange,
}

/// What can become of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodChange {
    /// It exists, and is not ready.
    Made,
    /// It is ready.
    Ready,
    /// It is no longer ready, and not because it ends.
    NotReady,
    /// It cannot run, or has ended: `CrashLoopBackOff`…
    Troubled(String),
    /// It is being deleted.
    Ending,
    /// It is gone.
    Gone,
}

impl RolloutOutcome {
    /// Whether traffic was to judge it.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        !self.traffic.is_empty()
    }

    /// Pods that a request of this time may have been sent to while they ended.
    #[must_use]
    pub fn ending_at(&self, at: Offset) -> Vec<&str> {
        let since = |pod: &str, change: &PodChange| {
            self.pods.iter().find(|moment| moment.pod == pod && moment.change == *change).map(|moment| moment.at)
        };
        let ending = self.pods.iter().filter(|moment| moment.change == PodChange::Ending && moment.at <= at);
        ending
            .map(|moment| moment.pod.as_str())
            .filter(|pod| since(pod, &PodChange::Gone).is_none_or(|gone| at <= gone + STILL_ASKED))
            .collect()
    }

    /// Takes in a moment of the rollout.
    pub fn moment(&mut self, moment: &RolloutMoment) {
        let at = moment.at;
        match &moment.step {
            RolloutStep::TrafficStarted { traffic } => {
                self.started = Some(at);
                self.traffic = traffic.iter().cloned().map(Traffic::of).collect();
            }
            RolloutStep::TrafficFlows { service, .. } => self.of(service, |traffic| traffic.flows = Some(at)),
            RolloutStep::Unmeasured { service, reason } => {
                self.of(service, |traffic| traffic.unmeasured = Some(reason.clone()));
            }
            RolloutStep::Second { service, second } => {
                self.of(service, |traffic| traffic.seconds.push(second.clone()));
            }
            RolloutStep::RequestLost { service, lost } => self.of(service, |traffic| traffic.lost.push(lost.clone())),
            RolloutStep::Writing => self.writing = Some(at),
            RolloutStep::Bad { reason } => self.bad = Some((at, reason.clone())),
            RolloutStep::Returning => self.returning = Some(at),
            RolloutStep::Settled => self.settled = Some(at),
            RolloutStep::Restored => self.restored = Some(at),
            RolloutStep::TrafficEnded => self.ended = Some(at),
        }
    }

    fn of(&mut self, service: &str, change: impl FnOnce(&mut Traffic)) {
        if let Some(traffic) = self.traffic.iter_mut().find(|traffic| traffic.facts.service == service) {
            change(traffic);
        }
    }

    /// Takes in that a pod is new or changed.
    pub fn pod_seen(&mut self, at: Offset, pod: &PodFacts) {
        let before = self.known.insert(pod.uid.clone(), pod.clone());
        let change = match before {
            None if pod.terminating => Some(PodChange::Ending),
            None => Some(if pod.ready { PodChange::Ready } else { PodChange::Made }),
            Some(before) => changed(&before, pod),
        };
        self.pods.extend(change.map(|change| PodMoment { at, pod: pod.name.clone(), change }));
    }

    /// Takes in that a pod is gone.
    pub fn pod_gone(&mut self, at: Offset, name: &str, uid: &str) {
        self.known.remove(uid);
        self.pods.push(PodMoment { at, pod: name.to_owned(), change: PodChange::Gone });
    }
}

/// What is worth a line about a pod that was known before.
fn changed(before: &PodFacts, now: &PodFacts) -> Option<PodChange> {
    if now.terminating {
        return (!before.terminating).then_some(PodChange::Ending);
    }
    match (&now.reason, before.ready, now.ready) {
        (Some(reason), ..) if before.reason.as_ref() != Some(reason) => Some(PodChange::Troubled(reason.clone())),
        (_, false, true) => Some(PodChange::Ready),
        (_, true, false) => Some(PodChange::NotReady),
        _ => None,
    }
}

impl Traffic {
    fn of(facts: TrafficFacts) -> Self {
        Self { facts, flows: None, unmeasured: None, seconds: Vec::new(), lost: Vec::new() }
    }

    /// Requests and sockets lost in seconds that ended by then, and from then on.
    #[must_use]
    pub fn lost_until_and_from(&self, moment: Offset) -> ((u64, u64), (u64, u64)) {
        let sums = |before: bool| {
            let seconds = self.seconds.iter().filter(|second| (second.from + SECOND <= moment) == before);
            seconds.fold((0, 0), |(requests, sockets), second| {
                (requests + u64::from(second.requests_lost), sockets + u64::from(second.sockets_lost))
            })
        };
        (sums(true), sums(false))
    }

    /// Requests that were good.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.seconds.iter().map(|second| u64::from(second.requests_good)).sum()
    }

    /// Requests that we could not send.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.seconds.iter().map(|second| u64::from(second.requests_missing)).sum()
    }

    /// The first second that nobody counted, or not wholly: the schedule asks for more.
    #[must_use]
    pub fn hole(&self) -> Option<Offset> {
        let apart = self.seconds.windows(2).find(|two| two[1].from.since(two[0].from) != SECOND);
        if let Some(two) = apart {
            return Some(two[0].from + SECOND);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and not negative")]
        let expected = self.facts.requests_per_second as u32;
        // What is in flight when traffic ends belongs to nobody; it ends after a margin.
        let whole = self.seconds.len().saturating_sub(UNFINISHED);
        let counted = |second: &&LoadSecond| second.requests_good + second.requests_lost + second.requests_missing;
        self.seconds[..whole].iter().find(|second| counted(second) + 1 < expected).map(|second| second.from)
    }
}

/// Seconds at the end of the traffic in which requests may still be in flight, and the one
/// that was cut.
const UNFINISHED: usize = 3;
