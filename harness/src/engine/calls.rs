//! Calls to the system, each with its bounds.

use std::pin::Pin;

use tokio::time::sleep;

use super::bounds;
use super::next::Call;
use super::patience::{Tried, patiently};
use super::progress::{Progress, Sink};
use crate::clock::RunClock;
use crate::event::PodFacts;
use crate::fault::Receipt;
use crate::scenario::plan::Plan;
use crate::system::System;

/// What a call came to.
pub(super) enum Returned {
    Pods(Tried<Vec<PodFacts>>),
    Prepared(Tried<Receipt>),
    Kept(Tried<()>),
    Injected(Tried<()>),
    Stepped(usize, Tried<String>),
    Healed(Tried<Vec<String>>),
}

/// Starts a call. Nothing happens before the future is polled.
pub(super) fn begin<'a, S: System, K: Sink>(
    call: Call,
    plan: &'a Plan,
    system: &'a S,
    clock: RunClock,
    progress: &Progress<'_, K>,
) -> Pin<Box<dyn Future<Output = Returned> + Send + 'a>> {
    let receipt = || progress.receipt.clone().expect("a fault is prepared before it is kept, sent or healed");
    match call {
        Call::Pods => Box::pin(async move { Returned::Pods(patiently(clock, bounds::CALL, || system.pods()).await) }),
        Call::Prepare => {
            Box::pin(
                async move { Returned::Prepared(patiently(clock, bounds::CALL, || system.prepare(&plan.fault)).await) },
            )
        }
        Call::Keep => {
            let receipt = receipt();
            Box::pin(async move { Returned::Kept(patiently(clock, bounds::CALL, || system.keep(&receipt)).await) })
        }
        Call::Inject => {
            let receipt = receipt();
            let patience = bounds::inject(&receipt);
            Box::pin(async move { Returned::Injected(patiently(clock, patience, || system.inject(&receipt)).await) })
        }
        Call::Step(step) => Box::pin(async move {
            let command = &plan.remedy[step].command;
            Returned::Stepped(step, patiently(clock, bounds::STEP, || system.carry_out(command)).await)
        }),
        Call::Heal => {
            let (receipt, uncertain) = (receipt(), progress.uncertain);
            let patience = bounds::heal(&receipt);
            Box::pin(async move {
                let mut healed = patiently(clock, patience, || system.heal(&receipt)).await;
                if uncertain && let Ok(mut facts) = healed.result {
                    sleep(bounds::LATE_ARRIVAL).await;
                    let again = patiently(clock, patience, || system.heal(&receipt)).await;
                    let result = again.result.map(|more| {
                        facts.extend(more);
                        facts
                    });
                    healed = Tried { result, ..again };
                }
                Returned::Healed(healed)
            })
        }
    }
}
