//! The observer must not be the fault.

use std::time::Duration;

use harness::event::{Ended, What};
use harness::scenario::plan::{Cost, LoadPlan, Plan};
use harness::system::scripted::{Noise, Operation, Script};

use crate::support::*;

/// A service whose health answer holds its one event loop for 100 ms.
fn costly(seed: u64) -> Script {
    Script { seed, look_cost: millis(100), ..killed() }
}

fn noisy(seed: u64, every: u64, length: u64) -> Script {
    Script { seed, noise: Some(Noise { every: millis(every), length_max: millis(length) }), ..killed() }
}

fn without_load() -> Plan {
    Plan { load: LoadPlan { requests_per_second: 0.0, ..plan().load }, ..plan() }
}

fn is_effect(ended: &Ended) -> bool {
    matches!(ended, Ended::Broken { reason } if reason.starts_with("observer effect"))
}

#[tokio::test(start_paused = true)]
async fn a_costly_check_is_an_observer_effect_and_nothing_is_broken() {
    for seed in 0..20 {
        let ran = run(plan(), costly(seed)).await;
        assert!(is_effect(ran.ended()), "seed {seed}: {:?}", ran.ended());
        assert_eq!(ran.called(Operation::Prepare), 0);
        assert!(ran.verdict().to_string().contains("observer effect"), "{}", ran.verdict());
        assert!(ran.outcome().observer_effect().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_costly_check_is_found_without_a_load_as_well() {
    for seed in 0..20 {
        let ran = run(without_load(), costly(seed)).await;
        assert!(is_effect(ran.ended()), "seed {seed}: {:?}", ran.ended());
        assert!(!ran.has(|what| matches!(what, What::Load(_))), "the light load is not the scenario's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_noisy_machine_is_none() {
    for (every, length) in [(2_000, 200), (700, 120), (300, 60)] {
        for seed in 0..20 {
            for plan in [plan(), without_load()] {
                let ran = run(plan, noisy(seed, every, length)).await;
                assert!(!is_effect(ran.ended()), "every {every} ms, seed {seed}: {:?}", ran.ended());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_light_load_ends_with_the_baseline() {
    let ran = run(without_load(), killed()).await;
    let compared = ran.events.iter().find_map(|event| match &event.what {
        What::BaselineCompared(baseline) => Some(baseline.clone()),
        _ => None,
    });
    assert!(compared.is_some_and(|baseline| baseline.quiet_requests > 10 && baseline.sampled_requests > 10));
    assert_eq!(ran.verdict().word(), "pass");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_known_to_be_costly_is_sampled_slowly() {
    let intervals = |ran: &Ran| -> Vec<Duration> {
        let of_pods = |what: &What| match what {
            What::SamplingAt { check, interval, .. } if check.0 == "pods" => Some(*interval),
            _ => None,
        };
        ran.events.iter().filter_map(|event| of_pods(&event.what)).collect()
    };
    let mut declared = plan();
    declared.checks[0].cost = Cost::High;
    let ran = run(declared, killed()).await;
    assert!(intervals(&ran).iter().all(|interval| *interval == millis(1200)), "{:?}", intervals(&ran));

    // Slow by itself, without keeping anyone else waiting: found at the baseline.
    let ran = run(plan(), Script { latency: millis(60), ..killed() }).await;
    assert_eq!(ran.verdict().word(), "pass", "{}", ran.verdict());
    assert_eq!(*intervals(&ran).last().unwrap(), millis(1200));
    let reason = ran.events.iter().rev().find_map(|event| match &event.what {
        What::SamplingAt { reason, .. } => reason.clone(),
        _ => None,
    });
    assert_eq!(reason.as_deref(), Some("found costly at the baseline"));
}
