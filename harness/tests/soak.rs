//! The fold of a soak: what fails it, what ends it early, and what says too little.

use std::time::Duration;

use harness::event::Offset;
use harness::scenario::plan::LoadPlan;
use harness::soak::metric::{Metric, Reading};
use harness::soak::{Look, Soak, SoakPlan, value};
use harness::verdict::Verdict;
use proptest::prelude::*;

fn plan(length: u64) -> SoakPlan {
    let metric = |name: &str, warning, critical| Metric {
        name: name.to_owned(),
        unit: "%".to_owned(),
        read: Reading::HealthMax("/x".to_owned()),
        warning,
        critical,
    };
    SoakPlan {
        length: Duration::from_secs(length),
        every: Duration::from_secs(5),
        warm_up: Duration::from_secs(5),
        persists: 3,
        workload: "deployment/backend".parse().expect("it is a workload"),
        service: "backend".to_owned(),
        port: 8000,
        load: LoadPlan::default(),
        metrics: vec![metric("memory", 70.0, 85.0), metric("hits", 80.0, 60.0)],
        source: "RUNBOOK.md".to_owned(),
    }
}

/// A look every 5 s; memory and hits, or no data.
fn soak(length: u64, seen: &[(Option<f64>, Option<f64>)]) -> Soak {
    let mut soak = Soak::new(plan(length), Offset::from_millis(1_000));
    for (place, (memory, hits)) in seen.iter().enumerate() {
        let values = [("memory", *memory), ("hits", *hits)];
        let values = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let at = Offset::from_millis(1_000 + 5_000 * (place as u64 + 1));
        soak.look(at, Look { pods: 3, restarts: 0, values });
    }
    soak
}

const GOOD: (Option<f64>, Option<f64>) = (Some(10.0), Some(99.0));
const FULL: (Option<f64>, Option<f64>) = (Some(90.0), Some(99.0));
const BLIND: (Option<f64>, Option<f64>) = (None, Some(99.0));

#[test]
fn only_what_persists_fails_it() {
    let check = |seen: &[(Option<f64>, Option<f64>)], word: &str, early: bool| {
        let soak = soak(30, seen);
        assert_eq!((soak.verdict().word(), soak.ends_early().is_some()), (word, early), "{seen:?}: {}", soak.verdict());
    };
    check(&[GOOD; 6], "pass", false);
    check(&[GOOD, FULL, FULL, GOOD, FULL, FULL], "pass", false);
    check(&[GOOD, FULL, FULL, FULL], "fail", true);
    check(&[FULL, FULL, FULL, GOOD, GOOD, GOOD], "fail", true);
    // Not to be seen is no recovery.
    check(&[FULL, FULL, BLIND, FULL], "fail", true);
    check(&[(Some(10.0), Some(50.0)); 3], "fail", true);
    check(&[(Some(80.0), Some(70.0)); 6], "pass", false);
    check(&[GOOD; 3], "inconclusive", false);
    check(&[], "inconclusive", false);
    check(&[BLIND, GOOD, GOOD, GOOD, GOOD, GOOD], "inconclusive", false);
    check(&[BLIND; 6], "inconclusive", false);
}

#[test]
fn a_restart_ends_it_at_once() {
    let mut soak = soak(30, &[GOOD]);
    soak.look(Offset::from_millis(11_000), Look { pods: 3, restarts: 2, values: [].into() });
    assert_eq!(soak.verdict(), Verdict::Fail { why: "2 container restarts".to_owned() });
}

#[test]
fn the_course_of_a_metric_keeps_its_worst() {
    let soak = soak(30, &[GOOD, FULL, BLIND, (Some(75.0), Some(70.0))]);
    let [memory, hits] = [0, 1].map(|place| soak.course(&soak.plan().metrics[place]));
    assert_eq!((memory.healthy, memory.warning, memory.critical, memory.missing), (1, 1, 1, 1));
    assert_eq!((memory.worst, memory.last, memory.critical_in_a_row), (Some(90.0), Some(75.0), 1));
    assert_eq!(hits.worst, Some(70.0), "of hits fewer are worse");
    let text = soak.plan();
    assert_eq!(serde_json::from_str::<SoakPlan>(&serde_json::to_string(text).unwrap()).unwrap(), *text);
}

#[test]
fn a_soak_that_could_not_fail_is_refused() {
    assert_eq!(plan(30).wrong(), None);
    let every = |length| plan(30).lasting(Duration::from_secs(length)).every;
    assert_eq!([every(600), every(100), every(20)], [5, 5, 1].map(Duration::from_secs));
    let check = |change: fn(&mut SoakPlan), expect: &str| {
        let mut plan = plan(30);
        change(&mut plan);
        let wrong = plan.wrong().unwrap_or_default();
        assert!(wrong.contains(expect), "{wrong}");
    };
    check(|plan| plan.metrics.clear(), "watches no metric");
    check(|plan| plan.every = Duration::ZERO, "at least one look");
    check(|plan| plan.length = Duration::from_secs(1), "at least one look");
    check(|plan| plan.persists = 0, "at least one");
    check(|plan| plan.metrics[0].critical = 70.0, "`memory` has the same bound");
    check(|plan| plan.metrics[1].name = "memory".to_owned(), "`memory` stands there twice");
}

#[test]
fn values_read_well() {
    for (number, unit, expect) in
        [(12.5, "%", "12.5 %"), (500.0, "ms", "500 ms"), (3.0, "", "3"), (1e9, "ms", "off the scale")]
    {
        assert_eq!(value(number, unit), expect);
    }
}

proptest! {
    /// Whatever follows, a soak that failed stays failed.
    #[test]
    fn a_failed_soak_stays_failed(memory in proptest::collection::vec(proptest::option::of(0.0_f64..100.0), 0..40)) {
        let mut soak = Soak::new(plan(60), Offset::ZERO);
        let mut failed = false;
        for (place, memory) in memory.iter().enumerate() {
            let values = memory.iter().map(|value| ("memory".to_owned(), *value)).collect();
            soak.look(Offset::from_millis(5_000 * (place as u64 + 1)), Look { pods: 1, restarts: 0, values });
            failed |= soak.ends_early().is_some();
            prop_assert_eq!(failed, soak.verdict().word() == "fail");
        }
    }
}
