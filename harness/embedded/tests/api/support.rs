//! A server in this process, and a client that speaks plain HTTP to it.

use std::sync::Arc;

use bytes::Bytes;
use embedded_cluster::api::{Server, tls};
use embedded_cluster::node::Node;
use embedded_cluster::store::Store;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// The token of every server here.
pub(crate) const TOKEN: &str = "test-token";

/// A running server; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    connector: TlsConnector,
    tasks: JoinSet<()>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl Running {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let certificates = tls::certificates().unwrap();
        let store = Store::new();
        let server = Server {
            store: store.clone(),
            node: Node::without_pods(store.clone()),
            listener,
            tls: certificates.server,
            token: TOKEN.to_owned(),
            seed: 7,
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificates.ca_pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(CancellationToken::new()));
        Self { store, port, ca_pem: certificates.ca_pem, connector: TlsConnector::from(Arc::new(config)), tasks }
    }

    pub(crate) async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, tcp).await.unwrap()
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn open(&mut self, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { code: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// `ask` is a method and a path: `GET /api`.
    pub(crate) async fn ask(&mut self, ask: &str, body: Option<&Value>) -> Answer {
        self.send(request(ask, body)).await
    }

    pub(crate) async fn create_namespace(&mut self, name: &str) {
        let body = serde_json::json!({"metadata": {"name": name}});
        let answer = self.ask("POST /api/v1/namespaces", Some(&body)).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
    }
}

/// A request with the token and, where there is a body, its media type.
pub(crate) fn request(ask: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
    let (method, path) = ask.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path).header("user-agent", "rec/1.0");
    builder = builder.header("authorization", format!("Bearer {TOKEN}"));
    if body.is_some() {
        builder = builder.header("content-type", "application/json");
    }
    builder.body(Full::new(body.map(Value::to_string).unwrap_or_default().into())).unwrap()
}
