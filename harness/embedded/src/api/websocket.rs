//! Opening a WebSocket on a request, with the sub-protocols of Kubernetes.

use std::future::Future;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::api::respond::{self, Answer};
use crate::status::Status;

/// A WebSocket to a client.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The answer that opens a WebSocket, what was agreed on, and the socket once the answer is out.
pub(super) struct Opened<Open> {
    pub(super) answer: Answer,
    pub(super) protocol: &'static str,
    pub(super) socket: Open,
}

/// Opens a WebSocket with the first protocol of the client's that is among `protocols`.
///
/// # Errors
/// 400 where no upgrade is asked for, or one to SPDY, with `instead` as advice;
/// 403 where no protocol is common.
pub(super) fn open(
    request: Request<Incoming>,
    protocols: &[&'static str],
    instead: &str,
) -> Result<Opened<impl Future<Output = Option<Socket>> + Send + use<>>, Status> {
    let headers = request.headers();
    check_upgrade(headers)?;
    let wanted = token(headers, UPGRADE.as_str());
    if !wanted.eq_ignore_ascii_case("websocket") {
        return Err(Status::bad_request(format!("upgrade to {wanted} is not supported by this cluster: {instead}")));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    let chosen = offered.find_map(|offer| protocols.iter().find(|protocol| **protocol == offer));
    let Some(&protocol) = chosen else {
        let known = protocols.join(", ");
        let offered = token(headers, SEC_WEBSOCKET_PROTOCOL.as_str());
        let message = format!("no common sub-protocol: offered [{offered}], known here [{known}]: {instead}");
        return Err(Status::new(403, "Forbidden", message));
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is plain text");

    let mut answer = respond::no_content(101);
    let answered = answer.headers_mut();
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answered.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    let socket = async move {
        let upgraded = hyper::upgrade::on(request).await.ok()?;
        Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
    };
    Ok(Opened { answer, protocol, socket })
}

/// 400 where no upgrade is asked for.
pub(super) fn check_upgrade(headers: &HeaderMap) -> Result<(), Status> {
    let asked = headers.contains_key(UPGRADE);
    if asked { Ok(()) } else { Err(Status::bad_request("Upgrade request required")) }
}

fn token<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
