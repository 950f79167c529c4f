//! Checks: what to look at. One file a kind; a sample is one timed, read-only look.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::PodFacts;
use crate::scenario::needs::Need;
use crate::scenario::plan::WorkloadRef;

pub(crate) mod answer;
pub(crate) mod cluster;
pub mod door;
pub(crate) mod double;
pub(crate) mod environment;
pub(crate) mod exec;
pub(crate) mod http;
mod increase;
pub mod judge;
pub(crate) mod log;
pub(crate) mod metric;
pub(crate) mod pulse;
pub(crate) mod question;
pub(crate) mod redis;
pub mod sampler;
pub mod schedule;
pub(crate) mod sockets;
pub(crate) mod survival;
pub(crate) mod thread;
pub mod truth;
pub(crate) mod websocket;

/// The pods of the namespace, as a watch last saw them.
pub type Pods = Arc<[PodFacts]>;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// An HTTP GET: status and, where asked, a value in the JSON answer.
    Http(HttpCheck),
    /// `PING` and `run_id` of a Redis, over a forwarded port of its pod.
    Redis(RedisCheck),
    /// A WebSocket: handshake, one `typing` frame, one prediction back.
    Websocket(WebsocketCheck),
    /// A WebSocket: a question, and its whole answer back.
    Question(QuestionCheck),
    /// The load's own WebSockets: all of them are open.
    Sockets(SocketsCheck),
    /// A Prometheus metric, summed over the workload's pods.
    Metric(MetricCheck),
    /// A WebSocket that outlives a question, however that is answered.
    Survival(SurvivalCheck),
    /// A salted hash of a variable in each pod, as its value: only for proof.
    Environment(EnvironmentCheck),
    /// How many lines of a workload's logs say something, as its value: only for proof.
    Log(LogCheck),
    /// What the LLM's double has counted, as its value: only for proof, and only where there is one.
    LlmDouble(DoubleCheck),
    /// The cluster itself, below the system.
    Cluster(ClusterCheck),
}

impl Check {
    /// Who is asked, where the check lets the scenario choose.
    #[must_use]
    pub const fn target(&self) -> Option<Target> {
        match self {
            Self::Http(http) => Some(http.target),
            Self::Websocket(websocket) => Some(websocket.target),
            Self::Question(question) => Some(question.target),
            Self::Survival(survival) => Some(survival.target),
            Self::Environment(_) => Some(Target::EachPod),
            Self::Redis(_)
            | Self::Log(_)
            | Self::LlmDouble(_)
            | Self::Sockets(_)
            | Self::Metric(_)
            | Self::Cluster(_) => None,
        }
    }

    /// What it needs of the system's surroundings.
    #[must_use]
    pub const fn needs(&self) -> Option<Need> {
        match self {
            Self::LlmDouble(_) => Some(Need::LlmDouble),
            Self::Cluster(ClusterCheck::Registry) => Some(Need::Registry),
            Self::Http(_)
            | Self::Redis(_)
            | Self::Websocket(_)
            | Self::Question(_)
            | Self::Survival(_)
            | Self::Environment(_)
            | Self::Log(_)
            | Self::Sockets(_)
            | Self::Metric(_)
            | Self::Cluster(ClusterCheck::NodesReady | ClusterCheck::NodesSchedulable | ClusterCheck::ApiServer) => {
                None
            }
        }
    }

    /// Whether it only reads a value, which is neither good nor bad.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::Environment(_) | Self::Log(_) | Self::LlmDouble(_) => true,
            Self::Http(_)
            | Self::Redis(_)
            | Self::Websocket(_)
            | Self::Question(_)
            | Self::Survival(_)
            | Self::Sockets(_)
            | Self::Metric(_)
            | Self::Cluster(_) => false,
        }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Each pod of the scenario's workload by itself: one series a pod.
    EachPod,
    /// The Service, as a user reaches it: one series.
    Service,
}

/// An HTTP GET.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpCheck {
    /// Who is asked.
    pub target: Target,
    /// The path, with its query.
    pub path: String,
    /// The right status; 200 where absent.
    #[serde(default = "ok")]
    pub status: u16,
    /// JSON pointer → the right value; all must hold.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub json: serde_json::Map<String, serde_json::Value>,
}

/// `PING`, then `INFO server` for the `run_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RedisCheck {
    /// Whose first pod is asked; no pod is a bad sample.
    pub of: WorkloadRef,
    /// The port in the pod.
    #[serde(default = "redis_port")]
    pub port: u16,
}

/// A WebSocket handshake, one `typing` frame and its prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebsocketCheck {
    /// Who is asked.
    pub target: Target,
    /// The path, with its query.
    pub path: String,
}

/// A question over a WebSocket, of its own each time, and its whole answer. Costly: give it
/// `cost: high`, and the `slow` that an answer may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuestionCheck {
    /// Who is asked.
    pub target: Target,
    /// The path, with its query.
    pub path: String,
    /// The message that asks, sent as one text frame.
    pub send: Map<String, Value>,
    /// What a good answer is.
    pub answered_by: AnsweredBy,
}

/// Every socket that the load holds is open, and has been since the last look.
///
/// It costs the system nothing: what it looks at is the load's own table. A socket whose answer or
/// whose pong is overdue is not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketsCheck {}

/// A metric of each pod of the workload in the Prometheus text format, summed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricCheck {
    /// Where the pods tell it.
    #[serde(default = "metrics")]
    pub path: String,
    /// Its name, without labels.
    pub name: String,
    /// Only series with all of these labels; all series where absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the sum must be.
    #[serde(default)]
    pub rule: MetricRule,
}

/// What the sum over pods must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricRule {
    /// Anything: it is only read, for a proof. Of the pods that stay: when one is on its way out, or
    /// does not answer, the sum falls by what it had.
    #[default]
    Any,
    /// Anything: what is read is by how much the counter grew at all pods together since the first look.
    /// It never falls: a pod that leaves takes nothing along, and one that starts begins with 0. So
    /// does a series that a server does not show before its first event.
    Increase,
    /// The number of our open sockets, give or take what changed in the last second and the
    /// sockets of checks: more are sockets that the server counts and nobody has. Pods on their way
    /// out count as long as they answer.
    OpenSockets,
}

/// What a good answer is: its `end` came, the messages before it had some text, and the
/// text is none of the excuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnsweredBy {
    /// A message with all of these keys and values carries a piece of the answer.
    pub chunk: Map<String, Value>,
    /// Where in it the text is: a JSON pointer, such as `/content`.
    pub text: String,
    /// A message with all of these keys and values ends the answer.
    pub end: Map<String, Value>,
    /// A message with all of these keys and values is a refusal.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub refusal: Map<String, Value>,
    /// What the text says in place of an answer, in any case of letters. Name every sentence
    /// that the service has for it: whatever is not here counts as an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excuses: Vec<String>,
}

/// A question over a WebSocket, and on the same connection, after the end of whatever answer
/// came, a `typing` frame and its prediction. A server that says 1001 is left for another one:
/// that is a planned move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SurvivalCheck {
    /// Who is asked.
    pub target: Target,
    /// The path, with its query.
    pub path: String,
    /// The message that asks, sent as one text frame.
    pub send: Map<String, Value>,
    /// A message with all of these keys and values ends the answer.
    pub end: Map<String, Value>,
}

/// A variable of the process' environment, hashed with a salt in the pod itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EnvironmentCheck {
    /// Its name. The pods' image needs `sh` and `sha256sum`.
    pub variable: String,
}

/// Lines of a workload's logs, one JSON object each, since the sampling began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogCheck {
    /// Whose logs.
    pub of: WorkloadRef,
    /// Fields that a line must have, with their value, or with a list of values.
    pub fields: Map<String, Value>,
}

/// Requests to the LLM's double.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DoubleCheck {
    /// The counters that are summed up.
    pub counts: Vec<String>,
}

/// What of the cluster itself is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterCheck {
    /// Every node says that it is ready.
    NodesReady,
    /// Pods may be scheduled to every node.
    NodesSchedulable,
    /// The API server says that it is ready; here no answer is a bad one.
    ApiServer,
    /// The local registry of a kind cluster answers.
    Registry,
}

fn ok() -> u16 {
    200
}

fn metrics() -> String {
    "/metrics".to_owned()
}

fn redis_port() -> u16 {
    6379
}
