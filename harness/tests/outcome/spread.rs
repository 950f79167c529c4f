//! Proof that grows and spreads, and what must stay good throughout.

use harness::event::{PodFacts, Sample, Seen, Subject, What};
use harness::outcome::Outcome;
use harness::scenario::plan::{CheckName, Plan, Proof, Role};

use crate::support::*;

fn read(run: &mut Run, sent: u64, subject: &Subject, value: &str) {
    let sample = Sample {
        check: CheckName("redis".to_owned()),
        subject: subject.clone(),
        intended: at(sent),
        sent: at(sent),
        done: at(sent + 5),
        seen: Seen::Good,
        value: Some(value.to_owned()),
    };
    run.put(sent + 5, What::Sample(sample));
}

fn leaving(name: &str) -> PodFacts {
    PodFacts { terminating: true, ..pod(name, true) }
}

/// Pods `a` and `b` read `old` before the fault at 1,000 ms.
#[track_caller]
fn proof(name: &str, rule: Proof, expect: Option<u64>, write: impl FnOnce(&mut Run)) {
    let mut run = Run::new(Plan { proof: vec![rule], ..plan() });
    run.put(0, What::Evidence { pods: vec![pod("a", true), pod("b", true), pod("redis-0", true)] });
    for one in ["a", "b"] {
        read(&mut run, 900, &of_pod(one), "7");
    }
    run.put(1_000, What::FaultSent);
    write(&mut run);
    assert_eq!(run.outcome().proof()[0].at, expect.map(at), "{name}");
    // The order in which samples come in among themselves does not matter.
    let (samples, mut events): (Vec<_>, Vec<_>) =
        run.sorted().into_iter().partition(|event| matches!(event.what, What::Sample(_)));
    events.extend(samples.into_iter().rev());
    let late = events.iter().filter(|event| matches!(event.what, What::Sample(_))).count();
    assert_eq!(fold(&run.plan, &events).proof()[0].at, expect.map(at), "{name}, {late} samples come late");
}

#[test]
fn proof_by_a_value_that_changes_at_every_pod() {
    let rule = || Proof::ValueChangedEverywhere(CheckName("redis".to_owned()));
    proof("at one of two", rule(), None, |run| read(run, 1_100, &of_pod("a"), "8"));
    proof("at both", rule(), Some(1_205), |run| {
        read(run, 1_100, &of_pod("a"), "8");
        read(run, 1_200, &of_pod("b"), "9");
    });
    proof("to what was there before", rule(), None, |run| {
        read(run, 1_100, &of_pod("a"), "7");
        read(run, 1_200, &of_pod("b"), "7");
    });
    proof("by a rollout", rule(), Some(1_500), |run| {
        run.put(1_100, What::PodSeen(pod("c", false)));
        read(run, 1_200, &of_pod("c"), "8");
        run.put(1_300, What::PodSeen(leaving("a")));
        run.put(1_350, What::PodSeen(pod("d", false)));
        read(run, 1_400, &of_pod("d"), "8");
        run.put(1_500, What::PodSeen(leaving("b")));
        run.put(1_600, What::PodGone { name: "b".to_owned(), uid: "uid-b".to_owned() });
    });
    proof("by a rollout whose last pod was not asked yet", rule(), Some(1_605), |run| {
        run.put(1_100, What::PodSeen(pod("c", false)));
        read(run, 1_200, &of_pod("c"), "8");
        run.put(1_300, What::PodSeen(leaving("a")));
        run.put(1_350, What::PodSeen(pod("d", false)));
        run.put(1_500, What::PodSeen(leaving("b")));
        read(run, 1_600, &of_pod("d"), "8");
    });
    proof("where no pod is left", rule(), None, |run| {
        run.put(1_100, What::PodSeen(leaving("a")));
        run.put(1_100, What::PodSeen(leaving("b")));
    });
}

#[test]
fn proof_by_a_number_that_grows() {
    let rule = || Proof::Grew(CheckName("redis".to_owned()));
    proof("it grows", rule(), Some(1_205), |run| {
        read(run, 1_100, &of_pod("a"), "7");
        read(run, 1_200, &of_pod("a"), "7.5");
    });
    proof("the last one before the fault counts", rule(), Some(1_105), |run| {
        read(run, 100, &of_pod("a"), "99");
        read(run, 1_100, &of_pod("a"), "8");
    });
    proof("it falls", rule(), None, |run| read(run, 1_100, &of_pod("a"), "6"));
    proof("it is no number", rule(), None, |run| read(run, 1_100, &of_pod("a"), "eight"));
    proof("a new pod begins with 0", rule(), None, |run| read(run, 1_100, &of_pod("c"), "0"));
    proof("and grows from there", rule(), Some(1_105), |run| read(run, 1_100, &of_pod("c"), "1"));
    proof("a series that nobody looked at before", rule(), None, |run| read(run, 1_100, &service(), "9"));
}

/// An outage that ends at 2,000 ms, with `service` as what must stay good.
fn throughout(write: impl FnOnce(&mut Run)) -> Outcome {
    let mut plan = plan();
    plan.checks[1].role = Role::Invariant;
    let mut run = Run::of_one_pod(plan);
    run.series("ready", &of_pod("a"), 0, 1_000, &Seen::Good);
    run.proven_fault(1_000);
    run.series("ready", &of_pod("a"), 1_000, 2_000, &bad()).series("ready", &of_pod("a"), 2_000, 4_000, &Seen::Good);
    write(&mut run);
    run.put(4_000, What::HealSent);
    run.outcome()
}

#[test]
fn what_must_stay_good_is_held_against_every_sample() {
    let check = |name: &str, broken: Option<u64>, unwatched: bool, write: &dyn Fn(&mut Run)| {
        let outcome = throughout(write);
        assert_eq!(outcome.broken_invariant().map(|bad| bad.done), broken.map(at), "{name}");
        assert_eq!(outcome.unwatched_invariant().is_some(), unwatched, "{name}");
    };
    let good = |run: &mut Run, from: u64, until: u64| {
        run.series("service", &service(), from, until, &Seen::Good);
    };
    check("good", None, false, &|run| good(run, 0, 4_000));
    check("bad once", Some(3_005), false, &|run| {
        good(run, 0, 3_000);
        run.look(3_000, "service", &service(), bad());
        good(run, 3_100, 4_000);
    });
    check("late", Some(3_600), false, &|run| {
        good(run, 0, 3_000);
        run.slow_look(3_000, 3_600, "service", &service(), Seen::Good);
    });
    check("bad before the fault, and good at it", None, false, &|run| {
        run.look(100, "service", &service(), bad());
        good(run, 200, 4_000);
    });
    check("bad at the fault", None, true, &|run| {
        good(run, 0, 900);
        run.look(950, "service", &service(), bad()).look(1_100, "service", &service(), bad());
    });
    check("bad while it is healed", None, false, &|run| {
        good(run, 0, 4_000);
        run.look(4_100, "service", &service(), bad());
    });
    check("never looked at after the fault", None, true, &|run| {
        good(run, 0, 1_000);
        run.look(1_500, "service", &service(), missing());
    });
    check("never looked at", None, true, &|_| {});
}

#[test]
fn what_a_pod_does_not_answer_before_it_was_ready_is_no_symptom() {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
    run.put(1_100, What::PodSeen(pod("b", false)));
    run.look(1_150, "ready", &of_pod("b"), bad());
    assert_eq!(run.outcome().first_bad(), None);
    run.put(1_200, What::PodSeen(pod("b", true)));
    run.look(1_250, "ready", &of_pod("b"), bad());
    assert_eq!(run.outcome().symptom(), Some(at(1_255)));
}
