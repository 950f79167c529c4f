//! WebSockets that are held open: some idle, some asking.
//!
//! A socket is lost when it is reset or ends without a close frame, when an answer in
//! flight is cut, or when no new one stands within [`LOST_AFTER`] of its end. A close with
//! code 1001 after the answer in flight is a planned move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::{Counted, LOST_AFTER};
use crate::clock::RunClock;

/// Pause between two tries to connect: fixed, so that our back-off is not measured.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);
/// One in so many sockets asks; the others only stand.
const ASKS_ONE_IN: u32 = 2;
/// An asking socket asks once in this time, each at a moment of its own.
const ASK_EVERY: Duration = Duration::from_secs(2);
const QUESTION: &str = r#"{"type":"typing","content":"td-17"}"#;

/// One held socket.
pub(super) struct Holder {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) number: u32,
    pub(super) seed: u64,
    pub(super) open: Arc<AtomicU32>,
    pub(super) results: mpsc::Sender<Counted>,
    pub(super) clock: RunClock,
}

/// How a held socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// We closed it.
    Ours,
    /// It said that it goes, and no answer was due.
    Planned,
    /// Anything else.
    Lost,
}

impl Holder {
    /// Holds a socket until cancelled; connects again whenever it ends.
    pub(super) async fn hold(self, cancel: CancellationToken) {
        let mut waiting_since = self.clock.now();
        let mut counted = false;
        while !cancel.is_cancelled() {
            let attempt = tokio::time::timeout(LOST_AFTER, self.connect());
            if let Ok(Ok(socket)) = attempt.await {
                self.open.fetch_add(1, Ordering::Relaxed);
                let end = self.until_it_ends(socket, &cancel).await;
                self.open.fetch_sub(1, Ordering::Relaxed);
                waiting_since = self.clock.now();
                counted = end == End::Lost;
                if end == End::Lost {
                    self.lost().await;
                }
                if end == End::Ours {
                    return;
                }
            } else if !counted && self.clock.now().since(waiting_since) > LOST_AFTER {
                self.lost().await;
                counted = true;
            }
            tokio::select! {
                () = tokio::time::sleep(RECONNECT_EVERY) => {}
                () = cancel.cancelled() => {}
            }
        }
    }

    async fn connect(&self) -> Result<WebSocketStream<TcpStream>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let url = format!("ws://{}{}{separator}client_id=load-{}", self.address, self.path, self.number);
        client_async(url, stream).await.map(|(socket, _)| socket)
    }

    async fn until_it_ends(&self, mut socket: WebSocketStream<TcpStream>, cancel: &CancellationToken) -> End {
        let asks = self.number.is_multiple_of(ASKS_ONE_IN);
        let mut random = fastrand::Rng::with_seed(self.seed ^ u64::from(self.number));
        let first = ASK_EVERY.mul_f64(random.f64());
        let mut next_question = self.clock.now() + first;
        let mut answer_due = None;
        loop {
            let wake = answer_due.unwrap_or(next_question);
            tokio::select! {
                () = cancel.cancelled() => {
                    let farewell = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    // The other side may be gone already; we are going in any case.
                    let _ = tokio::time::timeout(RECONNECT_EVERY, socket.close(Some(farewell))).await;
                    return End::Ours;
                }
                () = tokio::time::sleep_until(self.clock.instant(wake)), if asks => {
                    if answer_due.is_some() {
                        return End::Lost;
                    }
                    if socket.send(Message::text(QUESTION)).await.is_err() {
                        return End::Lost;
                    }
                    answer_due = Some(self.clock.now() + LOST_AFTER);
                    next_question = next_question + ASK_EVERY;
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(_))) => answer_due = None,
                    Some(Ok(Message::Close(frame))) => return closed(frame.as_ref(), answer_due.is_some()),
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Err(_)) | None => return End::Lost,
                },
            }
        }
    }

    async fn lost(&self) {
        // A closed channel means that nobody counts any more.
        let _ = self.results.send(Counted::SocketLost { at: self.clock.now() }).await;
    }
}

fn closed(frame: Option<&CloseFrame>, answer_due: bool) -> End {
    let away = frame.is_some_and(|frame| frame.code == CloseCode::Away);
    if away && !answer_due { End::Planned } else { End::Lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_1001_with_no_answer_due_is_planned() {
        let frame = |code| CloseFrame { code, reason: "".into() };
        for (frame, answer_due, expected) in [
            (Some(frame(CloseCode::Away)), false, End::Planned),
            (Some(frame(CloseCode::Away)), true, End::Lost),
            (Some(frame(CloseCode::Normal)), false, End::Lost),
            (Some(frame(CloseCode::Abnormal)), false, End::Lost),
            (None, false, End::Lost),
        ] {
            assert_eq!(closed(frame.as_ref(), answer_due), expected, "{frame:?} {answer_due}");
        }
    }
}
