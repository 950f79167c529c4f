//! Every request to an API server, seen on its way: a relay that ends TLS and reads requests' heads.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use harness::cluster::ApiEndpoint;
use rcgen::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longer heads are none.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What was asked of the API server, as RBAC sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// API group; empty for the core group.
    pub group: String,
    /// `pods`, `pods/proxy`…
    pub resource: String,
    /// Of which object, where it is of one.
    pub name: Option<String>,
    /// `get`, `list`…
    pub verb: String,
}

/// A relay that records calls until it is dropped.
#[derive(Debug)]
pub struct Recorded {
    /// Where clients connect.
    pub port: u16,
    /// The certificate that they trust.
    pub certificate_pem: String,
    calls: Arc<Mutex<BTreeSet<Call>>>,
    _serving: JoinSet<()>,
}

impl Recorded {
    /// Starts to pass requests on to the API server.
    ///
    /// # Panics
    /// Where there is no port or no certificate to be had.
    pub async fn start(api: Arc<ApiEndpoint>) -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("the key is PKCS 8");
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(server.expect("the certificate is valid")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let calls = Arc::new(Mutex::new(BTreeSet::new()));
        let record = Arc::clone(&calls);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, api, record) = (acceptor.clone(), Arc::clone(&api), Arc::clone(&record));
                // A connection that breaks is told by whoever uses it.
                each.spawn(async move { drop(pass_on(stream, &acceptor, &api, &record).await) });
            }
        });
        Self { port, certificate_pem: cert.pem(), calls, _serving: serving }
    }

    /// What was asked so far.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass_on(
    client: TcpStream,
    acceptor: &TlsAcceptor,
    api: &ApiEndpoint,
    record: &Mutex<BTreeSet<Call>>,
) -> io::Result<()> {
    let client = acceptor.accept(client).await?;
    let name = ServerName::try_from(api.host.clone()).map_err(io::Error::other)?;
    let server = TlsConnector::from(Arc::clone(&api.tls)).connect(name, TcpStream::connect(api.address).await?).await?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut requests = Requests { from: &mut from_client, waiting: Vec::new() };
        while let Some(head) = requests.head().await? {
            let text = String::from_utf8_lossy(&head).into_owned();
            record.lock().unwrap_or_else(PoisonError::into_inner).extend(calls(&text));
            to_server.write_all(&head).await?;
            let upgrades = header(&text, "upgrade").is_some();
            let mut body = header(&text, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
            while body > 0 || upgrades {
                let bytes = requests.bytes(if upgrades { usize::MAX } else { body }).await?;
                if bytes.is_empty() {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&bytes).await?;
                to_server.flush().await?;
                body = body.saturating_sub(bytes.len());
            }
            to_server.flush().await?;
        }
        to_server.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// Requests that come one after the other.
struct Requests<'a, R> {
    from: &'a mut R,
    waiting: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Requests<'_, R> {
    /// The next one's head with its empty line; nothing where there is none any more.
    async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.waiting.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.waiting.split_off(end + 4);
                return Ok(Some(std::mem::replace(&mut self.waiting, rest)));
            }
            if self.waiting.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a head without an end"));
            }
            if self.from.read_buf(&mut self.waiting).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Up to so many bytes behind the head; none at the end.
    async fn bytes(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.waiting.is_empty() {
            self.from.read_buf(&mut self.waiting).await?;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(most));
        Ok(std::mem::replace(&mut self.waiting, rest))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    line.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// What a request must be allowed to do; nothing for what everybody may, such as `/version`.
fn calls(head: &str) -> Vec<Call> {
    let mut words = head.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Vec::new() };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Vec::new(),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, name, sub) = match rest {
        [] => return Vec::new(),
        [resource] => (*resource, None, None),
        [resource, name] => (*resource, Some(*name), None),
        [resource, name, sub, ..] => (*resource, Some(*name), Some(*sub)),
    };
    let is_watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let is_apply = header(head, "content-type").is_some_and(|kind| kind.contains("apply-patch"));
    let is_tunnel = matches!(sub, Some("exec" | "portforward" | "attach"));
    let verbs: &[&str] = match method {
        // A Kubernetes from 1.35 on wants both.
        "GET" if is_tunnel => &["create", "get"],
        "GET" if name.is_some() => &["get"],
        "GET" if is_watch => &["watch"],
        "GET" => &["list"],
        "POST" => &["create"],
        "PUT" => &["update"],
        // What is applied may have to be made.
        "PATCH" if is_apply => &["create", "patch"],
        "PATCH" => &["patch"],
        "DELETE" => &["delete"],
        _ => &["?"],
    };
    let resource = sub.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
    let call = |verb: &&str| Call {
        group: group.to_owned(),
        resource: resource.clone(),
        // Making is no matter of one name.
        name: name.map(str::to_owned).filter(|_| *verb != "create" || is_tunnel),
        verb: (*verb).to_owned(),
    };
    verbs.iter().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_rbac_makes_of_it() {
        let check = |head: &str, expect: &[&str]| {
            let told: Vec<String> = calls(head)
                .into_iter()
                .map(|call| format!("{} {}|{} {}", call.verb, call.group, call.resource, call.name.unwrap_or_default()))
                .collect();
            assert_eq!(told, expect, "{head}");
        };
        check("GET /api/v1/namespaces/a HTTP/1.1\r\n", &["get |namespaces a"]);
        check("GET /api/v1/namespaces/a/pods?limit=5 HTTP/1.1\r\n", &["list |pods "]);
        check("GET /api/v1/namespaces/a/pods?watch=true HTTP/1.1\r\n", &["watch |pods "]);
        check("GET /api/v1/namespaces/a/pods/b:80/proxy/metrics HTTP/1.1\r\n", &["get |pods/proxy b:80"]);
        let tunnel = ["create |pods/portforward b", "get |pods/portforward b"];
        check("GET /api/v1/namespaces/a/pods/b/portforward?ports=1 HTTP/1.1\r\n", &tunnel);
        check("PATCH /apis/apps/v1/namespaces/a/deployments/b/scale HTTP/1.1\r\n", &["patch apps|deployments/scale b"]);
        let apply =
            "PATCH /api/v1/namespaces/a/configmaps/b HTTP/1.1\r\nContent-Type: application/apply-patch+yaml\r\n";
        check(apply, &["create |configmaps ", "patch |configmaps b"]);
        check("GET /api/v1/nodes HTTP/1.1\r\n", &["list |nodes "]);
        check("GET /version HTTP/1.1\r\n", &[]);
    }
}
