//! Reports of rollouts: one that loses nothing, one that loses, and a bad release.

use harness::event::{Event, LoadSecond, LostRequest, RolloutMoment, RolloutStep, StageResult, TrafficFacts, What};
use harness::report::Report;
use harness::verdict::Exit;

use crate::runs::{Run, at};

/// A rollout from `start` on, with the traffic of `gate.toml`.
fn rollout(run: &mut Run, stage: &str, start: u64, lost: u32) {
    let mut put = |millis: u64, step: RolloutStep| {
        run.put(millis, What::Rollout(RolloutMoment { at: at(millis), step }));
    };
    let service = || "backend".to_owned();
    let facts =
        TrafficFacts { service: service(), requests_per_second: 50.0, path: "/api/brands".to_owned(), sockets: 100 };
    put(start, RolloutStep::TrafficStarted { traffic: vec![facts] });
    put(start + 1_200, RolloutStep::TrafficFlows { service: service(), requests_good: 60, sockets_open: 100 });
    put(start + 1_210, RolloutStep::Writing);
    for number in 0..11 {
        let from = at(start + number * 1_000);
        let requests_lost = if number == 4 { lost } else { 0 };
        let second = LoadSecond {
            from,
            requests_good: 50 - requests_lost,
            requests_lost,
            sockets_open: 100,
            sockets_lost: requests_lost / 5,
            max_micros: 12_345,
            ..LoadSecond::default()
        };
        put(start + 11_000, RolloutStep::Second { service: service(), second });
    }
    for number in 0..u64::from(lost).min(20) {
        let lost =
            LostRequest { intended: at(start + 4_000 + number), fresh: number % 2 == 0, reason: "reset".to_owned() };
        put(start + 5_000, RolloutStep::RequestLost { service: service(), lost });
    }
    put(start + 8_000, RolloutStep::Settled);
    put(start + 11_000, RolloutStep::TrafficEnded);
    let stage = stage.to_owned();
    run.put(start + 11_001, What::StageFinished { stage, result: StageResult::Done, facts: Vec::new() });
}

fn deployed(lost: u32) -> Vec<Event> {
    let mut run = Run::started();
    run.put(1_000, What::StageStarted { stage: "deploy".to_owned() });
    rollout(&mut run, "deploy", 1_000, 0);
    run.put(13_000, What::StageStarted { stage: "rollback".to_owned() });
    rollout(&mut run, "rollback", 13_000, lost);
    run.over(30_000, true)
}

fn bad_release() -> Vec<Event> {
    let mut run = Run::started();
    run.put(1_000, What::StageStarted { stage: "deploy".to_owned() });
    let reason = "deployment/backend: pod backend-7d4: InvalidImageName: no".to_owned();
    for (millis, step) in [
        (1_100, RolloutStep::Writing),
        (2_000, RolloutStep::Bad { reason: reason.clone() }),
        (2_040, RolloutStep::Returning),
        (4_000, RolloutStep::Settled),
        (5_000, RolloutStep::Restored),
    ] {
        run.put(millis, What::Rollout(RolloutMoment { at: at(millis), step }));
    }
    let result = StageResult::RolledBack { reason };
    run.put(8_000, What::StageFinished { stage: "deploy".to_owned(), result, facts: Vec::new() });
    run.over(8_100, true)
}

pub(crate) fn all() -> Vec<(&'static str, Vec<Event>)> {
    vec![("rollout-lossy", deployed(30)), ("rollout-bad", bad_release())]
}

#[test]
fn what_a_rollout_loses_decides_like_a_broken_promise() {
    let check = |events: &[Event], expect: Exit| {
        let report = Report::of(events);
        assert_eq!(report.exit(), expect, "{}", report.verdict.why);
    };
    check(&deployed(0), Exit::Pass);
    check(&deployed(30), Exit::GateFailed);
    check(&bad_release(), Exit::RolledBack);
    // A run that was killed while it rolled out has shown nothing.
    let mut cut = deployed(0);
    cut.retain(|event| event.at < at(20_000));
    check(&cut, Exit::Inconclusive);
}

#[test]
fn a_bad_release_is_told_with_its_times() {
    let report = Report::of(&bad_release());
    let bad = report.rollouts[0].bad.as_ref().unwrap();
    let millis = |time: Option<harness::report::Millis>| time.map(|time| time.duration().as_millis());
    assert_eq!(millis(bad.returning_after_ms), Some(40));
    assert_eq!(millis(bad.settled_after_ms), Some(2_000));
    assert_eq!(millis(bad.restored_after_ms), Some(3_000));
    assert_eq!(report.rollouts[0].verdict, None, "there was no traffic to judge it by");
}
