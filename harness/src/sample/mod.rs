//! Checks: what to look at. One file a kind; a sample is one timed, read-only look.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::PodFacts;
use crate::scenario::plan::WorkloadRef;

pub mod door;
pub(crate) mod http;
pub mod judge;
pub(crate) mod pulse;
pub(crate) mod redis;
pub mod sampler;
pub mod schedule;
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

fn ok() -> u16 {
    200
}

fn redis_port() -> u16 {
    6379
}
