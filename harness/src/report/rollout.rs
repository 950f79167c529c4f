//! What a report says about a rollout.

use serde::{Deserialize, Serialize};

use super::fold::{since_start, verdict};
use super::{Millis, ScenarioVerdict};
use crate::event::{LoadSecond, Offset};
use crate::outcome::rollout::{PodChange, PodMoment, RolloutOutcome, Traffic};
use crate::verdict::judge_rollout;

/// Lost requests that a report lists; the seconds count them all.
pub(super) const LISTED_MAX: usize = 20;

/// One rollout or roll-back: whether it lost anything, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RolloutReport {
    /// `rollout/deploy`.
    pub id: String,
    /// The stage it belongs to.
    pub stage: String,
    /// Whether it lost a request or a socket; absent where nothing served that could be lost.
    pub verdict: Option<ScenarioVerdict>,
    /// Traffic, one entry a Service.
    pub traffic: Vec<TrafficReport>,
    /// The first lost requests, by time.
    pub lost: Vec<LostReport>,
    /// When traffic began.
    pub started_ms: Option<Millis>,
    /// When it was seen to flow to every Service.
    pub flows_ms: Option<Millis>,
    /// When the first write was about to be sent.
    pub writing_ms: Option<Millis>,
    /// When new pods were ready and the last old one was gone.
    pub settled_ms: Option<Millis>,
    /// When traffic ended.
    pub ended_ms: Option<Millis>,
    /// That the release was bad, and how fast what ran before was back.
    pub bad: Option<BadReport>,
    /// What became of which pod, by time.
    pub pods: Vec<PodMomentReport>,
}

/// A bad release and the way back from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BadReport {
    /// The decisive condition.
    pub reason: String,
    /// When it was seen.
    pub at_ms: Millis,
    /// Time from there to the first write of the way back.
    pub returning_after_ms: Option<Millis>,
    /// Time from there until the previous pods were ready and the last bad one was gone.
    pub settled_after_ms: Option<Millis>,
    /// Time from there until the previous release had answered every smoke check.
    pub restored_after_ms: Option<Millis>,
}

/// The traffic to one Service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrafficReport {
    /// Which Service.
    pub service: String,
    /// Requests a second, half of them on fresh connections.
    pub requests_per_second: f64,
    /// The path they GET.
    pub path: String,
    /// WebSockets held open.
    pub sockets: u32,
    /// Requests with a complete 2xx in time.
    pub requests_good: u64,
    /// Requests without one, from the first write on.
    pub requests_lost: u64,
    /// Requests that we could not send.
    pub requests_missing: u64,
    /// Sockets lost, from the first write on.
    pub sockets_lost: u64,
    /// Highest latency from the intended start.
    pub latency_max_ms: Millis,
    /// Why nobody can count what was lost.
    pub unmeasured: Option<String>,
    /// Second by second, for a timeline.
    pub seconds: Vec<SecondReport>,
}

/// One second of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecondReport {
    /// Its start.
    pub from_ms: Millis,
    /// Requests with a complete 2xx in time.
    pub requests_good: u32,
    /// Requests without one.
    pub requests_lost: u32,
    /// Requests that we could not send.
    pub requests_missing: u32,
    /// Sockets open at its end.
    pub sockets_open: u32,
    /// Sockets lost in it.
    pub sockets_lost: u32,
}

/// One lost request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LostReport {
    /// Its intended start.
    pub at_ms: Millis,
    /// Through which Service.
    pub service: String,
    /// Whether it had a connection of its own.
    pub fresh: bool,
    /// Why it was lost.
    pub reason: String,
    /// Pods that were ending then: one of them is likely to have had it.
    pub ending: Vec<String>,
}

/// Something became of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodMomentReport {
    /// When it was seen.
    pub at_ms: Millis,
    /// Its name.
    pub pod: String,
    /// `made`, `ready`, `not ready`, `ending`, `gone`, or what troubles it.
    pub what: String,
}

impl RolloutReport {
    /// The report of a stage's rollout.
    pub(super) fn of(stage: &str, rollout: &RolloutOutcome) -> Self {
        let from = rollout.writing.unwrap_or(Offset::MAX);
        let flows = rollout.traffic.iter().map(|traffic| traffic.flows).max().flatten();
        Self {
            id: format!("rollout/{}", stage.replace(' ', "-")),
            stage: stage.to_owned(),
            verdict: rollout.is_judged().then(|| verdict(&judge_rollout(rollout))),
            traffic: rollout.traffic.iter().map(|traffic| TrafficReport::of(traffic, from)).collect(),
            lost: lost(rollout),
            started_ms: rollout.started.map(since_start),
            flows_ms: flows.map(since_start),
            writing_ms: rollout.writing.map(since_start),
            settled_ms: rollout.settled.map(since_start),
            ended_ms: rollout.ended.map(since_start),
            bad: BadReport::of(rollout),
            pods: rollout.pods.iter().map(PodMomentReport::of).collect(),
        }
    }
}

impl BadReport {
    fn of(rollout: &RolloutOutcome) -> Option<Self> {
        let (at, reason) = rollout.bad.as_ref()?;
        // What settled before was the bad release.
        let after =
            |moment: Option<Offset>| moment.filter(|moment| moment >= at).map(|moment| Millis::ceil(moment.since(*at)));
        Some(Self {
            reason: reason.clone(),
            at_ms: since_start(*at),
            returning_after_ms: after(rollout.returning),
            settled_after_ms: after(rollout.settled),
            restored_after_ms: after(rollout.restored),
        })
    }
}

impl TrafficReport {
    fn of(traffic: &Traffic, from: Offset) -> Self {
        let (_, (requests_lost, sockets_lost)) = traffic.lost_until_and_from(from);
        let slowest = traffic.seconds.iter().map(|second| second.max_micros).max().unwrap_or(0);
        Self {
            service: traffic.facts.service.clone(),
            requests_per_second: traffic.facts.requests_per_second,
            path: traffic.facts.path.clone(),
            sockets: traffic.facts.sockets,
            requests_good: traffic.good(),
            requests_lost,
            requests_missing: traffic.missing(),
            sockets_lost,
            latency_max_ms: Millis::ceil(std::time::Duration::from_micros(slowest)),
            unmeasured: traffic.unmeasured.clone(),
            seconds: traffic.seconds.iter().map(SecondReport::of).collect(),
        }
    }
}

impl SecondReport {
    fn of(second: &LoadSecond) -> Self {
        Self {
            from_ms: since_start(second.from),
            requests_good: second.requests_good,
            requests_lost: second.requests_lost,
            requests_missing: second.requests_missing,
            sockets_open: second.sockets_open,
            sockets_lost: second.sockets_lost,
        }
    }
}

impl PodMomentReport {
    fn of(moment: &PodMoment) -> Self {
        let what = match &moment.change {
            PodChange::Made => "made",
            PodChange::Ready => "ready",
            PodChange::NotReady => "not ready",
            PodChange::Troubled(reason) => reason,
            PodChange::Ending => "ending",
            PodChange::Gone => "gone",
        };
        Self { at_ms: since_start(moment.at), pod: moment.pod.clone(), what: what.to_owned() }
    }
}

fn lost(rollout: &RolloutOutcome) -> Vec<LostReport> {
    let mut all: Vec<LostReport> = rollout
        .traffic
        .iter()
        .flat_map(|traffic| traffic.lost.iter().map(|lost| (&traffic.facts.service, lost)))
        .map(|(service, lost)| LostReport {
            at_ms: since_start(lost.intended),
            service: service.clone(),
            fresh: lost.fresh,
            reason: lost.reason.clone(),
            ending: rollout.ending_at(lost.intended).into_iter().map(str::to_owned).collect(),
        })
        .collect();
    all.sort_by_key(|lost| lost.at_ms);
    all.truncate(LISTED_MAX);
    all
}
