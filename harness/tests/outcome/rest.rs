//! Proof, sums, and what belongs to other scenarios.

use std::time::Duration;

use harness::event::{Baseline, Ended, Event, LoadSecond, Phase, PodFacts, Sample, Seen, What};
use harness::scenario::plan::{CheckName, ContainerEnded, Plan, Proof, ScenarioId};

use crate::support::*;

fn ping(run: &mut Run, sent: u64, seen: Seen, value: Option<&str>) {
    let sample = Sample {
        check: CheckName("redis".to_owned()),
        subject: of_pod("redis-0"),
        intended: at(sent),
        sent: at(sent),
        done: at(sent + 5),
        seen,
        value: value.map(str::to_owned),
    };
    run.put(sent + 5, What::Sample(sample));
}

#[track_caller]
fn proof(name: &str, rule: Proof, expect: Option<u64>, write: impl FnOnce(&mut Run)) {
    let mut run = Run::of_one_pod(Plan { proof: vec![rule], ..plan() });
    ping(&mut run, 900, Seen::Good, Some("run-1"));
    run.put(1_000, What::FaultSent);
    write(&mut run);
    let outcome = run.outcome();
    assert_eq!(outcome.fault_time(), expect.map(|proven| (at(1_000), at(proven))), "{name}");
    assert_eq!(outcome.proof()[0].at, expect.map(at), "{name}");
}

fn seen(run: &mut Run, millis: u64, pod: PodFacts) {
    run.put(millis, What::PodSeen(pod));
}

#[test]
fn proof_by_a_failed_check() {
    let rule = || Proof::CheckFailed(CheckName("redis".to_owned()));
    proof("it fails", rule(), Some(1_105), |run| ping(run, 1_100, bad(), None));
    proof("the first failure counts", rule(), Some(1_105), |run| {
        ping(run, 1_100, bad(), None);
        ping(run, 1_200, bad(), None);
    });
    proof("it goes on", rule(), None, |run| ping(run, 1_100, Seen::Good, None));
    proof("we could not look", rule(), None, |run| ping(run, 1_100, missing(), None));
    proof("it was sent before the fault", rule(), None, |run| ping(run, 999, bad(), None));
    proof("it failed before the fault as well", rule(), None, |run| {
        ping(run, 950, bad(), None);
        ping(run, 1_100, bad(), None);
    });
    proof("another check fails", rule(), None, |run| {
        run.look(1_100, "service", &service(), bad());
    });
    proof("a right answer that is late", rule(), Some(1_700), |run| {
        run.slow_look(1_100, 1_700, "redis", &of_pod("redis-0"), Seen::Good);
    });
}

#[test]
fn proof_by_another_value() {
    let rule = || Proof::ValueChanged(CheckName("redis".to_owned()));
    proof("another run_id", rule(), Some(1_205), |run| {
        ping(run, 1_100, Seen::Good, Some("run-1"));
        ping(run, 1_200, Seen::Good, Some("run-2"));
    });
    proof("the same run_id", rule(), None, |run| ping(run, 1_100, Seen::Good, Some("run-1")));
    proof("no answer", rule(), None, |run| ping(run, 1_100, bad(), None));
    proof("a value known from before", rule(), None, |run| {
        ping(run, 950, Seen::Good, Some("run-2"));
        ping(run, 1_100, Seen::Good, Some("run-2"));
    });
    let mut run = Run::of_one_pod(Plan { proof: vec![rule()], ..plan() });
    run.put(1_000, What::FaultSent);
    ping(&mut run, 1_100, Seen::Good, Some("run-2"));
    assert_eq!(run.outcome().fault_time(), None, "nothing is known from before");
}

#[test]
fn proof_by_pods() {
    let restarted = || PodFacts { restarts: 1, ..pod("redis-0", false) };
    let replaced = || PodFacts { container_ids: vec!["other".to_owned()], ..pod("redis-0", false) };
    let empty = || PodFacts { container_ids: Vec::new(), ..pod("redis-0", false) };
    let new = || PodFacts { uid: "uid-new".to_owned(), ..pod("redis-0", false) };
    let leaving = || PodFacts { terminating: true, ..pod("redis-0", true) };
    let gone = || What::PodGone { name: "redis-0".to_owned(), uid: "uid-redis-0".to_owned() };

    let rule = || Proof::ContainerReplaced(redis());
    proof("one restart more", rule(), Some(1_200), |run| seen(run, 1_200, restarted()));
    proof("another container id", rule(), Some(1_200), |run| seen(run, 1_200, replaced()));
    proof("no container at the moment", rule(), None, |run| seen(run, 1_200, empty()));
    proof("only not ready", rule(), None, |run| seen(run, 1_200, pod("redis-0", false)));
    proof("another pod", rule(), None, |run| seen(run, 1_200, new()));
    proof("a backend restarts", rule(), None, |run| seen(run, 1_200, PodFacts { restarts: 1, ..pod("a", true) }));
    proof("it restarted before the fault", rule(), None, |run| {
        seen(run, 990, restarted());
        seen(run, 1_200, restarted());
    });

    let rule = || Proof::ContainerEnded(ContainerEnded { of: redis(), reason: "OOMKilled".to_owned() });
    let ended = |reason: &str| PodFacts { ended: Some(reason.to_owned()), ..pod("redis-0", false) };
    proof("its container ended so", rule(), Some(1_200), |run| seen(run, 1_200, ended("OOMKilled")));
    proof("it ended in another way", rule(), None, |run| seen(run, 1_200, ended("Error")));
    proof("a new pod's container ended so", rule(), Some(1_200), |run| {
        seen(run, 1_200, PodFacts { uid: "uid-new".to_owned(), ..ended("OOMKilled") });
    });
    proof("one of another workload", rule(), None, |run| {
        seen(run, 1_200, PodFacts { ended: Some("OOMKilled".to_owned()), ..pod("a", true) });
    });
    proof("it ended so before the fault", rule(), None, |run| {
        seen(run, 990, ended("OOMKilled"));
        seen(run, 1_200, ended("OOMKilled"));
    });
    proof("it ended so before the fault, and once more", rule(), Some(1_200), |run| {
        seen(run, 990, ended("OOMKilled"));
        seen(run, 1_200, PodFacts { restarts: 1, ..ended("OOMKilled") });
    });

    let rule = || Proof::PodReplaced(redis());
    proof("a new uid", rule(), Some(1_200), |run| {
        seen(run, 1_200, new());
        seen(run, 1_300, new());
    });
    proof("the same uid", rule(), None, |run| seen(run, 1_200, restarted()));
    proof("a new backend", rule(), None, |run| seen(run, 1_200, pod("b", true)));
    proof("new, but before the fault", rule(), None, |run| {
        seen(run, 990, new());
        seen(run, 1_200, new());
    });

    let rule = || Proof::PodGone(redis());
    proof("terminating", rule(), Some(1_200), |run| {
        seen(run, 1_200, leaving());
        run.put(1_500, gone());
    });
    proof("gone", rule(), Some(1_500), |run| {
        run.put(1_500, gone());
    });
    proof("still there", rule(), None, |run| seen(run, 1_200, restarted()));
    proof("a backend is gone", rule(), None, |run| {
        run.put(1_500, What::PodGone { name: "a".to_owned(), uid: "uid-a".to_owned() });
    });
    proof("it was leaving before the fault", rule(), None, |run| {
        seen(run, 990, leaving());
        seen(run, 1_200, leaving());
    });

    let rule = || Proof::PodNotReady(redis());
    proof("not ready", rule(), Some(1_200), |run| seen(run, 1_200, pod("redis-0", false)));
    proof("still ready", rule(), None, |run| seen(run, 1_200, pod("redis-0", true)));
    proof("not ready because it ends", rule(), None, |run| {
        seen(run, 1_200, PodFacts { terminating: true, ..pod("redis-0", false) });
    });
    proof("another pod, which starts", rule(), None, |run| seen(run, 1_200, new()));
    proof("a backend is not ready", rule(), None, |run| seen(run, 1_200, pod("a", false)));
    proof("it was not ready before the fault", rule(), None, |run| {
        seen(run, 990, pod("redis-0", false));
        seen(run, 1_200, pod("redis-0", false));
    });
}

#[test]
fn every_rule_must_be_met_and_the_first_evidence_counts() {
    let failed = || Proof::CheckFailed(CheckName("redis".to_owned()));
    let changed = || Proof::ValueChanged(CheckName("redis".to_owned()));
    let restarted = || Proof::ContainerReplaced(redis());
    let mut run = Run::of_one_pod(Plan { proof: vec![restarted(), Proof::AnyOf(vec![changed(), failed()])], ..plan() });
    ping(&mut run, 900, Seen::Good, Some("run-1"));
    run.put(1_000, What::FaultSent);
    ping(&mut run, 1_100, bad(), None);
    let outcome = run.outcome();
    assert_eq!(outcome.fault_time(), None, "no new container yet");
    assert_eq!(outcome.proof().iter().map(|rule| rule.at).collect::<Vec<_>>(), [None, Some(at(1_105))]);
    seen(&mut run, 2_500, PodFacts { restarts: 1, ..pod("redis-0", true) });
    assert_eq!(run.outcome().fault_time(), Some((at(1_000), at(1_105))));
    let rules: Vec<String> = run.outcome().proof().into_iter().map(|rule| rule.rule).collect();
    assert_eq!(
        rules,
        ["a pod of statefulset/redis has a new container", "check `redis` reads another value, or check `redis` fails"]
    );
}

/// A second in which nothing happened.
fn nothing() -> LoadSecond {
    LoadSecond::default()
}

#[test]
fn sums() {
    let mut run = Run::of_one_pod(plan());
    let load = |from: u64, good: u32, lost, sockets_lost| {
        let mut second = nothing();
        second.from = at(from);
        (second.requests_good, second.requests_lost) = (good, lost);
        (second.sockets_open, second.sockets_lost) = (20, sockets_lost);
        second.max_micros = 1_000 * u64::from(good);
        What::Load(second)
    };
    run.put(0, What::PhaseEntered(Phase::Settling)).put(500, What::PhaseEntered(Phase::Steady));
    run.put(1_500, load(0, 50, 0, 0)).put(2_500, load(1_000, 40, 10, 2)).put(3_500, load(2_000, 30, 20, 1));
    run.put(1_600, What::FaultSent).put(1_600, What::PhaseEntered(Phase::Fault));
    run.look(100, "service", &service(), Seen::Good);
    run.look(1_700, "service", &service(), bad());
    run.look(1_800, "service", &service(), missing());
    let check = CheckName("service".to_owned());
    let reason = Some("5 samples per pod and second at most".to_owned());
    run.put(50, What::SamplingAt { check: check.clone(), interval: millis(400), reason: reason.clone() });
    run.put(4_000, What::Note { text: "the API server said 503 twice".to_owned() });
    run.put(4_100, What::PhaseEntered(Phase::Settling));
    run.put(5_000, What::ScenarioEnded(Ended::Completed));
    let outcome = run.outcome();

    let (before, after) = outcome.load();
    assert_eq!((before.seconds, before.requests_good, before.requests_lost, before.sockets_lost), (1, 50, 0, 0));
    assert_eq!((after.seconds, after.requests_good, after.requests_lost, after.sockets_lost), (2, 70, 30, 3));
    assert_eq!((after.sockets_open_max, after.latency_max), (20, millis(40)));
    assert_eq!(
        outcome.phases(),
        [(Phase::Settling, millis(1_400)), (Phase::Steady, millis(1_100)), (Phase::Fault, millis(2_500))]
    );
    let (_, tally) = outcome.checks().find(|(name, _)| **name == check).unwrap();
    assert_eq!((tally.good, tally.bad, tally.missing, tally.interval), (1, 1, 1, millis(400)));
    assert_eq!((tally.missing_reason.as_deref(), tally.slowed_by.clone()), (Some("we slipped"), reason));
    assert_eq!(outcome.notes(), ["the API server said 503 twice"]);
    assert_eq!(outcome.ended(), Some(&Ended::Completed));
}

#[test]
fn slip_is_how_late_samples_were_sent() {
    let mut run = Run::of_one_pod(plan());
    for number in 0..100 {
        let slip = if number == 99 { 40 } else { 2 };
        let sample = Sample {
            check: CheckName("service".to_owned()),
            subject: service(),
            intended: at(number * 100),
            sent: at(number * 100 + slip),
            done: at(number * 100 + slip + 1),
            seen: Seen::Good,
            value: None,
        };
        run.put(number * 100 + slip + 1, What::Sample(sample));
    }
    let slip = run.outcome().slip();
    let near = |value: Duration, expect| value.abs_diff(millis(expect)) < Duration::from_micros(100);
    assert!(near(slip.p50, 2) && near(slip.p99, 2) && near(slip.max, 40), "{slip:?}");
}

#[test]
fn what_went_wrong_is_kept() {
    let mut run = Run::of_one_pod(plan());
    run.put(1, What::FaultFailed { error: "no such pod".to_owned() });
    run.put(2, What::HealFailed { error: "still stopped".to_owned() });
    let effect = Some("three times as many slow requests while we sample".to_owned());
    let baseline = Baseline {
        quiet_requests: 100,
        quiet_slow: 1,
        sampled_requests: 100,
        sampled_slow: 3,
        slow_above: millis(50),
        restarts: 0,
        effect: effect.clone(),
    };
    run.put(3, What::BaselineCompared(baseline.clone()));
    let outcome = run.outcome();
    assert_eq!((outcome.fault_failed(), outcome.heal_failed()), (Some("no such pod"), Some("still stopped")));
    assert_eq!((outcome.baseline(), outcome.observer_effect()), (Some(&baseline), effect.as_deref()));
    assert_eq!(outcome.healed(), None);
    run.put(4, What::Healed { facts: vec!["SIGCONT sent".to_owned()] });
    assert_eq!(run.outcome().healed(), Some(["SIGCONT sent".to_owned()].as_slice()));
}

#[test]
fn events_of_other_scenarios_change_nothing() {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000).both(1_000, 2_000, &bad());
    let mut outcome = run.outcome();
    let before = outcome.clone();
    let scenario = Some(ScenarioId("redis-lost/gone".to_owned()));
    for what in [What::FaultSent, What::ScenarioEnded(Ended::Cancelled), What::HealFailed { error: "x".to_owned() }] {
        outcome.apply(&Event { at: at(9_000), scenario: scenario.clone(), what });
    }
    assert_eq!(outcome, before);
}
