//! The load of one scenario, on a thread and a runtime of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::counting::{Counting, LostRequest};
use super::punctuality::{Punctuality, SLIP_P99_MAX};
use super::requests::{self, Target};
use super::sockets::{Asks, Comeback, Habits, Holder, Shared};
use super::table::SocketTable;
use super::tally::Tally;
use crate::clock::RunClock;
use crate::descriptors;
use crate::event::{Offset, SocketChange, SocketEvent, What};
use crate::sample::door::Door;
use crate::sample::schedule::Grid;
use crate::scenario::plan::LoadPlan;
use crate::system::{Observation, Observations, Rate, SystemError};

/// Requests in flight at once: at 500 a second and 2 s until one is lost, 1,000 are normal
/// against a system that hangs.
pub const IN_FLIGHT_MAX: usize = 4096;
/// A request that we are later with than this is not sent: its latency would be ours.
pub const SLIP_MAX: Duration = Duration::from_millis(500);
/// What sockets may tell before they are heard; beyond it they wait.
const SOCKET_EVENTS_MAX: usize = 1024;
/// At the start sockets are opened one after the other, so that their handshakes are no storm.
const SOCKETS_PER_SECOND: u32 = 250;
/// How long sockets may take to say goodbye in the end.
const GOODBYES_WITHIN: Duration = Duration::from_secs(2);
/// Between two requests of the baseline's own load, where a plan has none: some 20 a second.
/// A prime number of milliseconds keeps it from beating with the schedule of the samples.
pub const LIGHT_INTERVAL: Duration = Duration::from_millis(47);
/// With nothing to send the schedule is looked at this often.
const TURN: Duration = Duration::from_secs(1);

/// What the load needs.
pub struct Generator {
    /// How much, and at which paths.
    pub plan: LoadPlan,
    /// Begins the client ids of the sockets: no two scenarios share a client.
    pub name: String,
    /// Decides how sockets back off.
    pub seed: u64,
    /// Where checks see which sockets are open.
    pub table: Arc<SocketTable>,
    /// The path of the baseline's own light load; absent where the plan has no HTTP check.
    pub light_path: Option<String>,
    /// The run's clock.
    pub clock: RunClock,
    /// The Service.
    pub door: Door,
    /// Whether the light load is wanted.
    pub rate: watch::Receiver<Rate>,
    /// Where seconds and single requests go.
    pub into: Observations,
    /// Told of every request and socket at once, where somebody counts them one by one.
    pub counting: Option<Counting>,
    /// Ends it.
    pub cancel: CancellationToken,
}

/// What one request belongs to.
struct Sent {
    result: Result<requests::Sent, String>,
    intended: Offset,
    fresh: bool,
    recorded: bool,
    slip: Duration,
}

impl Generator {
    /// Keeps up the load until cancelled. To be run on a runtime that nothing else uses.
    ///
    /// # Errors
    /// [`SystemError`] where a task of the load crashed.
    pub async fn run(mut self) -> Result<Punctuality, SystemError> {
        if self.plan.sockets > 0 {
            descriptors::raise_limit();
        }
        let start = self.clock.now();
        let mut state = State::new(start, &self.plan, self.counting.take());
        let (told, mut events) = mpsc::channel(SOCKET_EVENTS_MAX);
        let goodbye = CancellationToken::new();
        let mut sockets = self.hold_sockets(start, told, &goodbye);
        let mut in_flight = JoinSet::new();
        let target = Target::new(self.door.clone(), self.plan.path.clone());
        let light = self.light_path.take().map(|path| Target::new(self.door.clone(), path));
        let (mut grid, mut recorded) = self.grid(start);
        loop {
            let now = self.clock.now();
            let wake = grid.as_ref().map_or(now + TURN, |grid| grid.next().min(now + TURN));
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                Some(ended) = in_flight.join_next(), if !in_flight.is_empty() => state.take_in(ended, &self.into)?,
                Some(event) = events.recv() => state.socket(event, &self.into),
                Some(Err(crash)) = sockets.join_next(), if !sockets.is_empty() => return Err(crashed(&crash)),
                Ok(()) = self.rate.changed(), if !recorded => (grid, recorded) = self.grid(self.clock.now()),
                () = sleep_until(self.clock.instant(wake)) => {
                    let now = self.clock.now();
                    while let Some(intended) = grid.as_mut().and_then(|grid| grid.due(now)) {
                        let to = if recorded { Some(&target) } else { light.as_ref() };
                        let Some(to) = to.cloned() else { break };
                        let fresh = state.sent.is_multiple_of(2);
                        state.sent += 1;
                        if let Some(reason) = not_sendable(intended, now, in_flight.len()) {
                            state.unsent(intended, recorded, reason);
                            continue;
                        }
                        let clock = self.clock;
                        in_flight.spawn(async move {
                            let slip = clock.now().since(intended);
                            let result = requests::send(to, intended, fresh, clock).await;
                            Sent { result, intended, fresh, recorded, slip }
                        });
                    }
                    state.report(now, &self.into);
                }
            }
        }
        // What is still in flight is neither good nor lost: nobody waited for it.
        in_flight.shutdown().await;
        // Nobody listens any more, so that nobody waits to tell; each socket says goodbye by itself.
        drop(events);
        goodbye.cancel();
        let goodbyes = async { while sockets.join_next().await.is_some() {} };
        let _ = timeout(GOODBYES_WITHIN, goodbyes).await;
        sockets.shutdown().await;
        state.finish(self.clock.now(), &self.into);
        Ok(state.punctuality)
    }

    /// The schedule that is wanted now, and whether it belongs to the record.
    fn grid(&mut self, now: Offset) -> (Option<Grid>, bool) {
        if self.plan.requests_per_second > 0.0 {
            let every = Duration::from_secs_f64(1.0 / self.plan.requests_per_second);
            return (Some(Grid::new(now, every)), true);
        }
        let wanted = self.rate.borrow_and_update().light_load;
        (wanted.then(|| Grid::new(now, LIGHT_INTERVAL)), false)
    }

    /// Those that are measured come first, then those that back off.
    fn hold_sockets(&self, start: Offset, into: mpsc::Sender<SocketEvent>, cancel: &CancellationToken) -> JoinSet<()> {
        let mut sockets = JoinSet::new();
        let (door, clock, table) = (self.door.clone(), self.clock, Arc::clone(&self.table));
        let shared = Arc::new(Shared { door, clock, table, into, cancel: cancel.clone() });
        let measured = self.plan.sockets;
        // Two observations of one scenario are two sets of clients.
        let name = format!("{}-{}", self.name, start.nanos() / 1_000_000);
        for number in 0..measured + self.plan.sockets_backing_off {
            let comeback = if number < measured {
                Comeback::fixed(number, measured)
            } else {
                Comeback::backoff(self.seed.wrapping_add(number.into()))
            };
            let holder = Holder {
                number,
                path: with_client_id(&self.plan.socket_path, &name, number),
                habits: self.habits(number),
                comeback,
                shared: Arc::clone(&shared),
            };
            sockets.spawn(holder.hold(start + Duration::from_secs(1) * number / SOCKETS_PER_SECOND));
        }
        sockets
    }

    fn habits(&self, number: u32) -> Habits {
        let asks = match &self.plan.socket_question {
            _ if number >= self.plan.sockets_asking => Asks::Nothing,
            // Every other one of those that ask, so that both sorts of answer are under way.
            Some(question) if number % 2 == 1 => Asks::Question(Arc::new(question.clone())),
            Some(_) | None => Asks::Typing,
        };
        Habits { asks, ping_every: self.plan.socket_ping }
    }
}

/// What keeps us from sending a request, where something does.
fn not_sendable(intended: Offset, now: Offset, in_flight: usize) -> Option<String> {
    if in_flight >= IN_FLIGHT_MAX {
        return Some(format!("{IN_FLIGHT_MAX} requests are in flight already"));
    }
    let slip = now.since(intended);
    (slip > SLIP_MAX).then(|| format!("our own slip of {:.3} s", slip.as_secs_f64()))
}

/// Each socket is a client of its own, unless the path says who it is.
fn with_client_id(path: &str, name: &str, number: u32) -> String {
    if path.contains("client_id=") {
        return path.to_owned();
    }
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}client_id={name}-{number}")
}

struct State {
    tally: Tally,
    punctuality: Punctuality,
    /// Events of sockets that the record had no room for.
    untold: u64,
    counting: Option<Counting>,
    in_use: bool,
    sent: u64,
    unsent: u64,
    last_unsent: String,
}

impl State {
    fn new(start: Offset, plan: &LoadPlan, counting: Option<Counting>) -> Self {
        let in_use = plan.requests_per_second > 0.0 || plan.sockets > 0;
        let punctuality = Punctuality::default();
        Self {
            tally: Tally::new(start),
            punctuality,
            counting,
            untold: 0,
            in_use,
            sent: 0,
            unsent: 0,
            last_unsent: String::new(),
        }
    }

    fn take_in(&mut self, ended: Result<Sent, JoinError>, into: &Observations) -> Result<(), SystemError> {
        let sent = ended.map_err(|crash| crashed(&crash))?;
        self.punctuality.sent(sent.slip);
        match sent.result {
            Ok(requests::Sent { request, lost }) => {
                if sent.recorded {
                    self.tally.request(request.intended, request.latency);
                    let lost = lost.map(|reason| LostRequest { intended: sent.intended, fresh: sent.fresh, reason });
                    self.counting.iter().for_each(|counting| counting.request(lost.clone()));
                }
                // Only the baseline reads these; a full record loses one of many.
                let _ = into.try_send(Observation::Request(request));
            }
            Err(reason) => self.unsent(sent.intended, sent.recorded, reason),
        }
        Ok(())
    }

    fn unsent(&mut self, intended: Offset, recorded: bool, reason: String) {
        if recorded {
            self.tally.missing(intended);
        }
        self.unsent += 1;
        self.last_unsent = reason;
    }

    fn socket(&mut self, event: SocketEvent, into: &Observations) {
        let at = event.at;
        match event.what {
            _ if event.backs_off => {}
            SocketChange::Opened { .. } => self.tally.socket_opened(at),
            SocketChange::Ended { lost, .. } => {
                self.tally.socket_ended(at);
                if lost {
                    self.tally.socket_lost(at);
                }
            }
            SocketChange::Overdue => self.tally.socket_lost(at),
        }
        self.counting.iter().for_each(|counting| counting.sockets(self.tally.sockets_open()));
        let put = into.try_send(Observation::Record(What::Socket(event)));
        self.untold += u64::from(matches!(put, Err(mpsc::error::TrySendError::Full(_))));
    }

    fn report(&mut self, now: Offset, into: &Observations) {
        if self.in_use {
            for second in self.tally.complete(now) {
                let _ = into.try_send(Observation::Record(What::Load(second)));
            }
        }
    }

    fn finish(&mut self, now: Offset, into: &Observations) {
        if self.in_use {
            for second in self.tally.finish(now) {
                let _ = into.try_send(Observation::Record(What::Load(second)));
            }
        }
        if self.untold > 0 {
            let text = format!("{} opens and ends of sockets did not fit into the record", self.untold);
            let _ = into.try_send(Observation::Record(What::Note { text }));
        }
        if self.punctuality.slip(0.99) > SLIP_P99_MAX {
            let text = self.punctuality.note();
            let _ = into.try_send(Observation::Record(What::Note { text }));
        }
        if self.unsent > 0 {
            let text = format!("{} of {} load requests were not sent: {}", self.unsent, self.sent, self.last_unsent);
            let _ = into.try_send(Observation::Record(What::Note { text }));
        }
    }
}

fn crashed(crash: &JoinError) -> SystemError {
    SystemError { message: format!("load crashed: {crash}"), transient: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_is_a_client_of_its_own() {
        let check = |path: &str, expect: &str| assert_eq!(with_client_id(path, "load", 7), expect);
        check("/ws", "/ws?client_id=load-7");
        check("/ws?a=b", "/ws?a=b&client_id=load-7");
        check("/ws?client_id=me", "/ws?client_id=me");
    }
}
