//! Load on an open schedule: HTTP requests and held WebSockets, every one counted.
//!
//! Requests start at intended times, whatever became of those before them. A request is
//! good when a complete 2xx is there within [`LOST_AFTER`] of its intended start. Load
//! runs on a thread and runtime of its own, so that it cannot delay samples.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::event::{LoadSecond, Offset, What};
use crate::scenario::plan::LoadPlan;
use crate::system::{Observation, Observations, Request};

mod requests;
mod sockets;

/// When a request or a socket without an answer counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// Requests in flight at once, at most; beyond it we, not the system, are the limit, and the
/// schedule's next starts are left out and noted.
pub const IN_FLIGHT_MAX: usize = 2_000;
/// Results waiting to be counted, at most.
const QUEUE: usize = 4_096;
const SECOND: Duration = Duration::from_secs(1);

/// Runs the load through the Service at `address` until cancelled; returns after everything
/// in flight has been counted.
pub async fn run(
    address: SocketAddr,
    plan: LoadPlan,
    clock: RunClock,
    seed: u64,
    into: Observations,
    cancel: CancellationToken,
) {
    let (finished, done) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(on_thread(address, plan, clock, seed, into, cancel)),
            Err(error) => note(&into, format!("load did not start: {error}")),
        }
        drop(finished);
    });
    if thread.is_ok() {
        // The sender is dropped when the thread is done, also when it panics.
        let _ = done.await;
    }
}

fn note(into: &Observations, text: String) {
    // A full queue means that the engine is gone or behind; the note decides nothing.
    let _ = into.try_send(Observation::Record(What::Note { text }));
}

async fn on_thread(
    address: SocketAddr,
    plan: LoadPlan,
    clock: RunClock,
    seed: u64,
    into: Observations,
    cancel: CancellationToken,
) {
    let (results, counted) = mpsc::channel(QUEUE);
    let open = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let counting = tokio::spawn(count(counted, Arc::clone(&open), clock, into.clone()));
    for socket in 0..plan.sockets {
        let holder = sockets::Holder {
            address,
            path: plan.socket_path.clone(),
            number: socket,
            seed,
            open: Arc::clone(&open),
            results: results.clone(),
            clock,
        };
        tasks.spawn(holder.hold(cancel.clone()));
    }
    if plan.requests_per_second > 0.0 {
        tasks.spawn(requests::run(
            address,
            plan.path.clone(),
            plan.requests_per_second,
            clock,
            results.clone(),
            cancel,
        ));
    }
    drop(results);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            note(&into, format!("load broke off: {error}"));
        }
    }
    // Every sender is gone, so counting ends by itself.
    if let Err(error) = counting.await {
        note(&into, format!("load could not be counted: {error}"));
    }
}

/// What a request or socket tells the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// A request is on its way; `Answered` or `Lost` follows for the same start.
    Started { intended: Offset },
    /// A complete 2xx in time.
    Answered { intended: Offset, latency: Duration },
    /// None.
    Lost { intended: Offset },
    /// A socket was lost.
    SocketLost { at: Offset },
    /// The schedule's start was left out: our own limit.
    LeftOut,
}

/// Seconds that are not complete yet.
#[derive(Debug, Default)]
struct Counter {
    seconds: BTreeMap<u64, Second>,
    left_out: u64,
}

#[derive(Debug, Default)]
struct Second {
    outstanding: u32,
    sockets_lost: u32,
    lost: u32,
    good_micros: Vec<u64>,
}

impl Counter {
    fn take(&mut self, counted: Counted) {
        match counted {
            Counted::Started { intended } => self.second(intended).outstanding += 1,
            Counted::Answered { intended, latency } => {
                let second = self.end(intended);
                second.good_micros.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            }
            Counted::Lost { intended } => self.end(intended).lost += 1,
            Counted::SocketLost { at } => self.second(at).sockets_lost += 1,
            Counted::LeftOut => self.left_out += 1,
        }
    }

    fn end(&mut self, intended: Offset) -> &mut Second {
        let second = self.second(intended);
        second.outstanding = second.outstanding.saturating_sub(1);
        second
    }

    fn second(&mut self, at: Offset) -> &mut Second {
        self.seconds.entry(at.nanos() / 1_000_000_000).or_default()
    }

    /// Seconds that are over and wait for nothing, oldest first; all of them when `all`.
    fn complete(&mut self, now: Offset, sockets_open: u32, all: bool) -> Vec<LoadSecond> {
        let over = |number: u64, second: &Second| {
            all || (now.nanos() >= (number + 1) * 1_000_000_000 && second.outstanding == 0)
        };
        let mut complete = Vec::new();
        while let Some(entry) = self.seconds.first_entry() {
            if !over(*entry.key(), entry.get()) {
                break;
            }
            let (number, second) = entry.remove_entry();
            complete.push(second.closed(number, sockets_open));
        }
        complete
    }
}

impl Second {
    fn closed(mut self, number: u64, sockets_open: u32) -> LoadSecond {
        self.good_micros.sort_unstable();
        let good = &self.good_micros;
        LoadSecond {
            from: Offset::from_duration(Duration::from_secs(number)),
            requests_good: u32::try_from(good.len()).unwrap_or(u32::MAX),
            requests_lost: self.lost,
            p50_micros: good.get(good.len() / 2).copied().unwrap_or(0),
            max_micros: good.last().copied().unwrap_or(0),
            sockets_open,
            sockets_lost: self.sockets_lost,
        }
    }
}

/// What one ended request is to the baseline, which compares requests one by one.
fn request(counted: Counted) -> Option<Request> {
    match counted {
        Counted::Answered { intended, latency } => Some(Request { intended, latency: Some(latency) }),
        Counted::Lost { intended } => Some(Request { intended, latency: None }),
        Counted::Started { .. } | Counted::SocketLost { .. } | Counted::LeftOut => None,
    }
}

async fn count(mut results: mpsc::Receiver<Counted>, open: Arc<AtomicU32>, clock: RunClock, into: Observations) {
    let mut counter = Counter::default();
    let mut ticks = tokio::time::interval(SECOND / 10);
    loop {
        let ended = tokio::select! {
            result = results.recv() => match result {
                Some(counted) => {
                    counter.take(counted);
                    match request(counted) {
                        Some(request) if into.send(Observation::Request(request)).await.is_err() => return,
                        Some(_) | None => continue,
                    }
                }
                None => true,
            },
            _ = ticks.tick() => false,
        };
        // A held socket with no request in the second is a second of load as well.
        counter.second(clock.now());
        for second in counter.complete(clock.now(), open.load(Ordering::Relaxed), ended) {
            if into.send(Observation::Record(What::Load(second))).await.is_err() {
                return;
            }
        }
        if ended {
            if counter.left_out > 0 {
                note(
                    &into,
                    format!("load left out {} starts: {IN_FLIGHT_MAX} requests were in flight", counter.left_out),
                );
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn a_second_is_told_when_it_is_over_and_every_request_in_it_is_counted() {
        let mut counter = Counter::default();
        for intended in [at(100), at(600), at(1_100)] {
            counter.take(Counted::Started { intended });
        }
        counter.take(Counted::Answered { intended: at(600), latency: Duration::from_millis(2) });
        assert_eq!(counter.complete(at(1_500), 3, false), [], "a request of the first second is out");
        counter.take(Counted::Lost { intended: at(100) });
        counter.take(Counted::SocketLost { at: at(900) });
        assert_eq!(counter.complete(at(999), 3, false), [], "the second is not over");
        let told = counter.complete(at(1_500), 3, false);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].requests_good, told[0].requests_lost), (1, 1));
        assert_eq!((told[0].sockets_open, told[0].sockets_lost), (3, 1));
        assert_eq!((told[0].p50_micros, told[0].max_micros), (2_000, 2_000));
        counter.take(Counted::Answered { intended: at(1_100), latency: Duration::from_millis(1) });
        assert_eq!(counter.complete(at(1_200), 3, true).len(), 1, "the end tells what is left");
    }
}
