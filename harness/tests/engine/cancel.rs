//! Whenever it is cancelled, and whatever cannot be recorded: what was broken is healed.

use harness::event::{Ended, Event, Phase, What};
use harness::system::scripted::{Behaviour, Operation, Script, Then};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn cancelling_at_any_phase_heals() {
    let phases = [Phase::Settling, Phase::Baseline, Phase::Steady, Phase::Fault, Phase::Remedy, Phase::Healing];
    for wanted in phases {
        let ran = run_with(remedy_plan(&[DELETE]), hung(0), |event, cancel| {
            if event.what == What::PhaseEntered(wanted) {
                cancel.cancel();
            }
            Ok(())
        })
        .await;
        assert_eq!(*ran.ended(), Ended::Cancelled, "{wanted:?}");
        assert!(ran.system.broken().is_empty(), "{wanted:?}");
        assert_eq!(ran.called(Operation::Inject) > 0, wanted >= Phase::Remedy, "{wanted:?}");
        assert_eq!(ran.verdict().word(), "inconclusive", "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_at_any_event_heals() {
    let whole = run(remedy_plan(&[RESTART, DELETE]), hung(1)).await.events.len();
    for number in (0..whole).step_by(7) {
        let mut seen = 0;
        let ran = run_with(remedy_plan(&[RESTART, DELETE]), hung(1), |_, cancel| {
            seen += 1;
            if seen == number {
                cancel.cancel();
            }
            Ok(())
        })
        .await;
        assert!(ran.system.broken().is_empty(), "event {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_waits_for_calls_that_change_the_system_and_for_no_others() {
    let check = async |operation: Operation, secs: u64, waits: bool| {
        let slow = Behaviour { weather: 0, then: Then::Works, takes: seconds(secs) };
        let script = Script { calls: [(operation, slow)].into(), ..killed() };
        let mut cancelled = None;
        let ran = run_with(plan(), script, |event, cancel| {
            let now = match operation {
                Operation::Inject => matches!(event.what, What::FaultSent),
                _ => matches!(event.what, What::PhaseEntered(Phase::Settling)),
            };
            if now && cancelled.is_none() {
                cancel.cancel();
                cancelled = Some(event.at);
            }
            Ok(())
        })
        .await;
        let took = ran.events.last().unwrap().at.since(cancelled.unwrap());
        assert_eq!(took >= seconds(secs), waits, "{operation:?}: {took:?}");
        assert_eq!(*ran.ended(), Ended::Cancelled);
    };
    check(Operation::Pods, 5, false).await;
    check(Operation::Inject, 5, true).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_on_the_record_is_not_injected() {
    let refuse = async |is: fn(&Event) -> bool| {
        run_with(plan(), killed(), move |event, _| if is(event) { Err(Refused) } else { Ok(()) }).await
    };
    let ran = refuse(|event| matches!(event.what, What::ScenarioStarted(_))).await;
    assert_eq!((ran.called(Operation::Prepare), ran.events.len()), (0, 0));

    let ran = refuse(|event| matches!(event.what, What::FaultPrepared { .. })).await;
    assert_eq!(ran.called(Operation::Keep) + ran.called(Operation::Inject), 0);
    assert!(ran.result.as_ref().is_err_and(|error| error.healed));

    let ran = refuse(|event| matches!(event.what, What::FaultSent)).await;
    assert_eq!((ran.called(Operation::Keep), ran.called(Operation::Inject), ran.called(Operation::Heal)), (1, 0, 1));
    assert!(ran.result.as_ref().is_err_and(|error| error.healed));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_after_the_fault_is_healed_without_one() {
    let script = |then| {
        let behaviour = Behaviour { weather: 0, then, takes: millis(20) };
        Script { calls: [(Operation::Heal, behaviour)].into(), ..killed() }
    };
    for (then, healed) in [(Then::Works, true), (Then::Fails, false)] {
        let ran =
            run_with(
                plan(),
                script(then),
                |event, _| {
                    if matches!(event.what, What::FaultDone) { Err(Refused) } else { Ok(()) }
                },
            )
            .await;
        assert!(ran.called(Operation::Heal) > 0);
        assert_eq!(ran.system.broken().is_empty(), healed);
        let error = ran.result.as_ref().unwrap_err();
        assert_eq!(error.healed, healed);
        assert!(!ran.has(|what| matches!(what, What::Healed { .. } | What::ScenarioEnded(_))), "a hole in the record");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_at_any_event_leaves_nothing_broken() {
    let whole = run(remedy_plan(&[DELETE]), hung(0)).await.events.len();
    for number in (0..whole).step_by(7) {
        let mut seen = 0;
        let ran = run_with(remedy_plan(&[DELETE]), hung(0), |_, _| {
            seen += 1;
            if seen > number { Err(Refused) } else { Ok(()) }
        })
        .await;
        assert!(ran.system.broken().is_empty(), "event {number}");
        assert!(ran.result.is_err(), "event {number}");
        assert_eq!(ran.events.len(), number);
    }
}
