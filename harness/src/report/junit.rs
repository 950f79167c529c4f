//! The report as JUnit XML, in the dialect that Jenkins reads.

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::row;
use super::{
    GrowthReport, Judged, RepeatReport, Report, RolloutReport, ScenarioReport, ScenarioVerdict, SkippedReport,
    SoakReport, StageReport, words,
};
use crate::checklist::{Checked, Finding};
use crate::event::StageResult;

/// The report as JUnit XML: one test case a stage, one a judged rollout, one a scenario and round, one for all rounds
/// of a scenario together, one a comparison with the reference, and one for the end of the run.
/// A broken promise is a failure, an inconclusive one an error, a warning a failure with
/// `--strict` only.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut stages = TestSuite::new("gameday.release");
    stages.add_test_cases(report.stages.iter().map(stage));
    let mut checklist = TestSuite::new("gameday.checklist");
    checklist.add_test_cases(report.checklist.iter().map(checked));
    let mut rollouts = TestSuite::new("gameday.rollouts");
    rollouts.add_test_cases(report.judged_rollouts().map(|(rollout, verdict)| self::rollout(rollout, verdict)));
    let mut scenarios = TestSuite::new("gameday.scenarios");
    scenarios.add_test_cases(report.scenarios.iter().map(|scenario| self::scenario(report, scenario)));
    scenarios.add_test_cases(report.skipped.iter().map(skipped));
    scenarios.add_test_cases(report.repeats.iter().map(together));
    let mut soak = TestSuite::new("gameday.soak");
    soak.add_test_cases(report.soak.iter().map(soaked));
    let mut reference = TestSuite::new("gameday.reference");
    let growth = report.reference.iter().flat_map(|reference| &reference.growth);
    reference.add_test_cases(growth.map(|one| grown(one, report.rules.strict)));
    let mut end = TestSuite::new("gameday.run");
    end.add_test_case(self::end(report));

    let mut junit = quick_junit::Report::new("gameday");
    junit.set_time(report.took_ms.duration());
    for mut suite in [stages, checklist, rollouts, scenarios, soak, reference, end] {
        if !suite.test_cases.is_empty() {
            let time = suite.test_cases.iter().filter_map(|case| case.time).sum();
            suite.set_time(time);
            suite.add_properties(properties(report));
            junit.add_test_suite(suite);
        }
    }
    junit.to_string().expect("memory takes every write, and all text is valid")
}

/// What a reader of old results asks: which run it was, where, and how to do it again.
fn properties(report: &Report) -> Vec<Property> {
    let run = report.run.as_ref();
    let known = [
        ("run", run.map(|run| run.run.clone())),
        ("profile", run.map(|run| run.profile.clone())),
        ("seed", run.map(|run| run.seed.to_string())),
        ("how", Some(report.rehearsed_or_measured.clone())),
        ("again", report.reproduce.clone()),
    ];
    known.into_iter().filter_map(|(name, value)| Some(Property::new(name, words::one_line(&value?)))).collect()
}

fn stage(stage: &StageReport) -> TestCase {
    let says = words::stage_result(stage);
    let status = match &stage.result {
        Some(StageResult::Done) => TestCaseStatus::success(),
        Some(StageResult::Failed { .. }) => not(NonSuccessKind::Failure, "failed", &says),
        Some(StageResult::RolledBack { .. }) => not(NonSuccessKind::Failure, "rolled-back", &says),
        Some(StageResult::RollbackFailed { .. }) => not(NonSuccessKind::Failure, "rollback-failed", &says),
        Some(StageResult::Cancelled) => not(NonSuccessKind::Error, "cancelled", &says),
        None => not(NonSuccessKind::Error, "unfinished", &says),
    };
    let mut case = TestCase::new(stage.stage.as_str(), status);
    case.set_classname("gameday.release").set_time(stage.took_ms.duration());
    if !stage.facts.is_empty() {
        case.set_system_out(stage.facts.join("\n"));
    }
    case
}

fn rollout(rollout: &RolloutReport, given: &ScenarioVerdict) -> TestCase {
    let mut case = TestCase::new(rollout.id.as_str(), verdict(given.verdict, &words::rollout_because(rollout)));
    case.set_classname("gameday.rollouts");
    if let (Some(from), Some(until)) = (rollout.started_ms, rollout.ended_ms) {
        case.set_time(until.duration().saturating_sub(from.duration()));
    }
    let lines = words::rollout_details(rollout).into_iter();
    let lines: Vec<String> = lines.map(|(label, says)| format!("{label}: {}", words::one_line(&says))).collect();
    case.set_system_out(lines.join("\n"));
    case
}

fn scenario(report: &Report, scenario: &ScenarioReport) -> TestCase {
    let status = verdict(scenario.verdict.verdict, &words::because(scenario));
    let mut case = TestCase::new(scenario.id.0.as_str(), status);
    case.set_classname("gameday.scenarios");
    case.set_time(scenario.phases_ms.values().map(|took| took.duration()).sum());
    let lines =
        words::details(scenario).into_iter().map(|(label, says)| format!("{label}: {}", words::one_line(&says)));
    let lines: Vec<String> = [report.rehearsed_or_measured.clone()].into_iter().chain(lines).collect();
    case.set_system_out(lines.join("\n"));
    case
}

fn checked(one: &Checked) -> TestCase {
    let says = one.finding.to_string();
    let status = match &one.finding {
        Finding::Passed { .. } | Finding::Stated { .. } | Finding::Waived { .. } => TestCaseStatus::success(),
        Finding::NotPassed { .. } => not(NonSuccessKind::Failure, "not-passed", &says),
        Finding::Unknown { .. } => not(NonSuccessKind::Error, "unknown", &says),
    };
    let mut case = TestCase::new(one.item.says(), status);
    case.set_classname("gameday.checklist").set_system_out(words::one_line(&says));
    case
}

fn soaked(soak: &SoakReport) -> TestCase {
    let mut case = TestCase::new("key metrics", verdict(soak.verdict.verdict, &soak.says()));
    case.set_classname("gameday.soak").set_time(soak.lasted_ms.duration());
    let lines = soak.metrics.iter().map(|metric| format!("{}: {}", metric.name, words::one_line(&metric.says())));
    case.set_system_out(lines.collect::<Vec<_>>().join("\n"));
    case
}

fn verdict(judged: Judged, says: &str) -> TestCaseStatus {
    match judged {
        Judged::Pass => TestCaseStatus::success(),
        Judged::Inconclusive => not(NonSuccessKind::Error, "inconclusive", says),
        Judged::Fail => not(NonSuccessKind::Failure, "fail", says),
    }
}

fn together(repeat: &RepeatReport) -> TestCase {
    let status = verdict(repeat.verdict.verdict, repeat.verdict.why.as_deref().unwrap_or_default());
    let mut case = TestCase::new(format!("{} in {} rounds", repeat.scenario, repeat.rounds_wanted), status);
    case.set_classname("gameday.scenarios");
    let lines = row::details(repeat).into_iter().map(|(label, says)| format!("{label}: {}", words::one_line(&says)));
    case.set_system_out(lines.collect::<Vec<_>>().join("\n"));
    case
}

fn grown(one: &GrowthReport, strict: bool) -> TestCase {
    let status = match one.warns && strict {
        true => not(NonSuccessKind::Failure, "grew", &one.says),
        false => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(one.scenario.0.as_str(), status);
    case.set_classname("gameday.reference");
    let warning = if one.warns { "warning: " } else { "" };
    case.set_system_out(format!("{warning}{}", words::one_line(&one.says)));
    case
}

fn skipped(skipped: &SkippedReport) -> TestCase {
    let mut status = TestCaseStatus::skipped();
    status.set_message(words::one_line(&skipped.why));
    let mut case = TestCase::new(skipped.id.0.as_str(), status);
    case.set_classname("gameday.scenarios");
    case
}

/// Whether the run came to its end and left nothing behind.
fn end(report: &Report) -> TestCase {
    let status = if report.is_unclean() {
        not(NonSuccessKind::Error, "clean-up-incomplete", &report.verdict.why)
    } else if report.clean.is_none() {
        not(NonSuccessKind::Error, "unfinished", "the record of the run stops before its end")
    } else if let Some(rule) = report.rules_unmet().first() {
        not(NonSuccessKind::Failure, "rule", rule)
    } else {
        TestCaseStatus::success()
    };
    let mut case = TestCase::new("came to its end and cleaned up", status);
    case.set_classname("gameday.run");
    case
}

fn not(kind: NonSuccessKind, what: &str, says: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(what).set_message(words::one_line(says));
    status
}
