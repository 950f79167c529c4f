//! The WebSocket check, and the handshake that it, the tunnel and the load share.

use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request};
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::door::{Door, Failure, Wire, api_status};

/// What is typed: any text that the service looks up in its catalog will do.
pub(crate) const TYPING: &str = r#"{"type":"typing","content":"td-17"}"#;

/// What each WebSocket reads with, in bytes.
const READ_BUFFER: usize = 4096;

/// A WebSocket check at one subject. Every look is a connection of its own.
pub(crate) struct WebsocketLook {
    pub(crate) door: Door,
    /// As it stands in the request: with the pod's place where the API server passes it on.
    pub(crate) path: String,
}

impl WebsocketLook {
    /// One look.
    ///
    /// # Errors
    /// [`Failure`] for everything but a prediction.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        let mut socket = handshake(&self.door, &self.path, None).await.map_err(Refused::by_the_service)?;
        let broken = |error: tungstenite::Error| Failure::Theirs(format!("after the handshake: {error}"));
        socket.send(Message::text(TYPING)).await.map_err(broken)?;
        let answer = loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => break text,
                Some(Ok(Message::Close(_))) | None => {
                    return Err(Failure::Theirs("closed without a prediction".to_owned()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(broken(error)),
            }
        };
        if !is_prediction(&answer) {
            let text: String = answer.chars().take(80).collect();
            return Err(Failure::Theirs(format!("no prediction but {text}")));
        }
        // The answer is here; a goodbye that fails changes nothing about it.
        let _ = socket.close(None).await;
        Ok(None)
    }
}

/// Whether a text frame answers a `typing` frame.
pub(crate) fn is_prediction(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|answer| answer.get("type").is_some_and(|kind| kind == "prediction"))
}

/// Why there is no WebSocket.
pub(crate) enum Refused {
    /// The way to the service broke.
    Broken(Failure),
    /// An HTTP answer came in place of the upgrade.
    Answered {
        /// Its status.
        code: u16,
        /// What the API server says in it, where it is the API server's own.
        api: Option<Failure>,
    },
}

impl Refused {
    /// For a service that should have upgraded: another answer is its doing.
    pub(crate) fn by_the_service(self) -> Failure {
        match self {
            Self::Broken(failure) | Self::Answered { api: Some(failure), .. } => failure,
            Self::Answered { code, api: None } => Failure::Theirs(format!("{code} in place of a WebSocket")),
        }
    }

    /// For an API server that should have upgraded: only what it says of the pod is the pod's doing.
    pub(crate) fn by_the_way(self) -> Failure {
        match self {
            Self::Broken(failure) | Self::Answered { api: Some(failure), .. } => failure,
            Self::Answered { code, api: None } => Failure::Ours(format!("API server: {code} in place of a tunnel")),
        }
    }
}

/// Opens a WebSocket through a door.
///
/// # Errors
/// [`Refused`], for the caller to judge.
pub(crate) async fn handshake(
    door: &Door,
    path: &str,
    protocol: Option<&'static str>,
) -> Result<WebSocketStream<Wire>, Refused> {
    let wire = door.connect().await.map_err(Refused::Broken)?;
    let request = request(door, path, protocol).map_err(Refused::Broken)?;
    // Its default of 128 KiB, times thousands of sockets, would be most of our memory.
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let upgraded = tokio_tungstenite::client_async_with_config(request, wire, Some(config)).await;
    upgraded.map(|(socket, _)| socket).map_err(|error| match error {
        tungstenite::Error::Io(error) => Refused::Broken(door.failed("upgrade at", &error)),
        tungstenite::Error::Http(response) => {
            let code = response.status().as_u16();
            let body = response.body().as_deref().unwrap_or_default();
            Refused::Answered { code, api: if door.is_api() { api_status(code, body) } else { None } }
        }
        other if door.is_api() => Refused::Broken(Failure::Ours(format!("API server: {other}"))),
        other => Refused::Broken(Failure::Theirs(other.to_string())),
    })
}

fn request(door: &Door, path: &str, protocol: Option<&'static str>) -> Result<Request<()>, Failure> {
    let wrong = |error: http::Error| Failure::Ours(format!("ask for `{path}`: {error}"));
    // The handshake wants a URI with a scheme; what is sent is its path and query.
    let mut request = Request::get(format!("ws://service{path}")).body(()).map_err(wrong)?;
    let headers = request.headers_mut();
    headers.extend(door.headers());
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let key = HeaderValue::from_str(&generate_key()).expect("base64 is printable ASCII");
    headers.insert(SEC_WEBSOCKET_KEY, key);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_prediction_answers_typing() {
        let check = |text: &str, expect: bool| assert_eq!(is_prediction(text), expect, "{text}");
        check(r#"{"type":"prediction","data":[]}"#, true);
        check(r#"{"type":"error","message":"x"}"#, false);
        check(r#"{"data":[]}"#, false);
        check("prediction", false);
    }
}
