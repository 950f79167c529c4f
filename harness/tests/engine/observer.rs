//! The observer must not be the fault.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::event::{Ended, What};
use harness::scenario::plan::{CheckName, Cost, LoadPlan, Plan};
use harness::system::scripted::{Noise, Operation, Script};

use crate::support::*;

/// Chances that each simulation is given.
const SEEDS: u64 = 20;

fn costs() -> BTreeMap<CheckName, Duration> {
    [(CheckName("pods".to_owned()), millis(100))].into()
}

/// A service whose health answer holds its one event loop for 100 ms.
fn costly(seed: u64) -> Script {
    Script { seed, costs: costs(), ..killed() }
}

fn noisy(seed: u64, every: u64, length: u64) -> Script {
    Script { seed, noise: Some(Noise { every: millis(every), length_max: millis(length) }), ..killed() }
}

fn without_load() -> Plan {
    Plan { load: LoadPlan { requests_per_second: 0.0, ..plan().load }, ..plan() }
}

/// Runs to the end of the baseline; what it found.
async fn baseline(plan: Plan, script: Script) -> (Ran, Option<String>) {
    let ran = run_with(plan, script, |event, cancel| {
        if matches!(event.what, What::BaselineCompared(_)) {
            cancel.cancel();
        }
        Ok(())
    })
    .await;
    let effect = ran.outcome().observer_effect().map(str::to_owned);
    (ran, effect)
}

#[tokio::test(start_paused = true)]
async fn a_costly_check_is_an_observer_effect_and_nothing_is_broken() {
    let ran = run(plan(), costly(1)).await;
    assert!(matches!(ran.ended(), Ended::Broken { reason } if reason.starts_with("observer effect: sampling makes")));
    assert!(ran.verdict().to_string().contains("observer effect"), "{}", ran.verdict());
    assert_eq!(ran.called(Operation::Prepare), 0);
    assert_eq!(ran.called(Operation::Heal), 0);
}

#[tokio::test(start_paused = true)]
async fn a_costly_check_is_found_whatever_the_seed_with_a_load_and_without() {
    for seed in 0..SEEDS {
        for plan in [plan(), without_load()] {
            let (ran, effect) = baseline(plan, costly(seed)).await;
            assert!(effect.is_some(), "seed {seed}: {:?}", ran.outcome().baseline());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_costly_check_is_found_on_a_noisy_machine() {
    for seed in 0..SEEDS {
        let script = Script { costs: costs(), ..noisy(seed, 2_000, 200) };
        let (ran, effect) = baseline(plan(), script).await;
        assert!(effect.is_some(), "seed {seed}: {:?}", ran.outcome().baseline());
    }
}

#[tokio::test(start_paused = true)]
async fn a_noisy_machine_is_none() {
    for (every, length) in [(2_000, 200), (700, 120), (300, 60)] {
        for seed in 0..SEEDS {
            for plan in [plan(), without_load()] {
                let (ran, effect) = baseline(plan, noisy(seed, every, length)).await;
                assert_eq!(effect, None, "every {every} ms, seed {seed}: {:?}", ran.outcome().baseline());
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
