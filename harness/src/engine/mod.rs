//! Drives a plan against a system, and emits every event, in order, from one place.
//!
//! One loop: ask [`next`](next::next) what to do, do it, or wait until something is seen.
//! Calls to the system and the observing run beside the loop, in the same task; what they
//! bring back becomes an event before anything is decided on it.
//!
//! From the event `FaultPrepared` on, healing is due whatever happens: an error, a crash, a
//! cancellation, a record that cannot be written any more.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::event::{Ended, Event, Offset, What};
use crate::outcome::Outcome;
use crate::scenario::plan::Plan;
use crate::system::{Observation, Rate, System, SystemError};

pub mod baseline;
pub mod bounds;
mod calls;
mod next;
mod patience;
mod progress;
#[cfg(test)]
mod test_plan;

use calls::Returned;
use next::{Action, next};
pub use patience::Patience;
use progress::Progress;
#[cfg(test)]
pub(crate) use test_plan::test_plan;

/// The record did not take an event, so the scenario was broken off.
#[derive(Debug, thiserror::Error)]
#[error("record the scenario{}", if *healed { "; nothing is left broken" } else { "; what was broken is not verified as healed" })]
pub struct Unrecorded<E: std::error::Error + 'static> {
    /// Why it did not.
    #[source]
    pub source: E,
    /// Whether everything that was broken is healed and verified, or nothing was broken.
    pub healed: bool,
}

/// Carries out one scenario; returns what is known at its end.
///
/// The first cancellation stops injecting, heals, and ends the scenario as cancelled; it is
/// not waited for anything but calls that change the system, which are bounded. Dropping
/// the future leaves what was broken to the guardian.
///
/// # Errors
/// [`Unrecorded`] where `sink` refused an event: from there on nothing is injected and
/// nothing is recorded, and what was broken is healed.
pub async fn run<S, E>(
    plan: &Plan,
    system: &S,
    clock: &RunClock,
    cancel: &CancellationToken,
    sink: &mut impl FnMut(&Event) -> Result<(), E>,
) -> Result<Outcome, Unrecorded<E>>
where
    S: System,
    E: std::error::Error + 'static,
{
    let (rate, wanted_rate) = watch::channel(Rate { factor: 0.0, ..Rate::full() });
    let mut progress = Progress::new(plan, *clock, rate, sink);
    let mut observer = Observer::new(plan, system, wanted_rate);
    let mut call: Option<CallInFlight<'_>> = None;
    progress.emit(What::ScenarioStarted(Box::new(plan.clone())));
    progress.show_phase();

    let ended = loop {
        progress.state.cancelled |= cancel.is_cancelled();
        let now = clock.now();
        match next(plan, &progress.state, &progress.trial, &progress.view(now), now) {
            Action::Enter(stage) => progress.enter(stage),
            Action::Sample(on) => progress.sample(on),
            Action::Compare => progress.compare(),
            Action::Break(reason) => progress.break_off(reason),
            Action::Drop => {
                call = None;
                progress.state.call = None;
            }
            Action::Call(kind) => {
                if progress.announce(kind) {
                    call = Some(calls::begin(kind, plan, system, *clock, &progress));
                }
            }
            Action::Wait(until) => wait(&mut progress, &mut observer, &mut call, cancel, until).await,
            Action::End(ended) => break ended,
        }
    };
    finish(&mut progress, observer, ended).await;
    progress.into_result()
}

type CallInFlight<'a> = Pin<Box<dyn Future<Output = Returned> + Send + 'a>>;
type Observing<'a> = Pin<Box<dyn Future<Output = Result<(), SystemError>> + Send + 'a>>;

/// The observing that runs beside the loop.
struct Observer<'a> {
    observing: Option<Observing<'a>>,
    seen: mpsc::Receiver<Observation>,
    batch: Vec<Observation>,
    cancel: CancellationToken,
}

impl<'a> Observer<'a> {
    fn new<S: System>(plan: &'a Plan, system: &'a S, rate: watch::Receiver<Rate>) -> Self {
        let (into, seen) = mpsc::channel(bounds::OBSERVATIONS_MAX);
        // Not a child of the run's token: a cancelled run is still observed while it heals.
        let cancel = CancellationToken::new();
        let observing = AssertUnwindSafe(system.observe(plan, rate, into, cancel.clone())).catch_unwind();
        let observing = observing.map(|ended| ended.unwrap_or_else(|panic| Err(patience::crashed(&*panic))));
        Self { observing: Some(Box::pin(observing)), seen, batch: Vec::new(), cancel }
    }

    /// Waits for observations, or for the end of the observing.
    async fn next(&mut self) -> Option<Result<(), SystemError>> {
        self.batch.clear();
        let Some(observing) = &mut self.observing else {
            // Only what is left in the channel can still come, and then nothing ever.
            if self.seen.recv_many(&mut self.batch, bounds::BATCH_MAX).await == 0 {
                std::future::pending::<()>().await;
            }
            return None;
        };
        tokio::select! {
            biased;
            // The channel's other end lives as long as the observing does.
            _ = self.seen.recv_many(&mut self.batch, bounds::BATCH_MAX), if !self.seen.is_closed() => None,
            ended = observing => {
                self.observing = None;
                Some(ended)
            }
        }
    }
}

/// Waits for whatever comes first: a cancellation, a call's return, something seen, or `until`.
async fn wait<K>(
    progress: &mut Progress<'_, K>,
    observer: &mut Observer<'_>,
    call: &mut Option<CallInFlight<'_>>,
    cancel: &CancellationToken,
    until: Option<Offset>,
) where
    K: progress::Sink,
{
    let wake = progress.clock.instant(until.unwrap_or_default());
    tokio::select! {
        biased;
        () = cancel.cancelled(), if !progress.state.cancelled => progress.state.cancelled = true,
        returned = async { call.as_mut().expect("only polled while there").await }, if call.is_some() => {
            *call = None;
            progress.returned(returned);
        }
        ended = observer.next() => {
            progress.take_in(observer.batch.drain(..));
            if let Some(ended) = ended {
                progress.observing_ended(ended);
            }
        }
        () = sleep_until(wake), if until.is_some() => {}
    }
}

/// Ends the observing, takes in what it still brings, and closes the scenario.
async fn finish<K: progress::Sink>(progress: &mut Progress<'_, K>, mut observer: Observer<'_>, ended: Ended) {
    observer.cancel.cancel();
    let until = progress.clock.instant(progress.clock.now() + bounds::OBSERVING_ENDS_WITHIN);
    while observer.observing.is_some() {
        let Ok(ended) = timeout_at(until, observer.next()).await else {
            progress.note("observing did not end in time; what it had in flight is not in the record");
            break;
        };
        progress.take_in(observer.batch.drain(..));
        if let Some(Err(error)) = ended {
            progress.note(&format!("observing ended: {error}"));
        }
    }
    while let Ok(observation) = observer.seen.try_recv() {
        progress.take_in(std::iter::once(observation));
    }
    progress.emit(What::ScenarioEnded(ended));
}
