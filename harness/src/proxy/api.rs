//! The proxy's API: HTTP on loopback, with a bearer token.
//!
//! | request | what it does |
//! |---|---|
//! | `PUT /v1/tricks` `{"tricks": […]}` | puts these in place of what is in force, under a new lease |
//! | `GET /v1/tricks` | the [`State`] |
//! | `DELETE /v1/tricks` | lifts everything; answers what was lifted |
//! | `POST /v1/lease` | renews the lease; 409 where there is none |
//! | `GET /v1/instance` | the [`Instance`]; needs no token |
//!
//! The last one is for whoever has to verify that nothing is left broken, without the token,
//! after whoever set the tricks is gone.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::port::Port;
use super::{Shared, Trick};

/// A longer request is refused.
const BODY_MAX: usize = 64 * 1_024;
/// Pause after a connection that could not be taken in.
const PAUSE: Duration = Duration::from_millis(50);

/// What is to be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wanted {
    /// These tricks, together.
    pub tricks: Vec<Trick>,
}

/// What is in force, and what has been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct State {
    /// Which proxy.
    pub proxy: String,
    /// The tricks in force; a reset or a cut is over when it is done.
    pub tricks: Vec<Trick>,
    /// How long they stay in force if nobody renews the lease.
    #[serde(default, with = "crate::duration::optional")]
    pub lease: Option<Duration>,
    /// Connections, by what became of them.
    pub connections: Connections,
}

/// Connections, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Connections {
    /// Ever taken in.
    pub accepted: u64,
    /// Open now.
    pub open: u64,
    /// Reset: ordered, because one end was, or because the Service could not be reached.
    pub reset: u64,
    /// Closed because it was ordered.
    pub cut: u64,
    /// Closed because no byte moved.
    pub idle: u64,
}

/// Which proxy this is, and whether it passes everything on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instance {
    /// Which proxy.
    pub proxy: String,
    /// Whether no trick is in force.
    pub clear: bool,
}

/// Serves until dropped.
///
/// # Errors
/// Where the port cannot be listened on.
pub(super) async fn serve(shared: &Arc<Shared>, port: &Port) -> io::Result<()> {
    let listening = port.listen()?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listening.accept() => match accepted {
                Ok((stream, _)) => {
                    // Small answers must not wait.
                    let _ = stream.set_nodelay(true);
                    let shared = Arc::clone(shared);
                    let answering = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                    });
                    connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answering));
                }
                Err(_) => sleep(PAUSE).await,
            },
        }
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if (&parts.method, path) == (&Method::GET, "/v1/instance") {
        return json(StatusCode::OK, &Instance { proxy: shared.id.clone(), clear: shared.is_clear() });
    }
    let given = parts.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    if !is_token(given, shared.token.expose_secret()) {
        return says(StatusCode::UNAUTHORIZED, "give the proxy's bearer token");
    }
    match (parts.method, path) {
        (Method::PUT, "/v1/tricks") => put(shared, body).await,
        (Method::GET, "/v1/tricks") => json(StatusCode::OK, &state(shared)),
        (Method::DELETE, "/v1/tricks") => {
            let mut tricks = Vec::new();
            shared.orders.send_modify(|orders| tricks = orders.clear());
            shared.settled().await;
            json(StatusCode::OK, &Wanted { tricks })
        }
        (Method::POST, "/v1/lease") => {
            let mut renewed = false;
            let now = shared.options.clock.now();
            // No connection needs to know.
            shared.orders.send_if_modified(|orders| {
                renewed = orders.renew(now);
                false
            });
            if renewed {
                json(StatusCode::OK, &state(shared))
            } else {
                says(StatusCode::CONFLICT, "there is no lease, or it ran out: the tricks are lifted")
            }
        }
        (_, "/v1/tricks" | "/v1/lease" | "/v1/instance") => {
            says(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        }
        _ => says(StatusCode::NOT_FOUND, "there are /v1/tricks, /v1/lease and /v1/instance"),
    }
}

async fn put(shared: &Shared, body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return says(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long, or was cut");
    };
    let wanted: Wanted = match serde_json::from_slice(&body.to_bytes()) {
        Ok(wanted) => wanted,
        Err(error) => return says(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Some(wrong) = wanted.tricks.iter().find_map(Trick::wrong) {
        return says(StatusCode::BAD_REQUEST, &wrong);
    }
    let now = shared.options.clock.now();
    let mut reset_below = 0;
    shared.orders.send_modify(|orders| {
        orders.set(wanted.tricks, shared.next_number(), now);
        reset_below = orders.effect().reset_below;
    });
    shared.clients.reset_below(reset_below);
    shared.settled().await;
    json(StatusCode::OK, &state(shared))
}

fn state(shared: &Shared) -> State {
    let orders = shared.orders.borrow();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counts = &shared.counts;
    State {
        proxy: shared.id.clone(),
        tricks: orders.tricks(),
        lease: orders.lease().map(|until| until.since(shared.options.clock.now())),
        connections: Connections {
            accepted: count(&counts.accepted),
            open: count(&counts.open),
            reset: count(&counts.reset),
            cut: count(&counts.cut),
            idle: count(&counts.idle),
        },
    }
}

/// Compares all of it, so that the time taken does not tell how much was right.
fn is_token(header: &[u8], token: &str) -> bool {
    let given = header.strip_prefix(b"Bearer ").unwrap_or_default();
    let differing = given.iter().zip(token.as_bytes()).fold(0, |differing, (one, other)| differing | (one ^ other));
    given.len() == token.len() && differing == 0
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("the forms of this API have string keys only");
    respond(status, "application/json", body)
}

fn says(status: StatusCode, text: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}
