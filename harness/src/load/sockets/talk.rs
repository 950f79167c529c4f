//! One connection, from its handshake to its end.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{sleep_until, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Asks, Habits, ends};
use crate::clock::RunClock;
use crate::event::{Offset, SocketEnd};
use crate::load::LOST_AFTER;
use crate::sample::answer::{Reading, Told};
use crate::sample::door::Wire;
use crate::sample::websocket::{TYPING, is_prediction};

/// Time between two `typing` frames on one socket.
const TYPING_EVERY: Duration = Duration::from_secs(2);
/// How long the next piece of an answer to a question may take.
pub(super) const PIECE_WITHIN: Duration = Duration::from_secs(15);
/// How long anything at all may take to come after our own ping.
pub(crate) const PONG_WITHIN: Duration = Duration::from_secs(2);

/// How a connection ended, and what was on its way then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) end: SocketEnd,
    /// An answer had begun.
    pub(super) cut: bool,
    /// Something was asked, and its answer had not begun.
    pub(super) unanswered: bool,
}

/// A connection in use.
pub(super) struct Talk<'a> {
    socket: &'a mut WebSocketStream<Wire>,
    habits: &'a Habits,
    clock: RunClock,
    asked: Option<Asked>,
    next_ask: Option<Offset>,
    next_ping: Offset,
    pong_until: Option<Offset>,
}

/// What waits for its answer.
struct Asked {
    until: Offset,
    begun: bool,
    reading: Reading,
}

impl<'a> Talk<'a> {
    /// A new connection; one whose question was left unanswered by a planned move asks it at once.
    pub(super) fn new(
        socket: &'a mut WebSocketStream<Wire>,
        habits: &'a Habits,
        clock: RunClock,
        ask_again: bool,
    ) -> Self {
        let now = clock.now();
        let first_ask = ask_every(&habits.asks).map(|every| if ask_again { now } else { now + every });
        let next_ping = now + habits.ping_every;
        Self { socket, habits, clock, asked: None, next_ask: first_ask, next_ping, pong_until: None }
    }

    /// Uses it until it ends. Dropping the future leaves it open.
    pub(super) async fn until_it_ends(mut self) -> Ended {
        loop {
            let wake = self.wake();
            let went = tokio::select! {
                // What has come is read before a deadline is judged: we may have stood still.
                biased;
                message = self.socket.next() => self.take(message).await,
                () = sleep_until(self.clock.instant(wake)) => self.due().await,
            };
            if let Break(end) = went {
                let begun = self.asked.as_ref().map(|asked| asked.begun);
                return Ended { end, cut: begun == Some(true), unanswered: begun == Some(false) };
            }
        }
    }

    /// What comes next by itself.
    fn wake(&self) -> Offset {
        let ask = self.next_ask.filter(|_| self.asked.is_none());
        let answer = self.asked.as_ref().map(|asked| asked.until);
        [ask, answer, self.pong_until].into_iter().flatten().fold(self.next_ping, Offset::min)
    }

    async fn take(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> ControlFlow<SocketEnd> {
        // Whatever comes shows that packets do.
        self.pong_until = None;
        match message {
            Some(Ok(Message::Text(text))) => self.hear(&text),
            Some(Ok(Message::Close(frame))) => {
                // The goodbye is answered by the flush; it decides nothing any more.
                let _ = timeout_at(self.clock.instant(self.clock.now() + PONG_WITHIN), self.socket.flush()).await;
                return Break(ends::closed(frame));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Break(ends::broken(&error)),
            None => return Break(SocketEnd::Unclosed),
        }
        Continue(())
    }

    fn hear(&mut self, text: &str) {
        let now = self.clock.now();
        let Some(asked) = &mut self.asked else { return };
        let answered = match &self.habits.asks {
            Asks::Nothing => false,
            // One message is the whole answer: it has begun when it is over.
            Asks::Typing => is_prediction(text),
            Asks::Question(question) => {
                asked.begun = true;
                asked.until = now + PIECE_WITHIN;
                // Whether what was said is any good is for the check that asks questions.
                asked.reading.take(&question.answered_by, text) != Told::More
            }
        };
        if answered {
            self.asked = None;
            self.next_ask = ask_every(&self.habits.asks).map(|every| now + every);
        }
    }

    async fn due(&mut self) -> ControlFlow<SocketEnd> {
        let now = self.clock.now();
        if self.asked.as_ref().is_some_and(|asked| asked.until <= now) {
            // Whoever sits there reloads the page.
            return Break(SocketEnd::NoAnswer);
        }
        if self.pong_until.is_some_and(|until| until <= now) {
            return Break(SocketEnd::HalfOpen);
        }
        if self.asked.is_none() && self.next_ask.is_some_and(|at| at <= now) {
            return self.ask(now).await;
        }
        if self.next_ping <= now {
            self.next_ping = now + self.habits.ping_every;
            // One that is still waited for is not forgotten for the next.
            self.pong_until.get_or_insert(now + PONG_WITHIN);
            return self.send(Message::Ping(tungstenite::Bytes::new())).await;
        }
        Continue(())
    }

    async fn ask(&mut self, now: Offset) -> ControlFlow<SocketEnd> {
        let (message, within) = match &self.habits.asks {
            Asks::Nothing => return Continue(()),
            Asks::Typing => (TYPING.to_owned(), LOST_AFTER),
            Asks::Question(question) => {
                let text = serde_json::to_string(&question.send);
                (text.expect("a map with string keys has a JSON form"), PIECE_WITHIN)
            }
        };
        self.asked = Some(Asked { until: now + within, begun: false, reading: Reading::default() });
        self.send(Message::text(message)).await
    }

    async fn send(&mut self, message: Message) -> ControlFlow<SocketEnd> {
        let until = self.clock.instant(self.clock.now() + PONG_WITHIN);
        match timeout_at(until, self.socket.send(message)).await {
            Ok(Ok(())) => Continue(()),
            Ok(Err(error)) => Break(ends::broken(&error)),
            // Nobody takes our bytes, and nobody says so.
            Err(_) => Break(SocketEnd::HalfOpen),
        }
    }
}

fn ask_every(asks: &Asks) -> Option<Duration> {
    match asks {
        Asks::Nothing => None,
        Asks::Typing => Some(TYPING_EVERY),
        Asks::Question(question) => Some(question.every),
    }
}
