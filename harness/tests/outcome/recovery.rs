//! Recovery, symptom and steady state on runs written by hand.

use harness::event::{Ended, PodFacts, Seen, What};
use harness::outcome::{Recovery, StepResult};
use harness::scenario::plan::BudgetFrom;

use crate::support::*;

/// `None`: not yet. `Some(None)`: absorbed. Else first good, last bad, lower and upper, in milliseconds.
type Expect = Option<Option<(u64, Option<u64>, u64, u64)>>;

fn recovery(run: &Run) -> Expect {
    let round = |duration: std::time::Duration| duration.as_millis() as u64;
    let since_start = |offset: harness::event::Offset| offset.nanos() / 1_000_000;
    match run.outcome().recovery() {
        Recovery::NotYet => None,
        Recovery::Absorbed => Some(None),
        Recovery::Recovered { first_good, last_bad, lower, upper, .. } => {
            Some(Some((since_start(first_good), last_bad.map(since_start), round(lower), round(upper))))
        }
    }
}

#[track_caller]
fn check(name: &str, expect: Expect, write: impl FnOnce(&mut Run)) {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
    write(&mut run);
    assert_eq!(recovery(&run), expect, "{name}");
}

#[test]
fn an_outage_is_an_interval() {
    // Proven at 1015, last bad sent at 2900, first good sent at 3000 and answered at 3005.
    check("plain", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 4_100, &Seen::Good);
    });
    check("hold is not over", None, |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 4_000, &Seen::Good);
    });
    check("a blip, then good for long", Some(Some((1_105, Some(1_000), 0, 105))), |run| {
        run.both(1_000, 1_100, &bad()).both(1_100, 9_000, &Seen::Good);
    });
    check("bad again within hold", Some(Some((4_105, Some(4_000), 2_985, 3_105))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 4_000, &Seen::Good);
        run.both(4_000, 4_100, &bad()).both(4_100, 5_300, &Seen::Good);
    });
    check("bad again after hold does not count", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 4_100, &Seen::Good).both(4_100, 6_000, &bad());
    });
    check("nobody looks", None, |_| {});
    check("bad to the end", None, |run| {
        run.both(1_000, 15_000, &bad());
    });
}

#[test]
fn both_series_must_be_good_at_once() {
    check("the service is back later than the pod", Some(Some((5_005, Some(4_900), 3_885, 4_005))), |run| {
        run.series("ready", &of_pod("a"), 1_000, 3_000, &bad());
        run.series("ready", &of_pod("a"), 3_000, 6_200, &Seen::Good);
        run.series("service", &service(), 1_000, 5_000, &bad());
        run.series("service", &service(), 5_000, 6_200, &Seen::Good);
    });
    check("the service never is", None, |run| {
        run.series("ready", &of_pod("a"), 1_000, 2_000, &bad());
        run.series("ready", &of_pod("a"), 2_000, 9_000, &Seen::Good);
        run.series("service", &service(), 1_000, 9_000, &bad());
    });
    check("they are good in turns", None, |run| {
        for start in (1_000..9_000).step_by(1_600) {
            run.series("ready", &of_pod("a"), start, start + 800, &bad());
            run.series("ready", &of_pod("a"), start + 800, start + 1_600, &Seen::Good);
            run.series("service", &service(), start, start + 800, &Seen::Good);
            run.series("service", &service(), start + 800, start + 1_600, &bad());
        }
    });
    check("nobody asks the service", None, |run| {
        run.series("ready", &of_pod("a"), 1_000, 2_000, &bad());
        run.series("ready", &of_pod("a"), 2_000, 9_000, &Seen::Good);
    });
}

#[test]
fn missing_samples_widen() {
    check("next to the first good one", Some(Some((3_305, Some(2_900), 1_885, 2_305))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 3_300, &missing()).both(3_300, 4_400, &Seen::Good);
    });
    check("next to the last bad one", Some(Some((3_005, Some(2_600), 1_585, 2_005))), |run| {
        run.both(1_000, 2_700, &bad()).both(2_700, 3_000, &missing()).both(3_000, 4_100, &Seen::Good);
    });
    check("two in a row break no streak", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 3_500, &Seen::Good);
        run.both(3_500, 3_700, &missing()).both(3_700, 4_100, &Seen::Good);
    });
    check("three in a row do", Some(Some((3_805, Some(2_900), 1_885, 2_805))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 3_500, &Seen::Good);
        run.both(3_500, 3_800, &missing()).both(3_800, 4_900, &Seen::Good);
    });
    check("a gap without a word does too", Some(Some((3_805, Some(2_900), 1_885, 2_805))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 3_500, &Seen::Good).both(3_800, 4_900, &Seen::Good);
        // Long enough after it that nothing can still be on its way.
        run.put(9_000, What::FaultDone);
    });
    check("a slower rate is no gap", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 3_400, &Seen::Good);
        let check = harness::scenario::plan::CheckName("service".to_owned());
        run.put(3_399, What::SamplingAt { check, interval: millis(300), reason: None });
        for sent in [3_700, 4_000, 4_300] {
            run.look(sent, "service", &service(), Seen::Good);
        }
        run.series("ready", &of_pod("a"), 3_400, 4_400, &Seen::Good);
    });
}

#[test]
fn samples_count_by_the_time_they_were_sent() {
    check(
        "bad ones that hang are older than good ones that do not",
        Some(Some((3_005, Some(2_900), 1_885, 2_005))),
        |run| {
            for subject in [("ready", of_pod("a")), ("service", service())] {
                for sent in (1_000..3_000).step_by(100) {
                    run.slow_look(sent, sent + 800, subject.0, &subject.1, bad());
                }
            }
            run.both(3_000, 4_100, &Seen::Good);
        },
    );
    check("right, but later than `slow`", None, |run| {
        run.both(1_000, 2_000, &bad());
        for sent in (2_000..6_000).step_by(100) {
            run.slow_look(sent, sent + 501, "service", &service(), Seen::Good);
            run.look(sent, "ready", &of_pod("a"), Seen::Good);
        }
    });
    check("right at `slow`", Some(Some((2_500, Some(1_900), 885, 1_500))), |run| {
        run.both(1_000, 2_000, &bad());
        for sent in (2_000..3_600).step_by(100) {
            run.slow_look(sent, sent + 500, "service", &service(), Seen::Good);
            run.look(sent, "ready", &of_pod("a"), Seen::Good);
        }
    });
    check("the first good answer counts when it was there", Some(Some((2_400, Some(1_900), 885, 1_400))), |run| {
        run.both(1_000, 2_000, &bad()).both(2_100, 3_200, &Seen::Good);
        run.look(2_000, "ready", &of_pod("a"), Seen::Good);
        run.slow_look(2_000, 2_400, "service", &service(), Seen::Good);
    });
}

#[test]
fn a_sample_on_its_way_is_waited_for() {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
    run.both(1_000, 3_000, &bad()).series("ready", &of_pod("a"), 3_000, 4_100, &Seen::Good);
    run.series("service", &service(), 3_000, 3_500, &Seen::Good).series(
        "service",
        &service(),
        3_600,
        4_100,
        &Seen::Good,
    );
    assert_eq!(recovery(&run), None, "what was sent at 3500 has not come back");

    let mut hung = run.clone();
    hung.slow_look(3_500, 4_300, "service", &service(), bad());
    assert_eq!(recovery(&hung), None, "it is bad");
    hung.both(4_100, 4_800, &Seen::Good);
    assert_eq!(recovery(&hung), Some(Some((3_605, Some(3_500), 2_485, 2_605))));

    let mut lost = run.clone();
    lost.put(6_000, What::FaultDone);
    assert_eq!(recovery(&lost), Some(Some((3_005, Some(2_900), 1_885, 2_005))), "it never will");
    run.put(4_200, What::ScenarioEnded(Ended::Completed));
    assert_eq!(recovery(&run), Some(Some((3_005, Some(2_900), 1_885, 2_005))), "nothing follows the end");
}

#[test]
fn absorbed_takes_the_whole_watch() {
    // Budget 10 s and hold 1 s from the fault at 1 s.
    check("good throughout", Some(None), |run| {
        run.both(1_000, 12_100, &Seen::Good);
    });
    check("not to the end", None, |run| {
        run.both(1_000, 11_900, &Seen::Good);
    });
    check(
        "nobody looked for a while, so it may have been down: an upper end and no lower one",
        Some(Some((5_005, None, 0, 4_005))),
        |run| {
            run.both(1_000, 4_000, &Seen::Good).both(5_000, 14_000, &Seen::Good);
        },
    );
    check("nobody looked at first", Some(Some((2_005, None, 0, 1_005))), |run| {
        run.both(2_000, 14_000, &Seen::Good);
    });
    check("a late symptom", Some(Some((7_005, Some(6_900), 5_885, 6_005))), |run| {
        run.both(1_000, 6_000, &Seen::Good).both(6_000, 7_000, &bad()).both(7_000, 9_000, &Seen::Good);
    });
}

#[test]
fn without_proof_nothing_is_decided() {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).put(1_000, What::FaultSent);
    run.both(1_000, 3_000, &bad()).both(3_000, 9_000, &Seen::Good);
    assert_eq!(recovery(&run), None);
    assert_eq!(run.outcome().fault_time(), None);
    assert_eq!(run.outcome().fault_sent_at(), Some(at(1_000)));
    assert_eq!(run.outcome().deadline(), Some(at(1_000 + 10_000 + 1_000 + 500 + 100)));
}

fn terminating(name: &str) -> PodFacts {
    PodFacts { terminating: true, ..pod(name, true) }
}

#[test]
fn pods_come_and_go() {
    check(
        "a pod that is not ready holds the first good moment back",
        Some(Some((4_500, Some(2_900), 1_885, 3_500))),
        |run| {
            run.put(1_500, What::PodSeen(pod("a", false))).put(4_500, What::PodSeen(pod("a", true)));
            run.both(1_000, 3_000, &bad()).both(3_000, 5_700, &Seen::Good);
        },
    );
    check("a missing replica is bad while it lasts", None, |run| {
        run.put(1_500, What::PodGone { name: "a".to_owned(), uid: "uid-a".to_owned() });
        run.series("service", &service(), 1_000, 2_000, &bad()).series(
            "service",
            &service(),
            2_000,
            9_000,
            &Seen::Good,
        );
    });
    check("its replacement must be good by itself", Some(Some((4_005, Some(3_900), 2_885, 3_005))), |run| {
        run.put(1_500, What::PodSeen(terminating("a")));
        run.put(1_600, What::PodSeen(pod("b", false))).put(3_500, What::PodSeen(pod("b", true)));
        run.put(3_600, What::PodGone { name: "a".to_owned(), uid: "uid-a".to_owned() });
        run.series("ready", &of_pod("a"), 1_000, 1_400, &Seen::Good);
        run.series("ready", &of_pod("a"), 1_500, 3_600, &bad());
        run.series("ready", &of_pod("b"), 1_600, 4_000, &bad());
        run.series("ready", &of_pod("b"), 4_000, 5_100, &Seen::Good);
        run.series("service", &service(), 1_000, 5_100, &Seen::Good);
    });
    check("a pod that leaves asks for nothing", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.put(1_001, What::PodSeen(pod("b", true))).put(1_200, What::PodSeen(terminating("b")));
        run.series("ready", &of_pod("b"), 1_200, 9_000, &bad());
        run.both(1_000, 3_000, &bad()).both(3_000, 4_100, &Seen::Good);
    });
    check("a pod more that never is good stands in the way", None, |run| {
        run.put(1_001, What::PodSeen(pod("b", false)));
        run.series("ready", &of_pod("b"), 1_100, 9_000, &bad());
        run.both(1_000, 3_000, &bad()).both(3_000, 9_000, &Seen::Good);
    });
    check("until it leaves", Some(Some((5_000, Some(4_900), 3_885, 4_000))), |run| {
        run.put(1_001, What::PodSeen(pod("b", false))).put(5_000, What::PodSeen(terminating("b")));
        run.series("ready", &of_pod("b"), 1_100, 5_000, &bad());
        run.both(1_000, 3_000, &bad()).both(3_000, 6_200, &Seen::Good);
    });
    check("a pod of another workload does not matter", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.put(1_001, What::PodSeen(pod("redis-1", false)));
        run.both(1_000, 3_000, &bad()).both(3_000, 4_100, &Seen::Good);
    });
    check("an evicted pod does not matter", Some(Some((3_005, Some(2_900), 1_885, 2_005))), |run| {
        run.put(1_001, What::PodSeen(PodFacts { phase: "Failed".to_owned(), ..pod("b", false) }));
        run.both(1_000, 3_000, &bad()).both(3_000, 4_100, &Seen::Good);
    });
    check("only the pod was missing, no sample was bad", Some(Some((2_000, None, 0, 1_000))), |run| {
        run.put(1_500, What::PodSeen(pod("a", false))).put(2_000, What::PodSeen(pod("a", true)));
        run.both(1_000, 3_100, &Seen::Good);
    });
}

#[test]
fn the_symptom_is_known_when_its_sample_is_done() {
    #[track_caller]
    fn check(name: &str, expect: Option<u64>, write: impl FnOnce(&mut Run)) {
        let mut run = Run::of_one_pod(plan());
        run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
        write(&mut run);
        assert_eq!(run.outcome().symptom(), expect.map(at), "{name}");
    }
    check("none", None, |run| {
        run.both(1_000, 3_000, &Seen::Good);
    });
    check("refused at once", Some(1_205), |run| {
        run.both(1_000, 1_200, &Seen::Good).both(1_200, 2_000, &bad());
    });
    check("hung", Some(2_000), |run| {
        run.slow_look(1_200, 2_000, "service", &service(), bad());
    });
    check("late", Some(1_800), |run| {
        run.slow_look(1_200, 1_800, "service", &service(), Seen::Good);
    });
    check("sent before the fault", None, |run| {
        run.slow_look(999, 1_700, "service", &service(), bad());
    });
    check("missing is not bad", None, |run| {
        run.both(1_000, 3_000, &missing());
    });
    check("a proof check has no symptoms", None, |run| {
        run.look(1_500, "redis", &of_pod("redis-0"), bad());
    });
}

#[test]
fn a_budget_from_the_remedy_counts_from_its_first_step() {
    let mut run = Run::of_one_pod(remedy_plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000).both(1_000, 2_000, &bad());
    assert_eq!(run.outcome().deadline(), None, "it has not started");
    assert_eq!(run.outcome().step_result(0), StepResult::NotSent);

    run.put(2_000, What::StepSent { step: 0 }).both(2_000, 3_000, &bad());
    assert_eq!(run.outcome().deadline(), Some(at(2_000 + 10_000 + 1_000 + 500 + 100)));
    assert_eq!(run.outcome().step_result(0), StepResult::Watching);

    let mut helped = run.clone();
    helped.both(3_000, 4_100, &Seen::Good);
    assert_eq!(recovery(&helped), Some(Some((3_005, Some(2_900), 900, 1_005))));
    assert_eq!(helped.outcome().step_result(0), StepResult::Recovered);
    assert_eq!(helped.outcome().step_result(1), StepResult::NotSent);

    run.both(3_000, 4_000, &bad()).put(4_001, What::FaultDone);
    assert_eq!(run.outcome().step_result(0), StepResult::NotRecovered, "its 2 s are over");
    run.put(4_100, What::StepSent { step: 1 }).both(4_000, 5_000, &bad()).both(5_000, 6_100, &Seen::Good);
    let outcome = run.outcome();
    assert_eq!(recovery(&run), Some(Some((5_005, Some(4_900), 2_900, 3_005))), "still from the first step");
    assert!(matches!(outcome.recovery(), Recovery::Recovered { from: BudgetFrom::Remedy, .. }));
    assert_eq!([outcome.step_result(0), outcome.step_result(1)], [StepResult::NotRecovered, StepResult::Recovered]);
}

#[test]
fn a_system_that_heals_itself_needs_no_remedy() {
    let mut run = Run::of_one_pod(remedy_plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
    run.both(1_000, 2_000, &bad()).both(2_000, 3_200, &Seen::Good);
    assert_eq!(recovery(&run), Some(Some((2_005, Some(1_900), 0, 0))));
    run.put(3_300, What::StepSent { step: 0 });
    assert_eq!(recovery(&run), Some(Some((2_005, Some(1_900), 0, 0))));
    assert_eq!(run.outcome().step_result(0), StepResult::NotSent, "it did not do it");
}

#[test]
fn steps_that_never_help() {
    let mut run = Run::of_one_pod(remedy_plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000).both(1_000, 20_000, &bad());
    run.put(2_000, What::StepSent { step: 0 }).put(2_050, What::StepDone { step: 0, output: "restarted".to_owned() });
    run.put(5_000, What::StepSent { step: 1 });
    run.put(5_050, What::StepFailed { step: 1, error: "pod not found".to_owned() });
    let outcome = run.outcome();
    assert_eq!([outcome.step_result(0), outcome.step_result(1)], [StepResult::NotRecovered; 2]);
    assert_eq!(outcome.steps()[0].output, "restarted");
    assert_eq!(
        (outcome.steps()[1].done, outcome.steps()[1].error.as_deref()),
        (Some(at(5_050)), Some("pod not found"))
    );
    assert_eq!(outcome.step_result(2), StepResult::NotSent, "there is no third one");
}

#[test]
fn nobody_runs_a_remedy_for_what_nobody_feels() {
    let mut run = Run::of_one_pod(remedy_plan());
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000).both(1_000, 1_900, &Seen::Good);
    assert_eq!(recovery(&run), None);
    run.both(1_900, 2_200, &Seen::Good);
    assert_eq!(recovery(&run), Some(None), "good for `hold` after the proof");
    run.put(2_300, What::StepSent { step: 0 });
    assert_eq!(recovery(&run), None, "once it is sent, its budget is watched");
}

#[test]
fn steady() {
    #[track_caller]
    fn check(name: &str, expect: bool, write: impl FnOnce(&mut Run)) {
        let mut run = Run::new(plan());
        write(&mut run);
        assert_eq!(run.outcome().is_steady(at(5_000), millis(2_000)), expect, "{name}");
    }
    fn seen(run: &mut Run, name: &str, ready: bool) {
        run.put(0, What::PodSeen(pod(name, ready)));
    }
    check("nothing is known", false, |_| {});
    check("good, one pod", true, |run| {
        seen(run, "a", true);
        run.both(3_000, 5_000, &Seen::Good);
    });
    check("bad before the window", true, |run| {
        seen(run, "a", true);
        run.both(0, 3_000, &bad()).both(3_000, 5_000, &Seen::Good);
    });
    check("bad in the window", false, |run| {
        seen(run, "a", true);
        run.both(3_000, 5_000, &Seen::Good).look(4_050, "service", &service(), bad());
    });
    check("late in the window", false, |run| {
        seen(run, "a", true);
        run.both(3_000, 5_000, &Seen::Good).slow_look(4_050, 4_600, "service", &service(), Seen::Good);
    });
    check("good since less than the window", false, |run| {
        seen(run, "a", true);
        run.both(3_400, 5_000, &Seen::Good);
    });
    check("a gap", false, |run| {
        seen(run, "a", true);
        run.both(3_000, 4_000, &Seen::Good).both(4_300, 5_000, &Seen::Good);
    });
    check("two missing", true, |run| {
        seen(run, "a", true);
        run.both(3_000, 4_000, &Seen::Good).both(4_000, 4_200, &missing()).both(4_200, 5_000, &Seen::Good);
    });
    check("nothing lately", false, |run| {
        seen(run, "a", true);
        run.both(3_000, 4_100, &Seen::Good);
    });
    check("no pods", false, |run| {
        run.both(3_000, 5_000, &Seen::Good);
    });
    check("a pod is not ready", false, |run| {
        seen(run, "a", true);
        seen(run, "b", false);
        run.both(3_000, 5_000, &Seen::Good).series("ready", &of_pod("b"), 3_000, 5_000, &Seen::Good);
    });
    check("nobody asks one of the pods", false, |run| {
        seen(run, "a", true);
        seen(run, "b", true);
        run.both(3_000, 5_000, &Seen::Good);
    });
    check("two pods", true, |run| {
        seen(run, "a", true);
        seen(run, "b", true);
        run.both(3_000, 5_000, &Seen::Good).series("ready", &of_pod("b"), 3_000, 5_000, &Seen::Good);
    });
    check("one of two pods of the evidence is gone", false, |run| {
        run.put(0, What::Evidence { pods: vec![pod("a", true), pod("b", true)] });
        run.put(4_000, What::PodGone { name: "b".to_owned(), uid: "uid-b".to_owned() });
        run.both(3_000, 5_000, &Seen::Good);
    });
    check("a pod more than the evidence has", false, |run| {
        run.put(0, What::Evidence { pods: vec![pod("a", true)] });
        run.put(1_000, What::PodSeen(pod("b", true)));
        run.both(3_000, 5_000, &Seen::Good).series("ready", &of_pod("b"), 3_000, 5_000, &Seen::Good);
    });
    check("a pod that left is bad", true, |run| {
        run.put(0, What::Evidence { pods: vec![pod("a", true), PodFacts { terminating: true, ..pod("b", true) }] });
        run.both(3_000, 5_000, &Seen::Good).series("ready", &of_pod("b"), 3_000, 5_000, &bad());
    });
    check("a listing does not bring a gone pod back", true, |run| {
        run.put(0, What::PodSeen(pod("b", true)));
        run.put(1, What::PodGone { name: "b".to_owned(), uid: "uid-b".to_owned() });
        run.put(2, What::Evidence { pods: vec![pod("a", true), pod("b", true)] });
        run.both(3_000, 5_000, &Seen::Good);
    });
}

/// A fault sent at 1000, felt as a blip, and proven only at 4015.
fn proven_late(write: impl FnOnce(&mut Run)) -> Expect {
    let mut run = Run::of_one_pod(plan());
    run.both(0, 1_000, &Seen::Good).look(950, "redis", &of_pod("redis-0"), Seen::Good).put(1_000, What::FaultSent);
    run.both(1_000, 1_100, &bad()).both(1_100, 4_000, &Seen::Good);
    run.look(4_010, "redis", &of_pod("redis-0"), bad());
    write(&mut run);
    recovery(&run)
}

#[test]
fn the_calm_before_a_slow_fault_is_no_recovery() {
    let outage = proven_late(|run| {
        run.both(4_000, 6_000, &bad()).both(6_000, 9_000, &Seen::Good);
    });
    assert_eq!(outage, None, "good for longer than hold, and then the fault bit");
    let quiet = proven_late(|run| {
        run.both(4_000, 4_900, &Seen::Good);
    });
    assert_eq!(quiet, None, "hold after the proof is not over");
    let absorbed = proven_late(|run| {
        run.both(4_000, 5_300, &Seen::Good);
    });
    assert_eq!(absorbed, Some(Some((1_105, Some(1_000), 0, 105))), "good from the blip to hold after the proof");
}
