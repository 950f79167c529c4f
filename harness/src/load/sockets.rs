//! Held WebSockets: open all the time, some asking now and then, back when they end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::LOST_AFTER;
use super::table::SocketTable;
use crate::clock::RunClock;
use crate::event::{Offset, SocketChange, SocketEnd, SocketEndKind, SocketEvent};
use crate::sample::door::{Door, Failure, Wire};
use crate::sample::websocket::{self, Refused};
use crate::scenario::plan::SocketQuestion;

mod comeback;
mod ends;
mod talk;

pub(crate) use comeback::Comeback;
use talk::{Ended, Talk};

/// How long it may take until a socket without a word is known to be dead: as long as the next
/// piece of an answer may take.
const DEAD_FOR_MAX: Duration = talk::PIECE_WITHIN;
/// How long a goodbye at the end of the load may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// What one socket asks.
#[derive(Debug, Clone)]
pub(crate) enum Asks {
    /// Nothing: it only reads, and answers pings.
    Nothing,
    /// A `typing` frame now and then.
    Typing,
    /// A question now and then.
    Question(Arc<SocketQuestion>),
}

/// What one socket does while it is open.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) asks: Asks,
    /// Time between two pings of its own.
    pub(crate) ping_every: Duration,
}

/// What all sockets of the load share.
pub(crate) struct Shared {
    pub(crate) door: Door,
    pub(crate) clock: RunClock,
    pub(crate) table: Arc<SocketTable>,
    pub(crate) into: mpsc::Sender<SocketEvent>,
    pub(crate) cancel: CancellationToken,
}

/// One socket of the load.
pub(crate) struct Holder {
    pub(crate) number: u32,
    pub(crate) path: String,
    pub(crate) habits: Habits,
    pub(crate) comeback: Comeback,
    pub(crate) shared: Arc<Shared>,
}

impl Holder {
    /// Holds the socket until cancelled: opens it, uses it, and comes back when it ends. Then
    /// it says goodbye, as a client should.
    pub(crate) async fn hold(mut self, first: Offset) {
        let cancel = self.shared.cancel.clone();
        let clock = self.shared.clock;
        let (mut away_since, mut lost, mut ask_again) = (first, false, false);
        loop {
            let opening = self.open(away_since, lost);
            let Some((mut socket, attempts)) = cancel.run_until_cancelled(opening).await else { return };
            self.opened(attempts).await;
            let talk = Talk::new(&mut socket, &self.habits, clock, ask_again);
            let Some(ended) = cancel.run_until_cancelled(talk.until_it_ends()).await else {
                return say_goodbye(socket).await;
            };
            drop(socket);
            away_since = clock.now();
            let ended = self.excused(ended, away_since);
            lost = ended.end.is_loss(ended.cut);
            ask_again = ended.unanswered && !lost;
            self.ended(away_since, ended, lost).await;
        }
    }

    /// Tries until it is open, and tells once when that takes too long; says how many tries it took.
    async fn open(&mut self, away_since: Offset, mut lost: bool) -> (WebSocketStream<Wire>, u32) {
        let clock = self.shared.clock;
        let lost_at = away_since + LOST_AFTER;
        let mut attempt = self.comeback.first(away_since);
        let mut attempts = 0;
        // What backs off is late by its own choice.
        lost |= !self.comeback.is_measured();
        loop {
            let tried = {
                let trying = async {
                    sleep_until(clock.instant(attempt)).await;
                    self.attempt().await
                };
                tokio::pin!(trying);
                tokio::select! {
                    biased;
                    tried = &mut trying => tried,
                    () = sleep_until(clock.instant(lost_at)), if !lost => {
                        if self.excuse(away_since, lost_at).is_none() {
                            self.tell(lost_at, SocketChange::Overdue).await;
                        }
                        lost = true;
                        trying.await
                    }
                }
            };
            attempts += 1;
            match tried {
                Ok(socket) => {
                    self.comeback.opened();
                    return (socket, attempts);
                }
                // Our own lack of descriptors is not the system's loss.
                Err(Some(Failure::Ours(_))) => lost = true,
                Err(Some(Failure::Theirs(_)) | None) => {}
            }
            attempt = self.comeback.next(attempt, clock.now());
        }
    }

    /// One handshake. One that hangs is given up like any request.
    async fn attempt(&self) -> Result<WebSocketStream<Wire>, Option<Failure>> {
        let until = self.shared.clock.instant(self.shared.clock.now() + LOST_AFTER);
        match timeout_at(until, websocket::handshake(&self.shared.door, &self.path, None)).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(Refused::Broken(failure))) => Err(Some(failure)),
            Ok(Err(Refused::Answered { .. })) | Err(_) => Err(None),
        }
    }

    /// What the way to the system took is told as that.
    fn excused(&self, ended: Ended, at: Offset) -> Ended {
        let from = match ended.end.kind() {
            // Found out long after.
            SocketEndKind::NoAnswer | SocketEndKind::HalfOpen => {
                Offset::from_duration(at.since(Offset::ZERO).saturating_sub(DEAD_FOR_MAX))
            }
            SocketEndKind::Closed
            | SocketEndKind::Reset
            | SocketEndKind::Unclosed
            | SocketEndKind::Broken
            | SocketEndKind::Way => at,
        };
        let is_loss = ended.end.is_loss(ended.cut);
        match self.excuse(from, at).filter(|_| is_loss) {
            Some(reason) => Ended { end: SocketEnd::Way { reason }, ..ended },
            None => ended,
        }
    }

    fn excuse(&self, from: Offset, until: Offset) -> Option<String> {
        let clock = self.shared.clock;
        self.shared.door.excuse(clock.instant(from), clock.instant(until))
    }

    async fn opened(&self, attempts: u32) {
        let at = self.shared.clock.now();
        self.shared.table.opened(at, self.comeback.is_measured());
        self.tell(at, SocketChange::Opened { attempts }).await;
    }

    async fn ended(&self, at: Offset, ended: Ended, lost: bool) {
        let Ended { end, cut, .. } = ended;
        self.shared.table.ended(at, self.comeback.is_measured(), &end);
        self.tell(at, SocketChange::Ended { end, cut, lost }).await;
    }

    async fn tell(&self, at: Offset, what: SocketChange) {
        let event = SocketEvent { socket: self.number, at, backs_off: !self.comeback.is_measured(), what };
        // The generator listens as long as sockets are held.
        let _ = self.shared.into.send(event).await;
    }
}

async fn say_goodbye(mut socket: WebSocketStream<Wire>) {
    // A server that is gone needs none, and one that does not answer gets no second one.
    let _ = timeout(GOODBYE_WITHIN, async {
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
        }
    })
    .await;
}
