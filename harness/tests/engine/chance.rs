//! Whatever the script: what is injected is healed, the scenario ends, and the record tells the same story.

use std::time::Duration;

use harness::event::What;
use harness::outcome::Recovery;
use harness::scenario::plan::{Plan, Symptom};
use harness::system::scripted::{Behaviour, Mode, Operation, Outage, PodFate, Script, Then, Until, Whom};
use proptest::prelude::*;

use crate::support::*;

fn a_time(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(millis)
}

fn an_outage() -> impl Strategy<Value = Outage> {
    let of = prop_oneof![
        4 => Just(Whom::Workload),
        1 => Just(Whom::Service),
        1 => (0u32..3).prop_map(Whom::Pod),
        3 => Just(Whom::Redis),
    ];
    let mode = prop_oneof![Just(Mode::Refuses), Just(Mode::Hangs)];
    let until = prop_oneof![
        3 => a_time(40_000).prop_map(Until::After),
        2 => (0usize..3, a_time(8_000)).prop_map(|(step, after)| Until::Step(step, after)),
        1 => a_time(5_000).prop_map(Until::Healed),
    ];
    (of, mode, a_time(3_000), until).prop_map(|(of, mode, from, until)| Outage { of, mode, from, until })
}

fn a_behaviour() -> impl Strategy<Value = Behaviour> {
    let then =
        prop_oneof![8 => Just(Then::Works), 1 => Just(Then::Fails), 1 => Just(Then::Hangs), 1 => Just(Then::Panics)];
    (0u32..4, then, a_time(3_000)).prop_map(|(weather, then, takes)| Behaviour { weather, then, takes })
}

fn a_script() -> impl Strategy<Value = Script> {
    let operation = prop_oneof![
        Just(Operation::Pods),
        Just(Operation::Prepare),
        Just(Operation::Keep),
        Just(Operation::Inject),
        Just(Operation::CarryOut),
        Just(Operation::Heal),
    ];
    let pod = prop_oneof![
        Just(PodFate::Stays),
        a_time(5_000).prop_map(PodFate::Restarts),
        a_time(5_000).prop_map(PodFate::IsReplaced),
    ];
    (
        any::<u64>(),
        1u32..4,
        prop::option::weighted(0.8, a_time(500)),
        prop::collection::vec(an_outage(), 0..4),
        pod,
        prop::collection::btree_map(operation, a_behaviour(), 0..3),
        prop::option::weighted(0.1, (a_time(30_000), prop_oneof![Just(Then::Fails), Just(Then::Panics)])),
    )
        .prop_map(|(seed, pods, effect_after, outages, pod, calls, observing_ends)| Script {
            seed,
            pods,
            effect_after,
            outages,
            pod,
            calls,
            observing_ends,
            ..Script::default()
        })
}

fn a_plan() -> impl Strategy<Value = Plan> {
    let steps = prop_oneof![Just(vec![]), Just(vec![DELETE]), Just(vec![RESTART, DELETE])];
    (steps, any::<bool>()).prop_map(|(steps, optional)| {
        let plan = if steps.is_empty() { plan() } else { remedy_plan(&steps) };
        Plan { symptom: if optional { Symptom::Optional } else { Symptom::Required }, ..plan }
    })
}

fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_injected_is_healed_and_every_scenario_ends(
        plan in a_plan(),
        script in a_script(),
        cancel_at in prop::option::weighted(0.2, 0usize..600),
    ) {
        let can_heal = script.calls.get(&Operation::Heal).is_none_or(|heal| heal.then == Then::Works);
        let mut seen = 0;
        let ran = on_paused_time(run_with(plan, script, |_, cancel| {
            seen += 1;
            if cancel_at == Some(seen) {
                cancel.cancel();
            }
            Ok(())
        }));
        // The invariants of every run are checked in `run_with`.
        prop_assert!(ran.outcome().ended().is_some());
        prop_assert_eq!(ran.has(|what| matches!(what, What::HealFailed { .. })), ran.called(Operation::Heal) > 0 && !can_heal);
        if can_heal {
            prop_assert!(ran.system.broken().is_empty());
        }
    }

    #[test]
    fn the_truth_lies_inside_the_interval(end in 1_500u64..20_000, hangs in any::<bool>(), seed in any::<u64>(), effect in 0u64..50) {
        let mode = if hangs { Mode::Hangs } else { Mode::Refuses };
        let script = Script {
            seed,
            effect_after: Some(millis(effect)),
            outages: vec![
                outage(Whom::Redis, Mode::Refuses, 0, Until::After(millis(1_200))),
                outage(Whom::Workload, mode, 0, Until::After(millis(end))),
            ],
            ..killed()
        };
        let ran = on_paused_time(run(plan(), script));
        let truth = ran.system.over().unwrap().since(ran.system.effect().unwrap());
        match ran.outcome().recovery() {
            Recovery::Recovered { lower, upper, .. } => {
                prop_assert!(lower <= truth && truth <= upper, "{truth:?} is not in {lower:?}..{upper:?}");
                prop_assert!(upper - lower <= seconds(3), "{lower:?}..{upper:?} is wide");
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
