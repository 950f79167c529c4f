//! What happened, at which offset from the run's start.
//!
//! Everything a report says is folded from these; the journal is one event a line.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checklist::Checked;
use crate::fault::Receipt;
use crate::reference::Comparand;
use crate::scenario::plan::{CheckName, Plan, ScenarioId, WorkloadRef};
use crate::soak::{Look, SoakPlan};

mod socket;

pub use socket::{SocketChange, SocketEnd, SocketEndKind, SocketEvent};
mod rollout;

pub use rollout::{LostRequest, RolloutMoment, RolloutStep, TrafficFacts};

/// Time since the run's start, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The run's start.
    pub const ZERO: Self = Self(0);

    /// Later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// From a duration since the start; saturates after 584 years.
    #[must_use]
    pub fn from_duration(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX))
    }

    /// From milliseconds since the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Offset {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// When, since the run's start.
    pub at: Offset,
    /// In which scenario; absent for what concerns the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<ScenarioId>,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The run began: always the first event of a journal.
    RunStarted(Box<RunFacts>),
    /// What the gate asks beyond verdicts; absent from the journal where it asks nothing.
    RulesSet(Rules),
    /// What recoveries are compared against.
    ReferenceGiven(Box<Comparand>),
    /// The cluster is known and answers.
    ClusterReady(ClusterFacts),
    /// A stage of the pipeline began.
    StageStarted {
        /// `build`, `push`, `install previous release`, `deploy`, `smoke`, …
        stage: String,
    },
    /// A stage passes on what a tool says.
    StageSaid {
        /// The name it began with.
        stage: String,
        /// One line.
        line: String,
    },
    /// A stage ended.
    StageFinished {
        /// The name it began with.
        stage: String,
        /// How it ended.
        result: StageResult,
        /// One line a fact: digests, why something was rebuilt, bytes moved.
        facts: Vec<String>,
    },
    /// Every item of the pre-deployment checklist, with what came of it.
    ChecklistTaken(Vec<Checked>),
    /// A soak began: its load runs, and its looks count from the end of its warm-up on.
    SoakStarted(Box<SoakPlan>),
    /// A look at everything that a soak watches.
    SoakLooked(Look),
    /// A scenario began; the plan makes the journal replayable by itself.
    ScenarioStarted(Box<Plan>),
    /// In which lane the scenario runs; only where several run side by side.
    LaneTaken(LaneFacts),
    /// A scenario was not run, because its surroundings lack what it needs.
    ScenarioSkipped {
        /// What would have been run.
        plan: Box<Plan>,
        /// What is not there.
        why: String,
    },
    /// The scenario entered a phase: the report's break-down of time.
    PhaseEntered(Phase),
    /// The pods as they were before anything was broken.
    Evidence {
        /// Every pod of the namespace.
        pods: Vec<PodFacts>,
    },
    /// A pod is new or changed (from a watch).
    PodSeen(PodFacts),
    /// A pod object is gone (from a watch).
    PodGone {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// A check is sampled at this rate from now on.
    SamplingAt {
        /// Which check.
        check: CheckName,
        /// Time between intended starts on one series.
        #[serde(with = "crate::duration")]
        interval: Duration,
        /// Why not faster, where something slowed it.
        reason: Option<String>,
    },
    /// One timed look.
    Sample(Sample),
    /// The system with our sampling beside the system without it.
    BaselineCompared(Baseline),
    /// Load in one second, all kinds together.
    Load(LoadSecond),
    /// A WebSocket of the load was opened, or ended.
    Socket(SocketEvent),
    /// A moment of a rollout, of the stage that is under way.
    Rollout(RolloutMoment),
    /// What is about to be broken, with all that healing needs. Synced before injection.
    FaultPrepared {
        /// What heal will need.
        receipt: Receipt,
    },
    /// Injection is about to be sent: the early end of the fault's time.
    FaultSent,
    /// Injection returned.
    FaultDone,
    /// Injection failed; the scenario cannot pass.
    FaultFailed {
        /// Why.
        error: String,
    },
    /// A remedy step is about to be sent.
    StepSent {
        /// Its place in the plan's remedy.
        step: usize,
    },
    /// A remedy step returned.
    StepDone {
        /// Its place in the plan's remedy.
        step: usize,
        /// What the command said.
        output: String,
    },
    /// A remedy step failed.
    StepFailed {
        /// Its place in the plan's remedy.
        step: usize,
        /// Why.
        error: String,
    },
    /// Healing began.
    HealSent,
    /// What was broken is as before, verified.
    Healed {
        /// What was undone, in words; empty where there was nothing left to undo.
        facts: Vec<String>,
    },
    /// Healing could not be verified.
    HealFailed {
        /// Why.
        error: String,
    },
    /// Something worth a line in the report that decides nothing (weather, retries, slip).
    Note {
        /// The line.
        text: String,
    },
    /// The scenario ended; nothing of it follows but what its pods logged, and that it was put right.
    ScenarioEnded(Ended),
    /// A warning or an error that a pod logged after the fault.
    Logged(LogLine),
    /// The run ended: always the last event of a complete journal.
    RunEnded {
        /// Whether every fault was healed and every object of ours removed.
        clean: bool,
    },
}

/// Facts about a run that hold from its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunFacts {
    /// The run's id, sortable by time.
    pub run: String,
    /// Wall-clock start, RFC 3339 UTC.
    pub started: String,
    /// The command line that was given, secrets never included.
    pub command: String,
    /// Seed of all randomness in the run.
    pub seed: u64,
    /// Version of this program.
    pub version: String,
    /// `rehearsal` or `as-deployed`.
    pub profile: String,
    /// What the profile changes in the manifests, one line a change.
    pub profile_changes: Vec<String>,
    /// How many scenarios run side by side at most.
    #[serde(default = "one_lane", skip_serializing_if = "is_one_lane")]
    pub lanes: u32,
}

const fn one_lane() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
const fn is_one_lane(lanes: &u32) -> bool {
    *lanes == 1
}

/// What the gate asks beyond verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rules {
    /// Whether a warning fails the gate.
    pub strict: bool,
    /// What sort of figures it takes, where not any.
    pub require: Option<Require>,
}

/// What sort of figures the gate takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// From a real cluster: kind, or somebody else's.
    Measured,
}

impl Require {
    /// Whether figures of such a cluster are taken.
    #[must_use]
    pub fn takes(self, cluster: ClusterKind) -> bool {
        match self {
            Self::Measured => cluster != ClusterKind::Embedded,
        }
    }
}

/// Which cluster the run is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterFacts {
    /// What sort of cluster it is: decides *rehearsed* or *measured*.
    pub kind: ClusterKind,
    /// Its name, or its kubeconfig context.
    pub name: String,
    /// The API server's address.
    pub server: String,
    /// `gitVersion` of the API server.
    pub version: String,
    /// uid of the namespace `kube-system`, which identifies a cluster.
    pub uid: String,
    /// The namespace that the run works in.
    pub namespace: String,
}

/// A lane: the namespace in which one scenario at a time runs beside those of other lanes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LaneFacts {
    /// From 1, which is the system's own namespace.
    pub lane: u32,
    /// Its namespace, which stands for the one that commands and manifests name.
    pub namespace: String,
}

/// Sort of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterKind {
    /// Our own, without Docker.
    Embedded,
    /// kind, on this machine.
    Kind,
    /// Any other kubeconfig context.
    Context,
}

/// How a pipeline stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageResult {
    /// It did what it should.
    Done,
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
    /// A bad release was recognised and the previous one restored.
    RolledBack {
        /// The decisive condition.
        reason: String,
    },
    /// A bad release was recognised, and rolling back failed too.
    RollbackFailed {
        /// Why.
        error: String,
    },
    /// The user stopped it.
    Cancelled,
}

/// Where a scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Waiting for the steady state.
    Settling,
    /// Comparing the system with and without our sampling.
    Baseline,
    /// Steady state held with sampling at full rate.
    Steady,
    /// From the injection to the first remedy step, or to recovery where there is none.
    Fault,
    /// From the first remedy step on.
    Remedy,
    /// Undoing what is left of the fault.
    Healing,
}

/// One pod, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The workload that owns it, through its ReplicaSet where there is one.
    pub workload: Option<WorkloadRef>,
    /// Its phase.
    pub phase: String,
    /// Its Ready condition.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Container ids, in the order of the spec; empty where not started.
    pub container_ids: Vec<String>,
    /// Sum of its containers' restart counts.
    pub restarts: u32,
    /// Why its first waiting or last terminated container is so (`CrashLoopBackOff`, `OOMKilled`…).
    pub reason: Option<String>,
    /// Why a container of it ended last, also where another one runs in its place by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// Whose answer a sample is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The Service: what users see.
    Service,
    /// One pod by itself, by uid.
    Pod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// One timed look at one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sample {
    /// Which check.
    pub check: CheckName,
    /// At whom.
    pub subject: Subject,
    /// When the schedule wanted it sent.
    pub intended: Offset,
    /// When it was sent.
    pub sent: Offset,
    /// When its answer, or its end without one, was there.
    pub done: Offset,
    /// What was seen.
    pub seen: Seen,
    /// What the check read on the way (`run_id` of a Redis, …), for proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a sample saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The right answer within `slow` of the intended start.
    Good,
    /// A wrong answer, a late one, or none.
    Bad {
        /// `503 not ready: Redis not connected`, `refused`, `no answer within 2s`…
        reason: String,
    },
    /// We could not look: our own slip, our own lack of descriptors, a dropped tunnel.
    Missing {
        /// What stopped us.
        reason: String,
    },
}

/// The comparison of the system with and without our sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Baseline {
    /// Load requests seen while we did not sample.
    pub quiet_requests: u64,
    /// Of them, the slow or failed ones.
    pub quiet_slow: u64,
    /// Load requests seen while we sampled.
    pub sampled_requests: u64,
    /// Of them, the slow or failed ones.
    pub sampled_slow: u64,
    /// What counted as slow.
    #[serde(with = "crate::duration")]
    pub slow_above: Duration,
    /// Container restarts while we sampled, beyond those while we did not.
    pub restarts: u32,
    /// Whether we changed what we measure; the sentence says how.
    pub effect: Option<String>,
}

/// What the load saw in one second of intended start times.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadSecond {
    /// Start of the second.
    pub from: Offset,
    /// Requests with a complete 2xx within 2 s of their intended start.
    pub requests_good: u32,
    /// Requests without one.
    pub requests_lost: u32,
    /// Requests that we could not send: neither good nor lost.
    #[serde(default)]
    pub requests_missing: u32,
    /// Median latency from the intended start, in microseconds, 0 where nothing was good.
    pub p50_micros: u64,
    /// Highest latency from the intended start, in microseconds.
    pub max_micros: u64,
    /// Sockets open at the end of the second.
    pub sockets_open: u32,
    /// Sockets lost in it: reset, 1006, an answer cut, or no reconnect within 2 s.
    pub sockets_lost: u32,
}

/// One line of a pod's log. It decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogLine {
    /// The pod.
    pub pod: String,
    /// When it was written, by the cluster's clock: it may differ from ours.
    pub written: Offset,
    /// The line, without values of Secrets.
    pub line: String,
}

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It ran to the end of its plan.
    Completed,
    /// It could not: steady state not reached, injection failed, a check crashed…
    Broken {
        /// Why.
        reason: String,
    },
    /// The user or a lost lease stopped it.
    Cancelled,
}
