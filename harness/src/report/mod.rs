//! What a run found, as one value, and the texts made from it.
//!
//! [`Fold`] takes a run's events, live or from its journal; every renderer is a function from the report to
//! text. Only [`files`] touches the file system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checklist::Checked;
use crate::event::{ClusterFacts, Ended, LaneFacts, Phase, Rules, RunFacts, StageResult};
use crate::scenario::plan::{BudgetFrom, Expect, Promise, ScenarioId, WorkloadRef};
use crate::scenario::round::Round;
use crate::verdict::Exit;

mod annotations;
mod exit;
mod fold;
mod growth;
mod html;
mod junit;
mod markdown;
mod millis;
mod repeat;
mod rollout;
mod row;
mod soak;
mod sockets;
mod terminal;
pub mod timeline;
mod words;

pub use annotations::annotations;
pub use fold::Fold;
pub use growth::{GrowthReport, ReferenceReport};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use millis::Millis;
pub use repeat::{P95Report, RatesReport, RepeatReport, RoundReport};
pub use rollout::{BadReport, LostReport, PodMomentReport, RolloutReport, SecondReport, TrafficReport};
pub use soak::{MetricReport, SoakReport};
pub use sockets::{AwayReport, SocketEndReport, SocketsReport};
pub use terminal::{soak as soak_text, terminal};

/// Everything a reader may want to know of one run; `report.json` is this, written out.
///
/// All times are since the run's start unless their name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// The judgement of the whole run.
    pub verdict: RunVerdict,
    /// What the process should exit with, as a number; [`Report::exit`] has it as a value.
    pub exit_code: u8,
    /// The command that does the same again; absent where the run never began.
    pub reproduce: Option<String>,
    /// `rehearsed on embedded`, `measured on staging`, or that no cluster was reached.
    pub rehearsed_or_measured: String,
    /// The run's own facts; absent where the journal holds none.
    pub run: Option<RunFacts>,
    /// The cluster; absent where none was reached.
    pub cluster: Option<ClusterFacts>,
    /// Time from the run's start to its last event.
    pub took_ms: Millis,
    /// Stages of the pipeline, in order.
    pub stages: Vec<StageReport>,
    /// Rollouts and roll-backs, in order.
    #[serde(default)]
    pub rollouts: Vec<RolloutReport>,
    /// Scenarios, in the order of their files; repeats of one in the order in which they ran.
    pub scenarios: Vec<ScenarioReport>,
    /// The pre-deployment checklist, item by item, where it was gone through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<Checked>,
    /// The soak, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakReport>,
    /// Scenarios that ran in rounds, each over all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<RepeatReport>,
    /// What the gate asks beyond verdicts.
    #[serde(default, skip_serializing_if = "asks_nothing")]
    pub rules: Rules,
    /// Recoveries beside earlier ones, where there is a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceReport>,
    /// Scenarios that were chosen and not run, because their surroundings lack what they need.
    /// They count neither as kept nor as broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedReport>,
    /// Lines of no scenario that decide nothing.
    pub notes: Vec<String>,
    /// Why healing outside of any scenario could not be verified.
    pub heal_failed: Option<String>,
    /// Whether the run left nothing behind; absent where it did not come to its end.
    pub clean: Option<bool>,
}

/// The judgement of a run, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunVerdict {
    /// The word: `pass`, `gate-failed`, `inconclusive`, `rolled-back`…
    pub verdict: Exit,
    /// One sentence.
    pub why: String,
}

/// One stage of the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// How it ended; absent where it did not.
    pub result: Option<StageResult>,
    /// How long it took, or had taken when the record stopped.
    pub took_ms: Millis,
    /// One line a fact.
    pub facts: Vec<String>,
}

/// A scenario that was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SkippedReport {
    /// `llm-unavailable/quota`.
    pub id: ScenarioId,
    /// One line a person understands.
    pub title: String,
    /// The scenario file.
    pub file: String,
    /// The line of the variant in it, from 1.
    pub line: u64,
    /// What is not there.
    pub why: String,
}

/// How one scenario was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    /// The promise holds.
    Pass,
    /// Nobody can tell.
    Inconclusive,
    /// The promise is broken.
    Fail,
}

/// How one scenario was judged, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScenarioVerdict {
    /// The word.
    pub verdict: Judged,
    /// The reason; absent for a pass, whose reason is its measurement.
    pub why: Option<String>,
}

/// One scenario: what was promised, broken, done and measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScenarioReport {
    /// `redis-lost/killed`.
    pub id: ScenarioId,
    /// Which round it was, where it ran in rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// One line a person understands.
    pub title: String,
    /// The scenario file.
    pub file: String,
    /// The line of the variant in it, from 1.
    pub line: u64,
    /// The judgement.
    pub verdict: ScenarioVerdict,
    /// What the runbook promises.
    pub promise: Promise,
    /// The longest allowed recovery.
    pub budget_ms: Millis,
    /// Where the budget counts from.
    pub budget_from: BudgetFrom,
    /// Where the budget's figure comes from.
    pub budget_source: String,
    /// What was broken.
    pub fault: String,
    /// The workload that was watched.
    pub workload: WorkloadRef,
    /// The lane in which it ran, where several ran side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneFacts>,
    /// When the fault was sent.
    pub fault_sent_ms: Option<Millis>,
    /// Why it could not be injected.
    pub fault_failed: Option<String>,
    /// Whether a second channel showed that the fault took effect.
    pub fault_proven: bool,
    /// Between which two moments it took effect; absent without proof.
    pub fault_ms: Option<[Millis; 2]>,
    /// Each rule of the proof.
    pub proof: Vec<ProofReport>,
    /// The first bad sample after the fault.
    pub symptom: Option<SymptomReport>,
    /// When that sample was known to be bad.
    pub symptom_ms: Option<Millis>,
    /// Time from the early end of the fault to the symptom.
    pub detection_ms: Option<Millis>,
    /// How long recovery took, counted from where the budget counts.
    pub recovery_ms: Option<Interval>,
    /// Whether a proven fault was not felt at all.
    pub absorbed: bool,
    /// Where it was not felt: an outage this short may have fallen between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub felt_from_ms: Option<Millis>,
    /// Where it did not recover: for at least how long it was bad, counted like the budget.
    pub bad_for_at_least_ms: Option<Millis>,
    /// Steps of the remedy, in order.
    pub remedy: Vec<StepReport>,
    /// Time spent in each phase.
    pub phases_ms: BTreeMap<Phase, Millis>,
    /// How each check was sampled, by name.
    pub sampling: Vec<SamplingReport>,
    /// How far samples were sent behind their schedule.
    pub slip: SlipReport,
    /// The system with our sampling beside the system without it.
    pub baseline: Option<BaselineReport>,
    /// Load in the seconds before the fault, and from it on.
    pub load: LoadReport,
    /// The load's WebSockets from the fault on; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<SocketsReport>,
    /// What healing undid, where it was verified.
    pub healed: Option<Vec<String>>,
    /// Why the last try at healing could not be verified.
    pub heal_failed: Option<String>,
    /// Whether the record ends with something broken that nobody healed.
    pub left_broken: bool,
    /// Lines that decide nothing.
    pub notes: Vec<String>,
    /// How it ended; absent where the record stops before.
    pub ended: Option<Ended>,
}

/// A time that is known to lie between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interval {
    /// At least this long.
    pub lower: Millis,
    /// At most this long.
    pub upper: Millis,
}

/// One rule of the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProofReport {
    /// The rule in words.
    pub rule: String,
    /// When its first evidence was there; absent where there is none.
    pub at_ms: Option<Millis>,
}

/// The first bad sample after the fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SymptomReport {
    /// Which check.
    pub check: String,
    /// `pod NAME`, or `the service`.
    pub subject: String,
    /// What it saw.
    pub reason: String,
}

/// One remedy step and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StepReport {
    /// The command as it stands in the runbook.
    pub command: String,
    /// What the scenario expects of it.
    pub expect: Expect,
    /// How long it was to be watched.
    pub watch_ms: Millis,
    /// When it was sent.
    pub sent_ms: Option<Millis>,
    /// Whether the system recovered after it and before the next; absent where that cannot be said.
    pub recovered: Option<bool>,
    /// What the command said.
    pub output: String,
    /// Why it could not be carried out.
    pub error: Option<String>,
}

/// How one check was sampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SamplingReport {
    /// Which check.
    pub check: String,
    /// Time between intended starts on one series.
    pub interval_ms: Millis,
    /// Why it was not sampled faster, where something slowed it.
    pub slowed_by: Option<String>,
    /// Right answers in time.
    pub good: u64,
    /// Wrong answers, late ones, and none.
    pub bad: u64,
    /// Samples that we could not take.
    pub missing: u64,
    /// Why the first missing one was missing.
    pub missing_reason: Option<String>,
}

/// How far samples were sent behind their schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SlipReport {
    /// Half of the samples slipped less.
    pub p50_ms: Millis,
    /// 99 of 100 slipped less.
    pub p99_ms: Millis,
    /// The worst.
    pub max_ms: Millis,
}

/// The comparison of the system with and without our sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BaselineReport {
    /// Load requests seen while we did not sample.
    pub quiet_requests: u64,
    /// Of them, the slow or failed ones.
    pub quiet_slow: u64,
    /// Load requests seen while we sampled.
    pub sampled_requests: u64,
    /// Of them, the slow or failed ones.
    pub sampled_slow: u64,
    /// What counted as slow.
    pub slow_above_ms: Millis,
    /// Container restarts while we sampled, beyond those while we did not.
    pub restarts: u32,
    /// How we changed what we measure, where we did.
    pub effect: Option<String>,
}

/// Load before the fault, and from it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadReport {
    /// Seconds that began before the fault.
    pub before: LoadSums,
    /// Seconds that ended after it.
    pub from_fault: LoadSums,
}

/// Load, summed over some seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadSums {
    /// How many seconds.
    pub seconds: u64,
    /// Requests with a complete 2xx in time.
    pub requests_good: u64,
    /// Requests without one.
    pub requests_lost: u64,
    /// Sockets lost.
    pub sockets_lost: u64,
    /// Most sockets open at the end of a second.
    pub sockets_open_max: u32,
    /// Highest latency from the intended start.
    pub latency_max_ms: Millis,
}

fn asks_nothing(rules: &Rules) -> bool {
    *rules == Rules::default()
}

impl Report {
    /// Rollouts that were judged, each with its verdict.
    fn judged_rollouts(&self) -> impl Iterator<Item = (&RolloutReport, &ScenarioVerdict)> {
        self.rollouts.iter().filter_map(|rollout| Some((rollout, rollout.verdict.as_ref()?)))
    }
}

/// The report as `report.json` holds it, indented, with a newline at the end.
#[must_use]
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has no map key that is not a string");
    text.push('\n');
    text
}
