//! Held WebSockets: open all the time, typing now and then, back at once when they end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::LOST_AFTER;
use crate::clock::RunClock;
use crate::event::Offset;
use crate::sample::door::{Door, Failure, Wire};
use crate::sample::websocket::{self, Refused, TYPING, is_prediction};

/// Time between two `typing` frames on one socket.
const TYPING_EVERY: Duration = Duration::from_secs(2);
/// Time between two attempts to come back.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);

/// What happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketEvent {
    Opened,
    Ended,
    Lost,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a close frame of this code.
    Closed(u16),
    /// Without one: reset, or 1006 as browsers call it.
    Broken,
}

/// Whether an end by itself is a loss. A planned move is a 1001 after the answer in
/// flight; 1000 and 1012 say the same in other words.
pub(crate) fn is_loss(end: End, answer_awaited: bool) -> bool {
    match end {
        End::Broken => true,
        End::Closed(1000 | 1001 | 1012) => answer_awaited,
        End::Closed(_) => true,
    }
}

/// Where sockets go, and where what happens to them goes.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) door: Door,
    pub(crate) path: String,
    pub(crate) clock: RunClock,
    pub(crate) into: mpsc::Sender<(Offset, SocketEvent)>,
}

impl Holder {
    /// Holds one socket until dropped: opens it, types, and comes back when it ends.
    pub(crate) async fn hold(self, first: Offset) {
        sleep_until(self.clock.instant(first)).await;
        let mut away_since = first;
        let mut counted = false;
        loop {
            let socket = self.open(away_since, counted).await;
            self.tell(SocketEvent::Opened).await;
            let (end, answer_awaited) = self.use_until_it_ends(socket).await;
            away_since = self.clock.now();
            self.tell(SocketEvent::Ended).await;
            counted = is_loss(end, answer_awaited);
            if counted {
                self.tell(SocketEvent::Lost).await;
            }
        }
    }

    /// Tries every [`RECONNECT_EVERY`] until it is open, and tells once when that takes too long.
    async fn open(&self, away_since: Offset, mut counted: bool) -> WebSocketStream<Wire> {
        let mut attempt = away_since;
        loop {
            let lost_at = away_since + LOST_AFTER;
            // An attempt that hangs is given up like any request; the next one starts on its grid.
            let until = self.clock.instant(attempt.max(self.clock.now()) + LOST_AFTER);
            let opening = timeout_at(until, websocket::handshake(&self.door, &self.path, None));
            tokio::pin!(opening);
            let opened = if counted {
                opening.await
            } else {
                tokio::select! {
                    biased;
                    opened = &mut opening => opened,
                    () = sleep_until(self.clock.instant(lost_at)) => {
                        self.tell(SocketEvent::Lost).await;
                        counted = true;
                        opening.await
                    }
                }
            };
            match opened {
                Ok(Ok(socket)) => return socket,
                // Our own lack of descriptors is not the system's loss.
                Ok(Err(Refused::Broken(Failure::Ours(_)))) => counted = true,
                Ok(Err(Refused::Broken(Failure::Theirs(_)) | Refused::Answered { .. })) | Err(_) => {}
            }
            attempt = next_on_grid(attempt, self.clock.now());
            sleep_until(self.clock.instant(attempt)).await;
        }
    }

    async fn use_until_it_ends(&self, mut socket: WebSocketStream<Wire>) -> (End, bool) {
        let mut next_typing = self.clock.now() + TYPING_EVERY;
        let mut asked: Option<Offset> = None;
        loop {
            let wake = asked.map_or(next_typing, |asked| asked + LOST_AFTER);
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if is_prediction(&text) {
                            asked = None;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                        // The goodbye is answered by the flush; it decides nothing any more.
                        let _ = socket.flush().await;
                        return (End::Closed(code.into()), asked.is_some());
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                    Some(Err(tungstenite::Error::ConnectionClosed)) | Some(Err(_)) | None => {
                        return (End::Broken, asked.is_some());
                    }
                },
                () = sleep_until(self.clock.instant(wake)) => {
                    if asked.is_some() {
                        // No answer in time: whoever sits there reloads the page.
                        return (End::Broken, true);
                    }
                    if socket.send(Message::text(TYPING)).await.is_err() {
                        return (End::Broken, false);
                    }
                    asked = Some(self.clock.now());
                    next_typing = self.clock.now() + TYPING_EVERY;
                }
            }
        }
    }

    async fn tell(&self, event: SocketEvent) {
        // The generator listens as long as sockets are held.
        let _ = self.into.send((self.clock.now(), event)).await;
    }
}

fn next_on_grid(attempt: Offset, now: Offset) -> Offset {
    let passed = now.since(attempt).as_nanos() / RECONNECT_EVERY.as_nanos() + 1;
    attempt + RECONNECT_EVERY * u32::try_from(passed).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_planned_move_is_no_loss() {
        let check =
            |end: End, awaited: bool, expect: bool| assert_eq!(is_loss(end, awaited), expect, "{end:?} {awaited}");
        check(End::Closed(1001), false, false);
        check(End::Closed(1001), true, true);
        check(End::Closed(1000), false, false);
        check(End::Closed(1012), false, false);
        check(End::Closed(1011), false, true);
        check(End::Closed(1005), false, true);
        check(End::Broken, false, true);
        check(End::Broken, true, true);
    }

    #[test]
    fn attempts_stay_on_their_grid() {
        let check = |attempt: u64, now: u64, expect: u64| {
            let next = next_on_grid(Offset::from_millis(attempt), Offset::from_millis(now));
            assert_eq!(next, Offset::from_millis(expect), "{attempt} at {now}");
        };
        check(0, 0, 100);
        check(0, 99, 100);
        check(0, 100, 200);
        check(50, 2075, 2150);
    }
}
