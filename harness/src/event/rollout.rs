//! What happens to a rollout, and to the traffic that judges it.

use serde::{Deserialize, Serialize};

use super::{LoadSecond, Offset};

/// One moment of a rollout or a roll-back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RolloutMoment {
    /// When, exactly: an event is stamped when it is taken in, some moments later.
    pub at: Offset,
    /// What.
    pub step: RolloutStep,
}

/// What can happen to a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStep {
    /// Traffic to these Services begins. Nothing has been written yet.
    TrafficStarted {
        /// One entry a Service.
        traffic: Vec<TrafficFacts>,
    },
    /// The traffic to a Service flows: so many requests were good, and every socket is open.
    TrafficFlows {
        /// Which Service.
        service: String,
        /// Good requests until then.
        requests_good: u64,
        /// Open sockets.
        sockets_open: u32,
    },
    /// What a Service loses cannot be counted.
    Unmeasured {
        /// Which Service.
        service: String,
        /// Why, and what was last seen.
        reason: String,
    },
    /// One second of the traffic to a Service.
    Second {
        /// Which Service.
        service: String,
        /// What was counted.
        second: LoadSecond,
    },
    /// A request was lost: one of the first; the seconds count them all.
    RequestLost {
        /// Which Service.
        service: String,
        /// Which request.
        lost: LostRequest,
    },
    /// The first write is about to be sent.
    Writing,
    /// A decisive condition was seen: the release is bad.
    Bad {
        /// Which.
        reason: String,
    },
    /// The first write of the way back is about to be sent.
    Returning,
    /// New pods are ready and old ones are gone.
    Settled,
    /// What ran before answers again as it should.
    Restored,
    /// Traffic ended: after the last old pod was gone and a margin.
    TrafficEnded,
}

/// The traffic to one Service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrafficFacts {
    /// Which Service.
    pub service: String,
    /// Requests a second, half of them on fresh connections.
    pub requests_per_second: f64,
    /// The path they GET.
    pub path: String,
    /// WebSockets held open.
    pub sockets: u32,
}

/// A request without a complete 2xx within 2 s of its intended start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LostRequest {
    /// When the schedule wanted it sent.
    pub intended: Offset,
    /// Whether it had a connection of its own.
    pub fresh: bool,
    /// `reset`, `no answer within 2 s`, `answered 503`…
    pub reason: String,
}
