//! Scenarios from beginning to end.

use harness::event::{Ended, Phase, What};
use harness::fault::{Annotate, ApiServer, Fault, NodeChoice, NodeDeed, NodeFault};
use harness::outcome::Recovery;
use harness::proxy::{Of, Trick};
use harness::scenario::plan::{Budget, CheckName, Plan, Proof, Symptom};
use harness::system::scripted::{Behaviour, Mode, Operation, PodFate, Script, Then, Until, Whom};
use harness::verdict::Verdict;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_redis_that_comes_back_is_a_pass() {
    let ran = run(plan(), killed()).await;
    assert_eq!(ran.verdict(), Verdict::Pass);
    assert_eq!(*ran.ended(), Ended::Completed);
    let (lower, upper) = interval(ran.outcome().recovery());
    let truth = ran.system.over().unwrap().since(ran.system.effect().unwrap());
    assert!(lower <= truth && truth <= upper, "{truth:?} is not in {lower:?}..{upper:?}");
    assert_eq!(
        ran.phases(),
        [Phase::Settling, Phase::Baseline, Phase::Steady, Phase::Fault, Phase::Healing, Phase::Settling]
    );
    assert_eq!(ran.called(Operation::Heal), 1);
    assert!(ran.system.broken().is_empty());
    assert!(ran.has(|what| matches!(what, What::BaselineCompared(baseline) if baseline.effect.is_none())));
    assert!(ran.has(|what| matches!(what, What::Load(second) if second.requests_lost > 0)), "the load felt it");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_has_no_workload_is_told_and_healed_like_any_other() {
    let annotate = Annotate { object: "ingress/web".parse().unwrap(), key: "timeout".to_owned(), value: None };
    let cut_off = Script {
        effect_after: Some(millis(5)),
        outages: vec![
            outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(1))),
            outage(Whom::Service, Mode::Hangs, 0, Until::After(seconds(3))),
        ],
        ..Script::default()
    };
    for (fault, named) in [
        (Fault::Traffic(Trick::HalfOpen { of: Of::Every, lasts: Some(seconds(3)) }), "traffic: every connection"),
        (Fault::Annotate(annotate), "annotation timeout of ingress/web removed"),
    ] {
        let plan = Plan { fault, proof: vec![Proof::CheckFailed(CheckName("redis".to_owned()))], ..plan() };
        let ran = run(plan, cut_off.clone()).await;
        assert_eq!(ran.verdict(), Verdict::Pass, "{named}");
        assert!(ran.system.broken().is_empty(), "{named}");
        let healed = ran.events.iter().find_map(|event| match &event.what {
            What::Healed { facts } => Some(facts.concat()),
            _ => None,
        });
        assert!(healed.as_ref().is_some_and(|facts| facts.starts_with(&format!("undid {named}"))), "{healed:?}");
    }
}

/// Pods are asked through the API server: while it is away nobody can say how they are.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_makes_samples_missing_and_never_bad() {
    let away = |away: u64, service: Option<u64>| {
        let unseen = |of: Whom| outage(of, Mode::Unseen, 0, Until::After(seconds(away)));
        let mut outages = vec![outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(away)))];
        outages.extend((0..3).map(|place| unseen(Whom::Pod(place))));
        outages.extend(service.map(|end| outage(Whom::Service, Mode::Refuses, 0, Until::After(seconds(end)))));
        Script { effect_after: Some(millis(5)), outages, ..Script::default() }
    };
    let plan = |through_service_alone: bool| {
        let mut plan = Plan {
            fault: Fault::ApiServer(ApiServer { lasts: seconds(20) }),
            proof: vec![Proof::CheckFailed(CheckName("redis".to_owned()))],
            symptom: Symptom::Optional,
            ..plan()
        };
        plan.checks.retain(|check| !through_service_alone || check.name.0 != "pods");
        plan
    };
    for (name, plan, script, expect) in [
        ("users feel nothing", plan(true), away(20, None), "pass"),
        ("users feel it for a while", plan(true), away(20, Some(10)), "pass"),
        ("users feel it for too long", plan(true), away(20, Some(40)), "fail"),
        ("pods are seen again within the budget", plan(false), away(20, None), "pass"),
        ("pods are not seen again within the budget", plan(false), away(50, None), "inconclusive"),
    ] {
        let ran = run(plan, script).await;
        assert_eq!(ran.verdict().word(), expect, "{name}: {}", ran.verdict());
        assert_eq!(*ran.ended(), Ended::Completed, "{name}");
        assert!(ran.system.broken().is_empty(), "{name}");
        let pods = ran.outcome().checks().find(|(check, _)| check.0 == "pods").map(|(_, tally)| tally.bad);
        assert!(pods.is_none_or(|bad| bad == 0), "{name}: {pods:?} samples of pods are bad");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_given_the_time_in_which_a_cluster_misses_it() {
    let fault = Fault::Node(NodeFault { of: NodeChoice::AnyWorker, does: NodeDeed::Stop });
    let long = Plan { fault, budget: Budget { max: seconds(600), ..plan().budget }, ..plan() };
    let ran = run(long, Script { effect_after: None, ..killed() }).await;
    let sent = ran.at(|what| matches!(what, What::FaultSent)).unwrap();
    let healed = ran.at(|what| matches!(what, What::HealSent)).unwrap();
    assert_eq!(healed.since(sent).as_secs(), 80);
    assert_eq!(ran.verdict().word(), "inconclusive");
}

#[tokio::test(start_paused = true)]
async fn verdicts_follow_from_what_happens() {
    let back_after = |end: u64| Script {
        outages: vec![
            outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(2))),
            outage(Whom::Workload, Mode::Refuses, 300, Until::After(seconds(end))),
        ],
        ..killed()
    };
    let never = Script {
        outages: vec![
            outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(2))),
            outage(Whom::Workload, Mode::Refuses, 300, Until::Healed(seconds(3600))),
        ],
        ..killed()
    };
    let one_pod = Script {
        outages: vec![
            outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(2))),
            outage(Whom::Pod(1), Mode::Hangs, 300, Until::After(seconds(50))),
        ],
        ..killed()
    };
    let unfelt = Script { outages: vec![killed().outages[0]], ..killed() };
    let toothless = Script { effect_after: None, ..killed() };
    let unproven = Script { outages: vec![killed().outages[1]], pod: PodFate::Stays, ..killed() };
    let optional = Plan { symptom: Symptom::Optional, ..plan() };
    let rows: [(&str, Plan, Script, &str); 9] = [
        ("well within the budget", plan(), back_after(10), "pass"),
        ("just before the end of the budget", plan(), back_after(30), "inconclusive"),
        ("beyond the budget", plan(), back_after(32), "fail"),
        ("never", plan(), never, "fail"),
        ("one pod hangs behind a healthy service", plan(), one_pod, "fail"),
        ("absorbed, where a symptom is required", plan(), unfelt.clone(), "inconclusive"),
        ("absorbed, where none is", optional, unfelt, "pass"),
        ("a fault that does not bite", plan(), toothless, "inconclusive"),
        ("a symptom without a proof", plan(), unproven, "inconclusive"),
    ];
    for (name, plan, script, expect) in rows {
        let ran = run(plan, script).await;
        assert_eq!(ran.verdict().word(), expect, "{name}: {}", ran.verdict());
        assert_eq!(*ran.ended(), Ended::Completed, "{name}");
        assert_eq!(ran.called(Operation::Heal), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_toothless_fault_is_given_up_before_the_budget_is_over() {
    let long = Plan { budget: Budget { max: seconds(600), ..plan().budget }, ..plan() };
    let ran = run(long, Script { effect_after: None, ..killed() }).await;
    let sent = ran.at(|what| matches!(what, What::FaultSent)).unwrap();
    let healed = ran.at(|what| matches!(what, What::HealSent)).unwrap();
    assert_eq!(healed.since(sent).as_secs(), 30);
    assert!(ran.notes().iter().any(|note| note.contains("neither a proof nor a symptom")), "{:?}", ran.notes());
}

#[tokio::test(start_paused = true)]
async fn remedies_are_sent_in_turn_and_watched() {
    let ran = run(remedy_plan(&[RESTART, DELETE]), hung(1)).await;
    assert_eq!(ran.verdict(), Verdict::Pass);
    let sent = |step: usize| ran.at(|what| matches!(what, What::StepSent { step: sent } if *sent == step)).unwrap();
    let symptom = ran.outcome().symptom().unwrap();
    let (_, proven) = ran.outcome().fault_time().unwrap();
    assert!(sent(0) >= symptom.max(proven), "the first step needs proof and symptom");
    assert_eq!(sent(1).since(sent(0)).as_secs(), 6, "the first step is watched");
    let (lower, upper) = interval(ran.outcome().recovery());
    // The budget runs from the first step: 6 s of watching, 1 s of recovery.
    let truth = ran.system.over().unwrap().since(sent(0));
    assert!(lower <= truth && truth <= upper, "{truth:?} is not in {lower:?}..{upper:?}");
    assert_eq!(ran.phases()[3..], [Phase::Fault, Phase::Remedy, Phase::Healing, Phase::Settling]);
}

#[tokio::test(start_paused = true)]
async fn no_step_follows_a_recovery() {
    let ran = run(remedy_plan(&[RESTART, DELETE]), hung(0)).await;
    assert_eq!(ran.verdict(), Verdict::Pass);
    assert_eq!(ran.called(Operation::CarryOut), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_on_its_way_is_let_show_itself() {
    // Good again 4 s after the step; its watch of 6 s ends before the hold of 4 s does.
    let until = Until::Step(0, seconds(4));
    let script = Script {
        outages: vec![outage(Whom::Redis, Mode::Hangs, 0, until), outage(Whom::Workload, Mode::Refuses, 500, until)],
        ..hung(0)
    };
    let ran = run(remedy_plan(&[RESTART, DELETE]), script).await;
    assert_eq!(ran.called(Operation::CarryOut), 1);
    assert_eq!(ran.verdict(), Verdict::Pass);
}

#[tokio::test(start_paused = true)]
async fn a_remedy_that_never_helps_is_a_fail() {
    let ran = run(remedy_plan(&[RESTART, DELETE]), hung(7)).await;
    assert_eq!(ran.verdict().word(), "fail", "{}", ran.verdict());
    assert_eq!(ran.called(Operation::CarryOut), 2);
    let first = ran.at(|what| matches!(what, What::StepSent { step: 0 })).unwrap();
    let healed = ran.at(|what| matches!(what, What::HealSent)).unwrap();
    // Budget 30 s, hold 4 s, slow 1 s, one interval.
    assert_eq!(healed.since(first).as_secs(), 35);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_is_recorded_and_the_next_one_follows_at_once() {
    let fails = Behaviour { weather: 0, then: Then::Fails, takes: millis(10) };
    let script = Script { calls: [(Operation::CarryOut, fails)].into(), ..hung(1) };
    let ran = run(remedy_plan(&[RESTART, DELETE]), script).await;
    assert!(ran.has(|what| matches!(what, What::StepFailed { step: 0, .. })));
    assert!(ran.has(|what| matches!(what, What::StepFailed { step: 1, .. })));
    let sent = |step: usize| ran.at(|what| matches!(what, What::StepSent { step: sent } if *sent == step)).unwrap();
    assert!(sent(1).since(sent(0)) < seconds(1));
    assert_eq!(ran.verdict().word(), "fail", "{}", ran.verdict());
}

#[tokio::test(start_paused = true)]
async fn a_system_that_recovers_before_its_remedy_gets_none() {
    // The proof is there after 800 ms, but nothing is felt before the first step must wait for it.
    let script = Script { outages: vec![killed().outages[0]], ..killed() };
    let ran = run(remedy_plan(&[DELETE]), script).await;
    assert_eq!(ran.outcome().recovery(), Recovery::Absorbed);
    assert_eq!(ran.called(Operation::CarryOut), 0);
    assert_eq!(ran.verdict().word(), "inconclusive", "{}", ran.verdict());
}

#[tokio::test(start_paused = true)]
async fn weather_is_ridden_out_and_noted() {
    let weather = Behaviour { weather: 3, then: Then::Works, takes: millis(20) };
    let all =
        [Operation::Pods, Operation::Prepare, Operation::Keep, Operation::Inject, Operation::CarryOut, Operation::Heal];
    let script = Script { calls: all.map(|operation| (operation, weather)).into(), ..hung(0) };
    let ran = run(remedy_plan(&[DELETE]), script).await;
    assert_eq!(ran.verdict(), Verdict::Pass);
    assert_eq!(ran.called(Operation::Heal), 5, "three tries in the storm, one that works, one for late arrivals");
    assert_eq!(ran.notes().iter().filter(|note| note.contains("503")).count(), 5, "{:?}", ran.notes());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_breaks_the_scenario_and_is_healed() {
    let check = async |operation: Operation, then: Then, expect: &str, heals: bool| {
        let behaviour = Behaviour { weather: 0, then, takes: millis(20) };
        let ran = run(plan(), Script { calls: [(operation, behaviour)].into(), ..killed() }).await;
        let name = format!("{operation:?} {then:?}");
        match ran.ended() {
            Ended::Broken { reason } => assert!(reason.contains(expect), "{name}: {reason}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(ran.verdict().word(), "inconclusive", "{name}");
        assert_eq!(ran.called(Operation::Heal) > 0, heals, "{name}");
        assert!(ran.system.broken().is_empty(), "{name}");
        assert_eq!(ran.has(|what| matches!(what, What::FaultSent)), operation == Operation::Inject, "{name}");
    };
    for then in [Then::Fails, Then::Hangs, Then::Panics] {
        check(Operation::Pods, then, "the pods could not be read", false).await;
        check(Operation::Prepare, then, "the fault could not be prepared", false).await;
        check(Operation::Keep, then, "the receipt could not be left", true).await;
        check(Operation::Inject, then, "the fault could not be sent", true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_may_arrive_late_is_healed_twice() {
    let hangs = Behaviour { weather: 0, then: Then::Hangs, takes: millis(0) };
    let ran = run(plan(), Script { calls: [(Operation::Inject, hangs)].into(), ..killed() }).await;
    assert_eq!(ran.called(Operation::Heal), 2);
}

#[tokio::test(start_paused = true)]
async fn healing_that_fails_is_said_and_ends_the_scenario() {
    for then in [Then::Fails, Then::Hangs, Then::Panics] {
        let behaviour = Behaviour { weather: 0, then, takes: millis(20) };
        let ran = run(plan(), Script { calls: [(Operation::Heal, behaviour)].into(), ..killed() }).await;
        assert!(ran.has(|what| matches!(what, What::HealFailed { .. })), "{then:?}");
        assert!(!ran.has(|what| matches!(what, What::Healed { .. })), "{then:?}");
        assert!(!ran.system.broken().is_empty(), "{then:?}");
        assert_eq!(*ran.ended(), Ended::Completed, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsteady_system_is_not_broken() {
    // Down for good before anything was injected: the effect is at the beginning.
    let mut unsteady = plan();
    unsteady.slow = millis(1);
    let ran = run(unsteady, killed()).await;
    match ran.ended() {
        Ended::Broken { reason } => {
            assert!(reason.contains("not there within 30s"), "{reason}");
            assert!(reason.contains("right answer after"), "what was last seen: {reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(ran.called(Operation::Prepare), 0);
    assert_eq!(ran.called(Operation::Heal), 0);
}

#[tokio::test(start_paused = true)]
async fn observing_that_ends_breaks_the_scenario() {
    let check = async |after: u64, then: Then, injected: bool| {
        let ran = run(plan(), Script { observing_ends: Some((millis(after), then)), ..killed() }).await;
        assert!(
            matches!(ran.ended(), Ended::Broken { reason } if reason.contains("observing ended")),
            "{:?}",
            ran.ended()
        );
        assert_eq!(ran.called(Operation::Inject) > 0, injected, "{after} {then:?}");
        assert!(ran.system.broken().is_empty(), "{after} {then:?}");
        assert_eq!(ran.verdict().word(), "inconclusive", "{after} {then:?}");
    };
    for then in [Then::Works, Then::Fails, Then::Panics] {
        check(500, then, false).await;
        check(4_000, then, false).await;
        check(10_500, then, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn observing_that_does_not_end_is_left_behind() {
    let ran = run(plan(), Script { observing_ends: Some((millis(10_500), Then::Hangs)), ..killed() }).await;
    assert!(ran.notes().iter().any(|note| note.contains("did not end in time")), "{:?}", ran.notes());
}
