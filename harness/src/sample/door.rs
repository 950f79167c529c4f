//! The ways to the system, and whose fault it is when one fails.
//!
//! Connections here are plain: one attempt, no pool, no retries, nothing between the
//! clock and the socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use rustix::io::Errno;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use crate::cluster::ApiEndpoint;
use crate::cluster::reach::{Reached, Way};

/// Why there is no right answer, and whose doing it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The system's: it refused, broke off, or answered wrongly.
    Theirs(String),
    /// Ours, or of the way to the system: it says nothing about the system.
    Ours(String),
}

/// A connection, encrypted or not.
pub(crate) type Wire = Either<TcpStream, TlsStream<TcpStream>>;

/// A way to the system.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    host: HeaderValue,
    api: Option<ApiDoor>,
    /// What may be to blame in the system's place, where the way is a port-forward.
    way: Option<Arc<Way>>,
}

#[derive(Clone)]
struct ApiDoor {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    authorization: Option<HeaderValue>,
}

impl Door {
    /// Straight to an address, without encryption.
    #[must_use]
    pub fn direct(address: SocketAddr) -> Self {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is printable ASCII");
        Self { address, host, api: None, way: None }
    }

    /// To a Service as it was reached.
    #[must_use]
    pub fn to(reached: &Reached) -> Self {
        Self::direct(reached.address).on_the_way_to(reached)
    }

    /// The same door, where it leads to a Service that was reached: what stands between asks for
    /// nothing of its own, and ends with the way.
    #[must_use]
    pub fn on_the_way_to(mut self, reached: &Reached) -> Self {
        self.host = reached.host.clone().unwrap_or(self.host);
        self.way = reached.way().cloned();
        self
    }

    /// To the API server, which passes on to a pod.
    ///
    /// # Errors
    /// A sentence where the server's name can be no name of a certificate.
    pub fn api(endpoint: &ApiEndpoint) -> Result<Self, String> {
        let wrong = |_| format!("`{}` is no name that a certificate can have", endpoint.host);
        let name = ServerName::try_from(endpoint.host.clone()).map_err(wrong)?;
        let host = format!("{}:{}", name.to_str(), endpoint.address.port());
        let api = ApiDoor { tls: Arc::clone(&endpoint.tls), name, authorization: endpoint.authorization.clone() };
        let host = HeaderValue::from_str(&host).expect("a name of a certificate is printable ASCII");
        Ok(Self { address: endpoint.address, host, api: Some(api), way: None })
    }

    /// Whether the API server stands between us and the system.
    pub(crate) fn is_api(&self) -> bool {
        self.api.is_some()
    }

    /// Why what went wrong between these instants may be the way's doing; `None` where it is the
    /// system's.
    pub(crate) fn excuse(&self, from: Instant, until: Instant) -> Option<String> {
        self.way.as_ref()?.excuse(from, until)
    }

    /// Headers that every request through here carries.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (http::HeaderName, HeaderValue)> {
        let authorization = self.api.as_ref().and_then(|api| api.authorization.clone());
        std::iter::once((http::header::HOST, self.host.clone()))
            .chain(authorization.map(|value| (http::header::AUTHORIZATION, value)))
    }

    /// Connects once. Dropping the future gives up.
    ///
    /// # Errors
    /// [`Failure::Ours`] for whatever keeps us from the API server, and for our own lack
    /// of descriptors, ports or memory; else [`Failure::Theirs`].
    pub(crate) async fn connect(&self) -> Result<Wire, Failure> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.failed("connect", &error))?;
        stream.set_nodelay(true).map_err(|error| self.failed("connect", &error))?;
        let Some(api) = &self.api else { return Ok(Either::Left(stream)) };
        let connector = TlsConnector::from(Arc::clone(&api.tls));
        let encrypted = connector.connect(api.name.clone(), stream).await;
        encrypted.map(Either::Right).map_err(|error| self.failed("greet", &error))
    }

    /// Whose failure an I/O error on a connection through here is.
    pub(crate) fn failed(&self, doing: &str, error: &io::Error) -> Failure {
        if self.is_api() {
            Failure::Ours(format!("{doing} the API server: {}", brief(error)))
        } else if is_our_lack(error) {
            Failure::Ours(format!("{doing}: {}", brief(error)))
        } else {
            Failure::Theirs(brief(error))
        }
    }
}

/// Lack of descriptors, ports or memory on our side.
fn is_our_lack(error: &io::Error) -> bool {
    const LACKS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| LACKS.iter().any(|lack| lack.raw_os_error() == code))
}

fn brief(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed without an answer".to_owned(),
        _ => error.to_string(),
    }
}

/// What an answer of the API server itself says about the pod behind it; `None` where the
/// body is no Status of Kubernetes, so that the pod has answered.
///
/// The server reports a pod that it cannot reach with the same codes as its own troubles;
/// only the message tells them apart (seen on 1.36: `error trying to reach service: dial
/// tcp …: connect: connection refused` with 503).
pub(crate) fn api_status(code: u16, body: &[u8]) -> Option<Failure> {
    #[derive(Deserialize)]
    struct Status {
        kind: String,
        #[serde(default)]
        message: String,
    }
    let status: Status = serde_json::from_slice(body).ok()?;
    if status.kind != "Status" {
        return None;
    }
    let text = format!("{code} {}", status.message);
    let about_the_pod = match code {
        401 | 403 | 429 => false,
        400..=499 => true,
        _ => ABOUT_THE_POD.iter().any(|words| status.message.contains(words)),
    };
    Some(if about_the_pod { Failure::Theirs(text) } else { Failure::Ours(format!("API server: {text}")) })
}

const ABOUT_THE_POD: [&str; 5] =
    ["error trying to reach service", "connection refused", "no endpoints available", "not running", "container"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_on_our_side_is_ours_and_refusal_is_theirs() {
        let door = Door::direct("127.0.0.1:1".parse().unwrap());
        let check = |errno: Errno, theirs: bool| {
            let failure = door.failed("connect", &io::Error::from_raw_os_error(errno.raw_os_error()));
            assert_eq!(matches!(failure, Failure::Theirs(_)), theirs, "{errno:?}: {failure:?}");
        };
        check(Errno::CONNREFUSED, true);
        check(Errno::CONNRESET, true);
        check(Errno::HOSTUNREACH, true);
        check(Errno::MFILE, false);
        check(Errno::NFILE, false);
        check(Errno::ADDRNOTAVAIL, false);
        check(Errno::NOBUFS, false);
    }

    #[test]
    fn an_answer_of_the_api_server_is_told_from_one_of_the_pod() {
        let status = |message: &str| format!(r#"{{"kind":"Status","apiVersion":"v1","message":"{message}"}}"#);
        let refused = status("error trying to reach service: dial tcp 10.0.0.1:9: connect: connection refused");
        let check = |code: u16, body: &str, expect: Option<bool>| {
            let seen = api_status(code, body.as_bytes());
            assert_eq!(seen.as_ref().map(|seen| matches!(seen, Failure::Theirs(_))), expect, "{code} {body}: {seen:?}");
        };
        check(503, &refused, Some(true));
        check(503, &status("no endpoints available for service \\\"web\\\""), Some(true));
        check(404, &status("pods \\\"redis-0\\\" not found"), Some(true));
        check(503, &status("apiserver is shutting down"), Some(false));
        check(500, &status("etcdserver: request timed out"), Some(false));
        check(401, &status("Unauthorized"), Some(false));
        check(403, &status("pods is forbidden"), Some(false));
        check(429, &status("too many requests"), Some(false));
        check(503, r#"{"status":"not ready","reason":"Redis not connected"}"#, None);
        check(502, "<html>bad gateway</html>", None);
        check(503, "", None);
    }
}
