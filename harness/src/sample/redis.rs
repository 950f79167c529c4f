//! The Redis check: `PING` and `INFO server` through a forwarded port of the pod.
//!
//! The tunnel is a WebSocket of our own to the API server, not the cluster client's: that
//! one lives on another runtime, whose load would show in the sample. Its protocol
//! (`v4.channel.k8s.io`, seen on 1.36): a frame's first byte is its channel, 0 for bytes
//! and 1 for an error text; the first frame of each channel only carries the port.
//!
//! Looks alternate between a fresh tunnel and a kept one. A kept tunnel that breaks says
//! nothing by itself (the API server ends one for reasons of its own), so the same look
//! opens a fresh one. A fresh tunnel that was granted and then ends without an answer is
//! Redis' doing; one that was not granted is the way's.

use std::sync::{Mutex, PoisonError};

use bytes::{BufMut, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::door::{Door, Failure, Wire};
use super::websocket::{self, Refused};
use super::{Pods, RedisCheck};

const ASK: &[u8] = b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
/// `INFO server` is below 2 KiB; what is longer is not it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// A Redis check: one series, whichever pod is the workload's first.
pub(crate) struct RedisLook {
    pub(crate) door: Door,
    pub(crate) namespace: String,
    pub(crate) check: RedisCheck,
    pub(crate) pods: watch::Receiver<Pods>,
    kept: Mutex<Option<Tunnel>>,
}

struct Tunnel {
    uid: String,
    socket: WebSocketStream<Wire>,
    /// Channels whose first frame, the port, has come.
    greeted: [bool; 2],
}

impl RedisLook {
    pub(crate) fn new(door: Door, namespace: String, check: RedisCheck, pods: watch::Receiver<Pods>) -> Self {
        Self { door, namespace, check, pods, kept: Mutex::new(None) }
    }

    /// One look; the value is the server's `run_id`.
    ///
    /// # Errors
    /// [`Failure`] for everything but a pong and a `run_id`.
    pub(crate) async fn look(&self, fresh: bool) -> Result<Option<String>, Failure> {
        let (name, uid) = self.pod().ok_or_else(|| Failure::Theirs("no pod".to_owned()))?;
        let kept = if fresh { None } else { self.slot().take() };
        if let Some(mut tunnel) = kept.filter(|kept| kept.uid == uid)
            && let Ok(answer) = tunnel.ask().await
        {
            return self.keep(tunnel, answer);
        }
        let path = format!("/api/v1/namespaces/{}/pods/{name}/portforward?ports={}", self.namespace, self.check.port);
        let granted = websocket::handshake(&self.door, &path, Some("v4.channel.k8s.io")).await;
        let socket = granted.map_err(Refused::by_the_way)?;
        let mut tunnel = Tunnel { uid, socket, greeted: [false; 2] };
        let answer = tunnel.ask().await.map_err(Failure::Theirs)?;
        self.keep(tunnel, answer)
    }

    fn keep(&self, tunnel: Tunnel, answer: Answer) -> Result<Option<String>, Failure> {
        *self.slot() = Some(tunnel);
        match answer {
            Answer::Pong { run_id } => Ok(Some(run_id)),
            Answer::Refusal(text) => Err(Failure::Theirs(text)),
        }
    }

    fn pod(&self) -> Option<(String, String)> {
        let pods = self.pods.borrow();
        let of = pods.iter().filter(|pod| pod.workload.as_ref() == Some(&self.check.of));
        let first = of.min_by_key(|pod| (pod.terminating, &pod.name))?;
        Some((first.name.clone(), first.uid.clone()))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Tunnel>> {
        // Nothing that can panic runs while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tunnel {
    /// Asks and reads the whole answer.
    async fn ask(&mut self) -> Result<Answer, String> {
        if let Some(stale) = self.socket.next().now_or_never() {
            self.take_in(stale, &mut BytesMut::new())?;
        }
        let mut frame = Vec::with_capacity(1 + ASK.len());
        frame.put_u8(DATA);
        frame.put_slice(ASK);
        self.socket.send(Message::binary(frame)).await.map_err(|error| error.to_string())?;
        let mut received = BytesMut::new();
        loop {
            let message = self.socket.next().await;
            self.take_in(message, &mut received)?;
            if let Some(answer) = parse(&received)? {
                return Ok(answer);
            }
        }
    }

    fn take_in(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
        received: &mut BytesMut,
    ) -> Result<(), String> {
        let frame = match message {
            Some(Ok(Message::Binary(frame))) => frame,
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) | None => return Err("closed without an answer".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        let Some((channel, bytes)) = frame.split_first() else { return Ok(()) };
        let Some(greeted) = self.greeted.get_mut(usize::from(*channel)) else {
            return Err(format!("a frame on channel {channel}"));
        };
        if !std::mem::replace(greeted, true) {
            return Ok(());
        }
        match *channel {
            ERROR => Err(String::from_utf8_lossy(bytes).trim().to_owned()),
            _ if received.len() + bytes.len() > ANSWER_BYTES_MAX => Err("an answer without an end".to_owned()),
            _ => {
                received.put_slice(bytes);
                Ok(())
            }
        }
    }
}

/// What Redis said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Pong {
        run_id: String,
    },
    /// `LOADING …`, `NOAUTH …`: it answers, but not rightly.
    Refusal(String),
}

/// Reads `+PONG` and the bulk string of `INFO`; `None` where more bytes must come.
fn parse(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let Some((pong, rest)) = line(bytes)? else { return Ok(None) };
    if let Some(error) = pong.strip_prefix('-') {
        return Ok(Some(Answer::Refusal(error.to_owned())));
    }
    if pong != "+PONG" {
        return Err(format!("`{pong}` in place of a pong"));
    }
    let Some((head, rest)) = line(rest)? else { return Ok(None) };
    if let Some(error) = head.strip_prefix('-') {
        return Ok(Some(Answer::Refusal(error.to_owned())));
    }
    let length = head.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
    let length = length.ok_or_else(|| format!("`{head}` in place of a bulk string"))?;
    if length > ANSWER_BYTES_MAX {
        return Err("an answer without an end".to_owned());
    }
    // Its two last bytes end the bulk string.
    let Some(body) = rest.get(..length + 2) else { return Ok(None) };
    let text = String::from_utf8_lossy(&body[..length]);
    let run_id = text.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned());
    let run_id = run_id.ok_or_else(|| "an INFO without a run_id".to_owned())?;
    Ok(Some(Answer::Pong { run_id }))
}

fn line(bytes: &[u8]) -> Result<Option<(&str, &[u8])>, String> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "bytes that are no RESP".to_owned())?;
    Ok(Some((text, &bytes[end + 2..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:0a1b\r\ntcp_port:6379\r\n";

    fn whole() -> String {
        format!("+PONG\r\n${}\r\n{INFO}\r\n", INFO.len())
    }

    #[test]
    fn an_answer_cut_anywhere_waits_for_more() {
        let whole = whole();
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(parse(whole.as_bytes()), Ok(Some(Answer::Pong { run_id: "0a1b".to_owned() })));
    }

    #[test]
    fn what_is_no_pong_is_told() {
        let refusal = |bytes: &str, text: &str| {
            assert_eq!(parse(bytes.as_bytes()), Ok(Some(Answer::Refusal(text.to_owned()))), "{bytes}");
        };
        refusal("-LOADING Redis is loading\r\n", "LOADING Redis is loading");
        refusal("+PONG\r\n-NOAUTH Authentication required.\r\n", "NOAUTH Authentication required.");
        for garbage in ["HTTP/1.1 400\r\n", "+PONG\r\n+OK\r\n", "+PONG\r\n$99999999\r\n", "+PONG\r\n$2\r\nab\r\n"] {
            assert!(parse(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
