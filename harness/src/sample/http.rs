//! The HTTP check, and the plain exchange that it and the load are made of.
//!
//! Half of a series' looks open a connection, the others use one that was kept. A kept
//! connection that turns out closed before a byte of the request was written says nothing
//! about the system now: that look opens a connection after all, its intended start
//! unchanged. Once the request is written, an end without an answer is a bad sample,
//! whatever the connection.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::HttpCheck;
use super::door::{Door, Failure, api_status};

/// A longer answer is a wrong one: health answers are small.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// One kept connection, driven only while it is used.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Moves bytes; gone once the connection has ended.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A complete answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Of what sort the body is, where the answer says so.
    pub(crate) kind: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

/// Why an exchange gave no answer.
enum Unanswered {
    /// Not a byte of the request was written.
    Unsent(String),
    /// The request was written, or may have been.
    Broken(String),
}

impl Connection {
    pub(crate) async fn open(door: &Door) -> Result<Self, Failure> {
        let wire = TokioIo::new(door.connect().await?);
        let (sender, driver) =
            http1::handshake(wire).await.map_err(|error| Failure::Theirs(format!("connection: {error}")))?;
        Ok(Self { sender, driver: Some(Box::pin(driver.map(drop))) })
    }

    /// Whether the other side still holds it open, as far as is known without waiting.
    fn is_open(&mut self) -> bool {
        if self.driver.as_mut().is_some_and(|driver| driver.now_or_never().is_some()) {
            self.driver = None;
        }
        self.driver.is_some() && !self.sender.is_closed()
    }

    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<Reply, Unanswered> {
        let Self { sender, driver } = self;
        let exchange = async {
            sender.ready().await.map_err(|error| Unanswered::Unsent(error.to_string()))?;
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut refused) => {
                    let unsent = refused.take_message().is_some();
                    let reason = refused.error().to_string();
                    return Err(if unsent { Unanswered::Unsent(reason) } else { Unanswered::Broken(reason) });
                }
            };
            let status = response.status();
            let kind = response.headers().get(http::header::CONTENT_TYPE).cloned();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Unanswered::Broken(format!("{status}, then: {error}")))?;
            Ok(Reply { status, kind, body: body.to_bytes() })
        };
        tokio::pin!(exchange);
        loop {
            tokio::select! {
                biased;
                done = &mut exchange => return done,
                // The driver's end wakes the exchange with what became of it.
                () = async { driver.as_mut().expect("only polled while there").await }, if driver.is_some() => {
                    *driver = None;
                }
            }
        }
    }
}

/// One exchange through a door, on a kept connection where there is a usable one. Returns
/// the connection beside the answer where it can be kept.
pub(crate) async fn exchange(
    door: &Door,
    path: &str,
    kept: Option<Connection>,
) -> Result<(Reply, Connection), Failure> {
    if let Some(mut kept) = kept
        && kept.is_open()
    {
        match kept.exchange(request(door, path)?).await {
            Ok(reply) => return Ok((reply, kept)),
            Err(Unanswered::Broken(reason)) => return Err(broken(door, reason)),
            Err(Unanswered::Unsent(_)) => {}
        }
    }
    let mut fresh = Connection::open(door).await?;
    match fresh.exchange(request(door, path)?).await {
        Ok(reply) => Ok((reply, fresh)),
        Err(Unanswered::Broken(reason) | Unanswered::Unsent(reason)) => Err(broken(door, reason)),
    }
}

/// A connection to the API server that breaks is the way's failure, not the pod's: a pod
/// that breaks off is reported by the server in an answer of its own.
fn broken(door: &Door, reason: String) -> Failure {
    if door.is_api() { Failure::Ours(format!("API server: {reason}")) } else { Failure::Theirs(reason) }
}

fn request(door: &Door, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut request =
        Request::get(path).body(Empty::new()).map_err(|error| Failure::Ours(format!("ask for `{path}`: {error}")))?;
    request.headers_mut().extend(door.headers());
    Ok(request)
}

/// An HTTP check at one subject.
pub(crate) struct HttpLook {
    pub(crate) door: Door,
    /// As it stands in the request: with the pod's place where the API server passes it on.
    pub(crate) path: String,
    pub(crate) check: HttpCheck,
    kept: Mutex<Option<Connection>>,
}

impl HttpLook {
    pub(crate) fn new(door: Door, path: String, check: HttpCheck) -> Self {
        Self { door, path, check, kept: Mutex::new(None) }
    }

    /// One look.
    ///
    /// # Errors
    /// [`Failure`] for everything but the right answer.
    pub(crate) async fn look(&self, fresh: bool) -> Result<Option<String>, Failure> {
        let kept = if fresh { None } else { self.slot().take() };
        let (reply, connection) = exchange(&self.door, &self.path, kept).await?;
        *self.slot() = Some(connection);
        if self.door.is_api()
            && let Some(failure) = api_status(reply.status.as_u16(), &reply.body)
        {
            return Err(failure);
        }
        right(&self.check, reply.status.as_u16(), &reply.body).map_err(Failure::Theirs)?;
        Ok(None)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        // Nothing that can panic runs while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer is the right one; else what is wrong with it.
fn right(check: &HttpCheck, status: u16, body: &[u8]) -> Result<(), String> {
    if status != check.status {
        return Err(format!("{status} {}", summary(body)).trim_end().to_owned());
    }
    if check.json.is_empty() {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(body).map_err(|error| format!("{status}, no JSON: {error}"))?;
    for (pointer, expected) in &check.json {
        match answer.pointer(pointer) {
            Some(found) if found == expected => {}
            Some(found) => return Err(format!("{pointer} is {found}, not {expected}")),
            None => return Err(format!("{pointer} is absent, not {expected}")),
        }
    }
    Ok(())
}

/// What a wrong answer says, in a few words: its `status` and `reason`, or its beginning.
fn summary(body: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    let said = serde_json::from_slice::<Value>(body).ok().and_then(|answer| {
        let words: Vec<&str> =
            ["status", "reason", "message"].iter().filter_map(|key| answer.get(*key)?.as_str()).collect();
        (!words.is_empty()).then(|| words.join(": "))
    });
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Target;

    fn check(status: u16, json: &str) -> HttpCheck {
        let json = serde_json::from_str(json).unwrap();
        HttpCheck { target: Target::Service, path: "/".to_owned(), status, json }
    }

    #[test]
    fn an_answer_is_right_or_says_what_is_wrong() {
        let row = |check: HttpCheck, status: u16, body: &str, expect: Result<(), &str>| {
            assert_eq!(right(&check, status, body.as_bytes()), expect.map_err(str::to_owned), "{status} {body}");
        };
        row(check(200, "{}"), 200, "", Ok(()));
        row(check(200, "{}"), 204, "", Err("204"));
        row(check(503, "{}"), 503, "x", Ok(()));
        let not_ready = r#"{"status":"not ready","reason":"Redis not connected"}"#;
        row(check(200, "{}"), 503, not_ready, Err("503 not ready: Redis not connected"));
        row(check(200, "{}"), 500, "a\n  b", Err("500 a b"));
        let connected = r#"{"/redis_connected":true}"#;
        row(check(200, connected), 200, r#"{"redis_connected":true}"#, Ok(()));
        row(check(200, connected), 200, r#"{"redis_connected":false}"#, Err("/redis_connected is false, not true"));
        row(check(200, connected), 200, r#"{"redis_connected":"true"}"#, Err("/redis_connected is \"true\", not true"));
        row(check(200, connected), 200, "{}", Err("/redis_connected is absent, not true"));
        row(check(200, r#"{"/a/0/b":1}"#), 200, r#"{"a":[{"b":1}]}"#, Ok(()));
        let long = "x".repeat(200);
        row(check(200, "{}"), 500, &long, Err(&format!("500 {}", "x".repeat(80))));
    }

    #[test]
    fn an_answer_that_is_no_json_is_wrong_where_a_value_is_asked() {
        let wrong = right(&check(200, r#"{"/a":1}"#), 200, b"ok").unwrap_err();
        assert!(wrong.starts_with("200, no JSON"), "{wrong}");
    }
}
