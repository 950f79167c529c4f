//! Runs with a checklist and a soak.

use std::time::Duration;

use harness::checklist::{Checked, Finding, Item};
use harness::event::{Event, Rules, StageResult, What};
use harness::report::{self, Report};
use harness::scenario::plan::LoadPlan;
use harness::soak::metric::{Metric, Reading};
use harness::soak::{Look, SoakPlan};
use harness::verdict::Exit;

use crate::runs::Run;

fn plan() -> SoakPlan {
    let memory = Metric {
        name: "memory usage".to_owned(),
        unit: "%".to_owned(),
        read: Reading::HealthMax("/memory_usage_percent".to_owned()),
        warning: 70.0,
        critical: 85.0,
    };
    SoakPlan {
        length: Duration::from_secs(20),
        every: Duration::from_secs(5),
        warm_up: Duration::from_secs(5),
        persists: 3,
        workload: "deployment/backend".parse().expect("it is a workload"),
        service: "backend".to_owned(),
        port: 8000,
        load: LoadPlan { requests_per_second: 50.0, path: "/".to_owned(), ..LoadPlan::default() },
        metrics: vec![memory],
        source: "RUNBOOK.md, Key Metrics to Watch".to_owned(),
    }
}

/// A soak with these memory values, one every 5 s.
fn soaked(memory: &[Option<f64>], rules: Rules) -> Vec<Event> {
    let mut run = Run::deployed();
    run.put(1, What::RulesSet(rules)).put(1_000, What::StageStarted { stage: "soak".to_owned() });
    run.put(1_000, What::SoakStarted(Box::new(plan())));
    let mut at = 6_000;
    for value in memory {
        at += 5_000;
        let values = value.iter().map(|value| ("memory usage".to_owned(), *value)).collect();
        run.put(at, What::SoakLooked(Look { pods: 3, restarts: 0, values }));
    }
    let is_bad = memory.iter().flatten().filter(|value| **value > 85.0).count() >= 3;
    let result = if is_bad { StageResult::Failed { error: "memory".to_owned() } } else { StageResult::Done };
    run.put(at, What::StageFinished { stage: "soak".to_owned(), result, facts: Vec::new() });
    run.over(at + 1_000, true)
}

#[test]
fn what_a_soak_comes_to() {
    let strict = Rules { strict: true, require: None };
    let check = |memory: &[Option<f64>], rules, expect: Exit| {
        let report = Report::of(&soaked(memory, rules));
        assert_eq!(report.exit(), expect, "{memory:?}: {:?}", report.verdict);
        assert!(!report.verdict.why.is_empty());
        let again: Report = serde_json::from_str(&report::json(&report)).unwrap();
        assert_eq!((again.exit(), &again), (expect, &report));
    };
    check(&[Some(10.0); 4], Rules::default(), Exit::Pass);
    check(&[Some(75.0); 4], Rules::default(), Exit::Pass);
    check(&[Some(75.0); 4], strict, Exit::GateFailed);
    check(&[Some(10.0), Some(90.0), Some(91.0), Some(92.5)], Rules::default(), Exit::GateFailed);
    check(&[None; 4], Rules::default(), Exit::Inconclusive);
    check(&[Some(10.0)], Rules::default(), Exit::Inconclusive);
}

#[test]
fn a_soak_and_a_checklist_read_well() {
    let mut events = soaked(&[Some(10.0), Some(90.0), Some(91.0), Some(92.5)], Rules::default());
    let checked = |item, finding| Checked { item, finding };
    let list = What::ChecklistTaken(vec![
        checked(Item::TestsPassed, Finding::Passed { evidence: "900 tests".to_owned() }),
        checked(Item::BackupVerified, Finding::Unknown { why: "nothing has verified a backup".to_owned() }),
        checked(Item::RollbackPlan, Finding::NotPassed { why: "no previous revision".to_owned() }),
        checked(
            Item::SmokeInStaging,
            Finding::Waived { reason: "no staging".to_owned(), found: "unknown: none".to_owned() },
        ),
        checked(Item::WindowAnnounced, Finding::Stated { words: "14:00".to_owned() }),
    ]);
    let place = events.len() - 1;
    events.insert(place, Event { at: events[place].at, scenario: None, what: list });
    let report = Report::of(&events);
    insta::assert_snapshot!("soaked-terminal", report::terminal(&report).replace('\u{1b}', ""));
    insta::assert_snapshot!("soaked-markdown", report::markdown(&report));
    insta::assert_snapshot!("soaked-junit", report::junit(&report));
}
