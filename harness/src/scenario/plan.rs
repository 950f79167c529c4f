//! The only thing the engine accepts. A [`Plan`] exists only if it is valid:
//! one variant of one scenario file, with every default filled in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::needs::Need;
use super::round::Round;
use crate::event::SocketEndKind;
use crate::fault::Fault;
use crate::runbook::command::Command;
use crate::sample::{AnsweredBy, Check};

/// `redis-lost/killed`: scenario and variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScenarioId(pub String);

/// Name of a check inside a scenario.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CheckName(pub String);

impl fmt::Display for ScenarioId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Kinds of workload that own pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `deployment`.
    Deployment,
    /// `statefulset`.
    StatefulSet,
}

/// A workload as kubectl names it: `deployment/backend`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "statefulset",
        };
        write!(formatter, "{kind}/{}", self.name)
    }
}

impl FromStr for WorkloadRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid workload `{text}`: write `deployment/NAME` or `statefulset/NAME`");
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        let kind = match kind {
            "deployment" | "deployments" | "deploy" => WorkloadKind::Deployment,
            "statefulset" | "statefulsets" | "sts" => WorkloadKind::StatefulSet,
            _ => return Err(wrong()),
        };
        if name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl Serialize for WorkloadRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkloadRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// One scenario variant, ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// Which.
    pub id: ScenarioId,
    /// One line a person understands.
    pub title: String,
    /// The scenario file, as it was given.
    pub file: String,
    /// The variant's line in it, from 1.
    pub line: u64,
    /// The suites it belongs to.
    pub suites: Vec<String>,
    /// Which repetition it is; absent where it runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// What the system's surroundings must have; elsewhere it is skipped by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What the runbook promises.
    pub promise: Promise,
    /// Whose pods are sampled one by one, and which must be complete to be recovered.
    pub workload: WorkloadRef,
    /// The Service that checks and load with target `service` go through.
    pub service: String,
    /// The port of the workload's pods that checks with target `each-pod` ask.
    pub port: u16,
    /// What stands between clients and the Service.
    #[serde(default)]
    pub through: Through,
    /// Everything sampled, for recovery and for proof.
    pub checks: Vec<PlannedCheck>,
    /// What is broken.
    pub fault: Fault,
    /// What shows that it took effect: all of these.
    pub proof: Vec<Proof>,
    /// Whether an absorbed fault (no bad sample) may pass.
    pub symptom: Symptom,
    /// What the runbook says to do, in order; empty where it says to wait.
    pub remedy: Vec<Step>,
    /// The longest allowed recovery.
    pub budget: Budget,
    /// How long good samples must last to count as recovered.
    #[serde(with = "crate::duration")]
    pub hold: Duration,
    /// The latest good answer, from the intended start.
    #[serde(with = "crate::duration")]
    pub slow: Duration,
    /// How long the steady state may take to appear before anything is broken.
    #[serde(with = "crate::duration")]
    pub settle_within: Duration,
    /// Samples per pod and second, all checks together, at most.
    pub samples_per_pod_second_max: f64,
    /// The load while measuring.
    pub load: LoadPlan,
    /// Whether no other scenario may run beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

impl Plan {
    /// The latest good answer of a check, from the intended start.
    #[must_use]
    pub fn slow_of(&self, check: &CheckName) -> Duration {
        let planned = self.checks.iter().find(|planned| planned.name == *check);
        planned.and_then(|planned| planned.slow).unwrap_or(self.slow)
    }

    /// The latest good answer of any check.
    #[must_use]
    pub fn slow_max(&self) -> Duration {
        self.checks.iter().filter_map(|planned| planned.slow).fold(self.slow, Duration::max)
    }
}

/// What stands between clients (load, and checks with target `service`) and the Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// Nothing of ours.
    #[default]
    Direct,
    /// The fault proxy.
    Proxy(ProxyPlan),
}

/// The fault proxy between clients and the Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProxyPlan {
    /// The Ingress whose load balancer it plays: its annotations say when idle connections are
    /// closed. Where absent, idle connections stay.
    pub ingress: Option<String>,
    /// So many times shorter does the load balancer's idle timeout act.
    pub time_scale: u32,
}

/// The sentence of a runbook that is put to the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Promise {
    /// The document.
    pub document: String,
    /// Its heading.
    pub section: String,
    /// The promise in a few words, or a short quote.
    pub says: String,
}

/// A check with its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlannedCheck {
    /// Its name.
    pub name: CheckName,
    /// What it looks at.
    pub check: Check,
    /// What its samples decide.
    pub role: Role,
    /// What one sample costs the system.
    pub cost: Cost,
    /// Time between intended starts on one series, before its cost and the cap per pod slow it.
    #[serde(with = "crate::duration")]
    pub interval: Duration,
    /// When a sample without an answer is given up, from its intended start.
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
    /// The latest good answer of this check, where it is not the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::duration::optional")]
    pub slow: Option<Duration>,
}

/// What a check's samples decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Steady state, symptom and recovery.
    Recovery,
    /// Only whether the fault took effect.
    Proof,
    /// What must stay good throughout, from the fault to its healing: one bad sample breaks
    /// the promise, however fast the rest recovers.
    Invariant,
}

/// What one sample costs the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Next to nothing.
    Low,
    /// Noticeable: sampled at a quarter of the rate.
    High,
}

/// What shows, on a second channel, that a fault took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// A pod of the workload has a uid that the evidence does not have.
    PodReplaced(WorkloadRef),
    /// A pod of the evidence has another container id or a higher restart count.
    ContainerReplaced(WorkloadRef),
    /// A pod of the evidence is gone or terminating.
    PodGone(WorkloadRef),
    /// A pod of the evidence that was ready is not, while it is neither gone nor terminating.
    PodNotReady(WorkloadRef),
    /// A container of the workload ended, for this reason.
    ContainerEnded(ContainerEnded),
    /// A sample of this check, sent after the fault, is bad.
    CheckFailed(CheckName),
    /// A sample of this check, sent after the fault, read another value than before it.
    ValueChanged(CheckName),
    /// So many sockets of the load ended after the fault.
    SocketsClosed(SocketsClosed),
    /// What this metric check reads fell below its last reading before the fault.
    MetricFell(MetricMoved),
    /// What this metric check reads rose above its last reading before the fault.
    MetricRose(MetricMoved),
    /// This check, which asks each pod, read another value than before the fault at every pod
    /// of the workload that is there.
    ValueChangedEverywhere(CheckName),
    /// A sample of this check, sent after the fault, read a higher number than the last one before
    /// it; at a pod that was not there before, one above 0.
    Grew(CheckName),
    /// One of these.
    AnyOf(Vec<Proof>),
}

/// A container that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContainerEnded {
    /// Whose.
    pub of: WorkloadRef,
    /// Why, as the pod's status tells it: `OOMKilled`, `Error`, `Completed`…
    pub reason: String,
}

/// Sockets of the load that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketsClosed {
    /// How many, at least.
    pub at_least: u32,
    /// How; in any way where absent.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SocketEndKind>,
}

/// A reading that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricMoved {
    /// The metric check.
    pub check: CheckName,
    /// By how much, at least.
    pub by: u32,
}

/// Whether the fault must be felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Symptom {
    /// A proven fault without a bad sample is inconclusive.
    Required,
    /// A proven fault without a bad sample is absorbed, and a pass.
    Optional,
}

/// One remedy step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// What is done.
    pub command: Command,
    /// What the runbook's author expects of it.
    pub expect: Expect,
    /// How long to watch before the next step.
    #[serde(with = "crate::duration")]
    pub watch: Duration,
}

/// What is expected of a remedy step by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// It recovers the system; the last step always does.
    Recovery,
    /// It is known not to recover the system: reported as such, and the next step follows.
    NoRecovery,
    /// It is a part of the remedy: the next step follows at once and completes it.
    Part,
}

/// The longest allowed recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Budget {
    /// How long.
    #[serde(with = "crate::duration")]
    pub max: Duration,
    /// Counted from where.
    pub from: BudgetFrom,
    /// Where the figure comes from: document and words.
    pub source: String,
}

/// Where a budget's time starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetFrom {
    /// The fault: the system recovers by itself.
    Fault,
    /// The first remedy step, when it is sent.
    Remedy,
}

/// The load while measuring, on an open schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadPlan {
    /// HTTP requests a second, half of them on fresh connections.
    pub requests_per_second: f64,
    /// The path they GET.
    pub path: String,
    /// WebSockets held open.
    pub sockets: u32,
    /// Those of them that ask something now and then; the others only read, and answer pings.
    #[serde(default)]
    pub sockets_asking: u32,
    /// More of them, which come back with the recommended back-off: what users see. They are not
    /// among those that must be back.
    #[serde(default)]
    pub sockets_backing_off: u32,
    /// Their path.
    pub socket_path: String,
    /// Time between two pings of each socket: one that is not answered within 2 s is half-open.
    #[serde(default = "ping_every", with = "crate::duration")]
    pub socket_ping: Duration,
    /// What every other asking socket asks; a `typing` frame where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_question: Option<SocketQuestion>,
}

impl LoadPlan {
    /// Time between two pings of a socket by default.
    pub const PING_EVERY: Duration = Duration::from_secs(5);
}

impl Default for LoadPlan {
    /// No load.
    fn default() -> Self {
        Self {
            requests_per_second: 0.0,
            path: String::new(),
            sockets: 0,
            sockets_asking: 0,
            sockets_backing_off: 0,
            socket_path: String::new(),
            socket_ping: Self::PING_EVERY,
            socket_question: None,
        }
    }
}

fn ping_every() -> Duration {
    LoadPlan::PING_EVERY
}

/// A question that sockets of the load ask now and then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketQuestion {
    /// The message that asks, sent as one text frame.
    pub send: serde_json::Map<String, serde_json::Value>,
    /// What tells where its answer ends.
    pub answered_by: AnsweredBy,
    /// Time from one answer to the next question, such as `5s`.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub every: Duration,
}
