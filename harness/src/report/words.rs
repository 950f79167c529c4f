//! Sentences that several renderers share.

use std::time::Duration;

use super::sockets;
use super::{
    BaselineReport, Judged, LoadSums, Millis, ProofReport, Report, SamplingReport, ScenarioReport, SkippedReport,
    StageReport, StepReport,
};
use crate::duration;
use crate::event::{Phase, StageResult};
use crate::fault::{Fault, SecretKey};
use crate::scenario::plan::{BudgetFrom, Expect};
use crate::verdict::Exit;

mod rollout;

pub(super) use rollout::{rollout_because, rollout_cells, rollout_details, rollout_summary, rollout_title};

/// The word of one scenario's judgement.
pub(super) fn judged(judged: Judged) -> &'static str {
    match judged {
        Judged::Pass => "pass",
        Judged::Inconclusive => "inconclusive",
        Judged::Fail => "fail",
    }
}

/// The word of a run's judgement.
pub(super) fn of_exit(exit: Exit) -> &'static str {
    if exit == Exit::GateFailed { "fail" } else { exit.meaning() }
}

/// A run's judgement as one of three: what is green, what needs another look, and what is red.
pub(super) fn colour(exit: Exit) -> Judged {
    match exit {
        Exit::Pass => Judged::Pass,
        Exit::Inconclusive | Exit::NothingSelected | Exit::Interrupted | Exit::Terminated => Judged::Inconclusive,
        Exit::GateFailed
        | Exit::Usage
        | Exit::CleanUpIncomplete
        | Exit::Environment
        | Exit::RolledBack
        | Exit::RollbackFailed
        | Exit::Bug => Judged::Fail,
    }
}

/// The judgement of a run in one sentence, and what it leaves out.
pub(super) fn why(report: &Report, exit: Exit) -> String {
    let why = judgement(report, exit);
    match report.skipped.len() {
        0 => why,
        skipped => format!("{why}; {} skipped", count(skipped, "scenario was", "scenarios were")),
    }
}

/// Why a scenario was skipped.
pub(super) fn skipped(skipped: &SkippedReport) -> String {
    format!("{}: not run, {}", skipped.id, skipped.why)
}

fn judgement(report: &Report, exit: Exit) -> String {
    let promises = report.judged_rollouts().count() + report.rows().len();
    match exit {
        Exit::Pass if promises == 0 => format!("{} done", count(report.stages.len(), "stage", "stages")),
        Exit::Pass if promises == 1 => "the promise was kept".to_owned(),
        Exit::Pass => format!("all {promises} promises were kept"),
        Exit::GateFailed => match ids(report, Judged::Fail) {
            (0, _) => what_does_not_hold(report),
            (_, ids) if promises == 1 => format!("the promise was broken: {ids}"),
            (broken, ids) => format!("{broken} of {promises} promises broken: {ids}"),
        },
        Exit::Inconclusive if report.clean.is_none() => "the record of the run stops before its end".to_owned(),
        Exit::Inconclusive if report.scenarios.is_empty() && !report.skipped.is_empty() => {
            "nothing could be rehearsed".to_owned()
        }
        Exit::Inconclusive => match ids(report, Judged::Inconclusive) {
            (0, _) => what_does_not_hold(report),
            (_, ids) if promises == 1 => format!("nobody can tell whether the promise holds: {ids}"),
            (unknown, ids) => format!("nobody can tell for {unknown} of {promises} promises: {ids}"),
        },
        Exit::NothingSelected => "nothing was run".to_owned(),
        Exit::CleanUpIncomplete => {
            let unknown = match report.clean {
                None => "the record stops before the fault was healed",
                Some(_) => "the run left something behind",
            };
            let error = heal_error(report).unwrap_or(unknown);
            format!("not everything that was broken or made is put right: {error}; run `cargo xtask heal`")
        }
        Exit::Environment | Exit::RollbackFailed | Exit::RolledBack => stages_that_failed(report),
        Exit::Interrupted | Exit::Terminated => {
            let judged = promises - ids(report, Judged::Inconclusive).0;
            format!("stopped before its end, with {judged} of {promises} promises judged")
        }
        Exit::Usage | Exit::Bug => exit.meaning().to_owned(),
    }
}

fn ids(report: &Report, judged: Judged) -> (usize, String) {
    let rollouts = report.judged_rollouts().map(|(rollout, verdict)| (rollout.id.as_str(), verdict.verdict));
    let rows = report.rows().into_iter().map(|row| (row.id(), row.judged()));
    let found: Vec<&str> = rollouts.chain(rows).filter(|(_, found)| *found == judged).map(|(id, _)| id).collect();
    (found.len(), found.join(", "))
}

/// What failed besides the promises.
fn what_does_not_hold(report: &Report) -> String {
    let stages = Some(stages_that_failed(report)).filter(|stages| !stages.is_empty());
    let soak = report.soak.as_ref().filter(|soak| soak.verdict.verdict == Judged::Inconclusive);
    let soak = soak.map(|soak| format!("nobody can tell from the soak: {}", soak.says()));
    stages.into_iter().chain(soak).chain(report.rules_unmet()).collect::<Vec<_>>().join("; ")
}

fn heal_error(report: &Report) -> Option<&str> {
    let of_scenarios = report.scenarios.iter().find_map(|scenario| scenario.heal_failed.as_deref());
    report.heal_failed.as_deref().or(of_scenarios)
}

fn stages_that_failed(report: &Report) -> String {
    let failed = report.stages.iter().filter(|stage| stage.result != Some(StageResult::Done));
    failed.map(|stage| format!("{}: {}", stage.stage, stage_result(stage))).collect::<Vec<_>>().join("; ")
}

/// How a stage ended.
pub(super) fn stage_result(stage: &StageReport) -> String {
    match &stage.result {
        Some(StageResult::Done) => "done".to_owned(),
        Some(StageResult::Failed { error }) => format!("failed: {error}"),
        Some(StageResult::RolledBack { reason }) => {
            format!("the release was bad, and the previous one is back: {reason}")
        }
        Some(StageResult::RollbackFailed { error }) => {
            format!("the release was bad, and the previous one is NOT back: {error}")
        }
        Some(StageResult::Cancelled) => "cancelled".to_owned(),
        None => "did not come to its end".to_owned(),
    }
}

/// What was measured against the budget, short enough for a table.
pub(super) fn measured(scenario: &ScenarioReport) -> String {
    match (scenario.recovery_ms, scenario.bad_for_at_least_ms) {
        (Some(recovery), _) => Millis::range(recovery.lower, recovery.upper),
        (None, _) if scenario.absorbed => "not felt".to_owned(),
        (None, Some(bad)) => format!("not back after {}", bad.at_least()),
        (None, None) => "not measured".to_owned(),
    }
}

/// The budget and where it counts from.
pub(super) fn budget(scenario: &ScenarioReport) -> String {
    let from = match scenario.budget_from {
        BudgetFrom::Fault => "from the fault",
        BudgetFrom::Remedy => "from the remedy",
    };
    format!("{} {from}", scenario.budget_ms)
}

/// Why a scenario was judged as it was.
pub(super) fn because(scenario: &ScenarioReport) -> String {
    match &scenario.verdict.why {
        Some(why) => why.clone(),
        None if scenario.absorbed => match scenario.felt_from_ms {
            Some(felt) => {
                format!("the fault is proven, and no sample was bad; an outage of up to {felt} may have been missed")
            }
            None => "the fault is proven, and no sample was bad".to_owned(),
        },
        None => format!("back within {}, allowed are {}", measured(scenario), budget(scenario)),
    }
}

/// How many scenarios ran side by side.
pub(super) fn lanes(lanes: u32) -> String {
    format!("in {lanes} lanes side by side, each a namespace with the system in it")
}

/// What is broken.
pub(super) fn fault(fault: &Fault) -> String {
    match fault {
        Fault::PodSignal(signal) => format!("{} to a pod of {}", signal.signal, signal.of),
        Fault::PodDelete(delete) => format!("a pod of {} deleted", delete.of),
        Fault::RolloutRestart(restart) => format!("rollout of {} restarted", restart.workload),
        Fault::Scale(scale) => format!("{} scaled to {}", scale.workload, scale.replicas),
        Fault::Secret(secret) => {
            let SecretKey { name, key, value, restart } = secret;
            format!("key `{key}` of secret/{name} replaced by {value}, and {restart} restarted")
        }
        Fault::LlmDouble(double) => format!("the LLM's double switched to `{}`", double.answers),
        Fault::Traffic(trick) => format!("traffic: {trick}"),
        Fault::Annotate(annotate) => annotate.told(),
        Fault::Leak(leak) => format!("a pod of {} leaks memory", leak.of),
        Fault::Node(node) => node.told(),
        Fault::Kubelet(kubelet) => format!("kubelet of {} stopped", kubelet.of),
        Fault::ApiServer(away) => format!("API server away for {}", duration::text(away.lasts)),
        Fault::Registry(registry) => format!("registry stopped while {} is rolled out", registry.during),
        Fault::NetworkCut(cut) => format!("network cut from {} to {}", cut.from, cut.to),
        Fault::Chaos(chaos) => format!("{} of Chaos Mesh", chaos.kind),
    }
}

/// Whether the fault took effect, and when.
pub(super) fn fault_time(scenario: &ScenarioReport) -> String {
    match (&scenario.fault_failed, scenario.fault_sent_ms, scenario.fault_ms) {
        (Some(error), ..) => format!("could not be injected: {error}"),
        (None, None, _) => "never sent".to_owned(),
        (None, Some(sent), None) => format!("sent at {sent}, NOT proven"),
        (None, Some(_), Some([sent, proven])) => {
            let within = Millis::ceil(proven.duration().saturating_sub(sent.duration()));
            format!("sent at {sent} of the run, proven within {within}")
        }
    }
}

/// One rule of the proof.
pub(super) fn proof(proof: &ProofReport) -> String {
    match proof.at_ms {
        Some(at) => format!("{} (seen at {at})", proof.rule),
        None => format!("{} (never seen)", proof.rule),
    }
}

/// The first bad sample.
pub(super) fn symptom(scenario: &ScenarioReport) -> String {
    match (&scenario.symptom, scenario.detection_ms) {
        (Some(symptom), Some(detection)) => {
            format!("{detection} after the fault: `{}` at {} saw {}", symptom.check, symptom.subject, symptom.reason)
        }
        _ => "no bad sample after the fault".to_owned(),
    }
}

/// What came of a remedy step.
pub(super) fn step(step: &StepReport) -> String {
    let watched = step.watch_ms;
    if let Some(error) = &step.error {
        return format!("could not be carried out: {error}");
    }
    match (step.sent_ms, step.recovered, step.expect) {
        (None, ..) => "not sent".to_owned(),
        (Some(_), Some(true), Expect::Recovery) => "recovered the system".to_owned(),
        (Some(_), _, Expect::Part) => "done; the next step completes it".to_owned(),
        (Some(_), Some(true), Expect::NoRecovery) => {
            "recovered the system, though the scenario says that it does not".to_owned()
        }
        (Some(_), Some(false), Expect::NoRecovery) => {
            format!("did NOT recover the system in {watched}, as the scenario says: this advice does not help")
        }
        (Some(_), Some(false), Expect::Recovery) => "did NOT recover the system".to_owned(),
        (Some(_), None, _) => "sent; its effect was not measured".to_owned(),
    }
}

/// The name of a phase.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Settling => "settling",
        Phase::Baseline => "baseline",
        Phase::Steady => "steady",
        Phase::Fault => "fault",
        Phase::Remedy => "remedy",
        Phase::Healing => "healing",
    }
}

/// `settling 2 s, fault 1.3 s, …`.
pub(super) fn phases(scenario: &ScenarioReport) -> String {
    let phases = scenario.phases_ms.iter().map(|(name, took)| format!("{} {took}", phase(*name)));
    or_none(phases.collect::<Vec<_>>().join(", "))
}

/// How a check was sampled.
pub(super) fn sampling(check: &SamplingReport) -> String {
    let mut text = format!(
        "{} {}: {} good, {} bad, {} missing",
        check.check,
        rate(check.interval_ms.duration()),
        check.good,
        check.bad,
        check.missing
    );
    if let Some(reason) = &check.missing_reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(reason) = &check.slowed_by {
        text.push_str(&format!("; no faster because {reason}"));
    }
    text
}

fn rate(interval: Duration) -> String {
    format!("every {}", Millis::floor(interval))
}

/// Whether looking changed what was looked at.
pub(super) fn observer(baseline: Option<&BaselineReport>) -> String {
    let Some(baseline) = baseline else { return "not compared".to_owned() };
    let told = format!(
        "{} of {} requests slower than {} with sampling, {} of {} without; {} more",
        baseline.sampled_slow,
        baseline.sampled_requests,
        baseline.slow_above_ms,
        baseline.quiet_slow,
        baseline.quiet_requests,
        count(baseline.restarts as usize, "restart", "restarts")
    );
    match &baseline.effect {
        Some(effect) => format!("we changed what we measure: {effect} ({told})"),
        None => format!("no effect seen ({told})"),
    }
}

/// Load in one stretch of time.
pub(super) fn load(sums: &LoadSums) -> String {
    if sums.seconds == 0 {
        return "none".to_owned();
    }
    format!(
        "{} good and {} lost requests, {} of at most {} open sockets lost, slowest answer {} (in {} s)",
        sums.requests_good,
        sums.requests_lost,
        sums.sockets_lost,
        sums.sockets_open_max,
        sums.latency_max_ms,
        sums.seconds
    )
}

/// What became of the fault in the end.
pub(super) fn healing(scenario: &ScenarioReport) -> String {
    match (&scenario.heal_failed, &scenario.healed) {
        (Some(error), _) => format!("NOT verified: {error}"),
        (None, _) if scenario.left_broken => "NOT healed when the record ends".to_owned(),
        (None, Some(facts)) if facts.is_empty() => "verified; nothing was left to undo".to_owned(),
        (None, Some(facts)) => format!("verified: {}", facts.join("; ")),
        (None, None) => "nothing was broken".to_owned(),
    }
}

/// One labelled line after the other: everything known about a scenario, besides its remedy.
pub(super) fn details(scenario: &ScenarioReport) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("because", because(scenario)),
        ("promise", format!("{} ({}, {})", scenario.promise.says, scenario.promise.document, scenario.promise.section)),
        ("budget", format!("{}, by {}", budget(scenario), scenario.budget_source)),
        ("measured", measured(scenario)),
        ("fault", format!("{}: {}", scenario.fault, fault_time(scenario))),
    ];
    lines.extend(scenario.lane.iter().map(|lane| ("lane", format!("{}, in namespace {}", lane.lane, lane.namespace))));
    lines.extend(scenario.proof.iter().map(|rule| ("proof", proof(rule))));
    lines.push(("symptom", symptom(scenario)));
    for (place, one) in scenario.remedy.iter().enumerate() {
        lines.push((STEP_LABELS.get(place).copied().unwrap_or("step"), format!("`{}`: {}", one.command, step(one))));
    }
    lines.push(("time", phases(scenario)));
    lines.extend(scenario.sampling.iter().map(|check| ("sampling", sampling(check))));
    lines.push((
        "slip",
        format!("p50 {}, p99 {}, worst {}", scenario.slip.p50_ms, scenario.slip.p99_ms, scenario.slip.max_ms),
    ));
    lines.push(("observer", observer(scenario.baseline.as_ref())));
    lines.push(("load", format!("before the fault: {}", load(&scenario.load.before))));
    lines.push(("load", format!("from the fault on: {}", load(&scenario.load.from_fault))));
    lines.extend(scenario.sockets.iter().map(|report| ("sockets", sockets::line(report))));
    lines.push(("healing", healing(scenario)));
    lines.extend(scenario.notes.iter().map(|note| ("note", note.clone())));
    lines.push(("file", format!("{}:{}", scenario.file, scenario.line)));
    lines
}

const STEP_LABELS: [&str; 4] = ["step 1", "step 2", "step 3", "step 4"];

/// On one line, without control characters: text of others must not move the cursor.
pub(super) fn one_line(text: &str) -> String {
    let cleaned: String = text.trim().chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// On one line and of at most so many characters.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= max {
        return line;
    }
    let kept: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
