//! The proxy subresource of pods and Services: one request, forwarded on one fresh connection.
//!
//! What is measured through it is the pod, so nothing is retried, pooled or buffered here.

mod target;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::api::Api;
use crate::api::place::Place;
use crate::api::respond::{self, Answer};
use crate::status::Status;
use target::Target;

/// How long connecting to a pod may take, as in Kubernetes.
const DIAL_MAX: Duration = Duration::from_secs(30);

/// Headers that belong to one connection, not to the message.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Any method on `pods/NAME:PORT/proxy/PATH`.
pub(super) async fn proxy(api: &Arc<Api>, place: &Place, request: Request<Incoming>) -> Result<Answer, Status> {
    let target = Target::find(&api.store, place)?;
    let dialling = tokio::time::timeout(DIAL_MAX, api.node.dial(target.address, target.port));
    let connection = match dialling.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(unreachable_at(&format!("dial tcp {target}: {}", dial_error(&error)))),
        Err(_) => return Err(unreachable_at(&format!("dial tcp {target}: i/o timeout"))),
    };
    // Small answers go out at once; a failure here costs only latency.
    let _ = connection.set_nodelay(true);
    let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(connection)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable_at(&error.to_string()))?;
    api.spawn(async move {
        // How it ended shows in the answer that it carries.
        let _ = connection.with_upgrades().await;
    });
    forward(api, place, &target, request, &mut sender).await
}

async fn forward(
    api: &Arc<Api>,
    place: &Place,
    target: &Target,
    mut request: Request<Incoming>,
    sender: &mut http1::SendRequest<Incoming>,
) -> Result<Answer, Status> {
    let upgrade = request.headers().get(UPGRADE).cloned();
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.uri = path_below(place, &parts.uri)?;
    strip(&mut parts.headers);
    parts.headers.remove(http::header::AUTHORIZATION);
    let host = HeaderValue::from_str(&target.to_string()).expect("an address is plain text");
    parts.headers.insert(HOST, host);
    match &upgrade {
        Some(protocol) => {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            parts.headers.insert(UPGRADE, protocol.clone());
        }
        None => _ = parts.headers.insert(CONNECTION, HeaderValue::from_static("close")),
    }
    let answered = sender.send_request(Request::from_parts(parts, body)).await;
    let mut answer = answered.map_err(|error| unreachable_at(&request_error(&error)))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let pod = hyper::upgrade::on(&mut answer);
        api.spawn(async move {
            let (Ok(client), Ok(pod)) = tokio::join!(client, pod) else { return };
            // Either side's end ends the tunnel.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(pod)).await;
        });
        let (parts, _) = answer.into_parts();
        return Ok(Response::from_parts(parts, respond::empty()));
    }
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    Ok(Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()))
}

/// The path after `/proxy`, with the query.
fn path_below(place: &Place, uri: &Uri) -> Result<Uri, Status> {
    let path = if place.rest.is_empty() { "/" } else { &place.rest };
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let whole: PathAndQuery = whole.parse().map_err(|_| Status::bad_request("the path cannot be forwarded"))?;
    Ok(Uri::from(whole))
}

/// Takes out what belongs to the connection, also what `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn unreachable_at(why: &str) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

/// An error of connecting, in the words of Go.
fn dial_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

fn request_error(error: &hyper::Error) -> String {
    if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
}
