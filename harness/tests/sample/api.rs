//! Looks at single pods, through an API server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use harness::cluster::ApiEndpoint;
use harness::event::{PodFacts, SocketEnd};
use harness::event::{Seen, Subject};
use harness::sample::door::Door;
use harness::sample::{Check, MetricCheck, MetricRule, Pods, RedisCheck, Target};
use harness::scenario::plan::WorkloadKind;
use http::HeaderValue;
use rcgen::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::support::*;

/// What stands behind the API server, and what it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The pod answers 200; Redis answers with this `run_id`.
    Well(&'static str),
    /// An answer of the API server's own.
    Status(u16, &'static str),
    /// The pod's own answer.
    Pod503,
    /// Redis refuses: an error on the tunnel's second channel.
    Refused,
    /// Redis closes without an answer.
    Closes,
    /// The pod counts so many sockets.
    Counts(u32),
}

struct ApiServer {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    mode: watch::Sender<Mode>,
    serving: JoinSet<()>,
}

impl ApiServer {
    async fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("the key is PKCS 8");
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(server.expect("the certificate is valid")));
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("it is well-formed");
        let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, wanted) = watch::channel(Mode::Well("run-1"));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                each.spawn(serve(acceptor.clone(), stream, wanted.clone()));
            }
        });
        Self { address, tls, mode, serving }
    }

    fn door(&self) -> Door {
        Door::api(&ApiEndpoint {
            address: self.address,
            host: "kubernetes".to_owned(),
            tls: Arc::clone(&self.tls),
            authorization: Some(HeaderValue::from_static("Bearer secret")),
        })
        .expect("a plain name")
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, mode: watch::Receiver<Mode>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    // Plain requests come one after the other; a WebSocket takes the connection over.
    loop {
        head.clear();
        if !read_head(&mut stream, &mut head).await {
            return;
        }
        let text = String::from_utf8_lossy(&head).to_lowercase();
        assert!(text.contains("authorization: bearer secret"), "{text}");
        let now = *mode.borrow();
        if text.contains("upgrade: websocket") && !matches!(now, Mode::Status(..)) {
            return tunnel(stream, head, mode).await;
        }
        assert!(
            text.starts_with("get /api/v1/namespaces/ns/pods/backend-0:8000/proxy/ready http/1.1")
                || text.starts_with("get /api/v1/namespaces/ns/pods/backend-0:8000/proxy/metrics http/1.1")
                || text.starts_with("get /api/v1/namespaces/ns/pods/backend-1:8000/proxy/metrics http/1.1")
                || text.starts_with("get /api/v1/namespaces/ns/pods/redis-0/portforward?ports=6379 http/1.1"),
            "{text}"
        );
        let (code, body) = match now {
            Mode::Status(code, message) => {
                (code, format!(r#"{{"kind":"Status","apiVersion":"v1","message":"{message}","code":{code}}}"#))
            }
            Mode::Counts(number) => (200, format!("# TYPE active gauge\nactive {number}\n")),
            Mode::Pod503 => (503, r#"{"status":"not ready","reason":"Redis not connected"}"#.to_owned()),
            _ => (200, "ok".to_owned()),
        };
        let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_head(stream: &mut TlsStream<TcpStream>, head: &mut Vec<u8>) -> bool {
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// A forwarded port as the recording of 1.36 shows it, with a Redis behind it.
async fn tunnel(stream: TlsStream<TcpStream>, head: Vec<u8>, mode: watch::Receiver<Mode>) {
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(std::io::Cursor::new(head).chain(read), write);
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let granted = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/api/v1/namespaces/ns/pods/redis-0/portforward");
        assert_eq!(request.uri().query(), Some("ports=6379"));
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, granted).await.expect("our own handshake");
    let port = 6379_u16.to_le_bytes();
    for channel in [0, 1] {
        socket.send(Message::binary(vec![channel, port[0], port[1]])).await.expect("the client listens");
    }
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(frame) = message else { continue };
        assert_eq!(frame[0], 0, "bytes go on the first channel");
        assert!(frame[1..].starts_with(b"*1\r\n$4\r\nPING\r\n"), "{frame:?}");
        let now = *mode.borrow();
        match now {
            Mode::Well(run_id) => {
                let info = format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\n");
                let answer = format!("+PONG\r\n${}\r\n{info}\r\n", info.len());
                // In two frames, cut in the middle.
                let (one, other) = answer.as_bytes().split_at(20);
                for part in [one, other] {
                    socket.send(Message::binary([&[0], part].concat())).await.expect("the client listens");
                }
            }
            Mode::Refused => {
                let error = b"\x01error forwarding port 6379: connection refused".to_vec();
                socket.send(Message::binary(error)).await.expect("the client listens");
                return;
            }
            Mode::Closes | Mode::Pod503 | Mode::Counts(_) | Mode::Status(..) => {
                // The other side may be gone already.
                let _ = socket.close(None).await;
                return;
            }
        }
    }
}

fn redis() -> harness::scenario::plan::WorkloadRef {
    workload(WorkloadKind::StatefulSet, "redis")
}

/// Nothing listens there: whatever is asked of the Service by mistake is refused.
fn nowhere() -> Door {
    Door::direct("127.0.0.1:1".parse().expect("an address"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_asked_through_the_api_server() {
    let server = ApiServer::start().await;
    let plan = plan(http(Target::EachPod), Duration::from_millis(50));
    let backend = pod("backend-0", plan.workload.clone());
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), vec![backend, pod("redis-0", redis())]);
    let good = sampling.until(is_good).await.pop().unwrap();
    assert_eq!(good.subject, Subject::Pod { name: "backend-0".to_owned(), uid: "uid-backend-0".to_owned() });

    let refused = "error trying to reach service: dial tcp 10.0.0.1:8000: connect: connection refused";
    for (mode, bad, expect) in [
        (Mode::Pod503, true, "503 not ready: Redis not connected"),
        (Mode::Status(503, refused), true, "connection refused"),
        (Mode::Status(404, "pods backend-0 not found"), true, "404 pods backend-0 not found"),
        (Mode::Status(503, "apiserver is shutting down"), false, "API server: 503"),
        (Mode::Status(401, "Unauthorized"), false, "API server: 401"),
    ] {
        server.mode.send_replace(mode);
        let seen = sampling.until(|sample| reason(sample).contains(expect)).await.pop().unwrap();
        assert_eq!(is_bad(&seen), bad, "{mode:?}: {seen:?}");
        server.mode.send_replace(Mode::Well("run-1"));
        sampling.until(is_good).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_says_nothing_about_the_pod() {
    let mut server = ApiServer::start().await;
    let plan = plan(http(Target::EachPod), Duration::from_millis(50));
    let backend = pod("backend-0", plan.workload.clone());
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), vec![backend]);
    sampling.until(is_good).await;
    server.serving.shutdown().await;
    let samples = sampling.until(|sample| reason(sample) == "connect the API server: refused").await;
    assert!(!samples.iter().any(is_bad), "{samples:?}");
    assert!(matches!(samples.last().unwrap().seen, Seen::Missing { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn series_follow_the_pods() {
    let server = ApiServer::start().await;
    let plan = plan(http(Target::EachPod), Duration::from_millis(50));
    let backend = pod("backend-0", plan.workload.clone());
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), Vec::new());
    let appeared = sampling.clock.now();
    sampling.pods.send_replace(Pods::from([backend.clone()]));
    assert!(sampling.next().await.intended >= appeared);
    let leaving = harness::event::PodFacts { terminating: true, ..backend };
    sampling.pods.send_replace(Pods::from([leaving]));
    let left = sampling.clock.now();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (_, rest) = sampling.end().await;
    let late: Vec<_> = rest.iter().filter(|sample| sample.intended > later(left, 200)).collect();
    assert!(late.is_empty(), "a pod on its way out is not asked: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_asked_through_a_forwarded_port() {
    let server = ApiServer::start().await;
    let plan = plan(Check::Redis(RedisCheck { of: redis(), port: 6379 }), Duration::from_millis(50));
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), Vec::new());
    let none = sampling.until(is_bad).await.pop().unwrap();
    assert_eq!(reason(&none), "no pod");

    sampling.pods.send_replace(Pods::from([pod("redis-0", redis())]));
    let good = sampling.until(is_good).await.pop().unwrap();
    assert_eq!((good.value.as_deref(), good.subject), (Some("run-1"), Subject::Service));
    // Over kept tunnels as well as over fresh ones.
    server.mode.send_replace(Mode::Well("run-2"));
    sampling.until(|sample| is_good(sample) && sample.value.as_deref() == Some("run-2")).await;
    for _ in 0..6 {
        assert_eq!(sampling.next_punctual().await.value.as_deref(), Some("run-2"));
    }

    for (mode, bad, expect) in [
        (Mode::Refused, true, "error forwarding port 6379: connection refused"),
        (Mode::Closes, true, "closed without an answer"),
        (Mode::Status(404, "pods redis-0 not found"), true, "404 pods redis-0 not found"),
        (Mode::Status(500, "etcdserver: request timed out"), false, "API server: 500"),
    ] {
        server.mode.send_replace(mode);
        let seen = sampling.until(|sample| reason(sample).contains(expect)).await.pop().unwrap();
        assert_eq!(is_bad(&seen), bad, "{mode:?}: {seen:?}");
        server.mode.send_replace(Mode::Well("run-3"));
        sampling.until(is_good).await;
    }
}

fn active(rule: MetricRule) -> Check {
    let (path, name) = ("/metrics".to_owned(), "active".to_owned());
    Check::Metric(MetricCheck { path, name, labels: Default::default(), rule })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pods_count_is_summed_and_held_against_our_open_sockets() {
    let server = ApiServer::start().await;
    let mut plan = plan(active(MetricRule::OpenSockets), Duration::from_millis(50));
    plan.load.sockets = 4;
    let pods = vec![pod("backend-0", plan.workload.clone()), pod("backend-1", plan.workload.clone())];
    server.mode.send_replace(Mode::Counts(2));
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), pods);
    let none = sampling.until(is_bad).await.pop().unwrap();
    assert_eq!(reason(&none), "active is 4, and 0 are open: it counts sockets that nobody has");
    for _ in 0..4 {
        sampling.sockets.opened(sampling.clock.now(), true);
    }
    let good = sampling.until(is_good).await.pop().unwrap();
    assert_eq!(good.value.as_deref(), Some("4"));
    for (mode, bad, expect) in [
        (Mode::Counts(3), true, "active is 6, and 4 are open: it counts sockets that nobody has"),
        (Mode::Counts(1), true, "active is 2, and 4 are open: it does not count them all"),
        (Mode::Pod503, true, "503 in place of metrics"),
        (Mode::Well("run-1"), true, "no metric `active`"),
        (Mode::Status(503, "apiserver is shutting down"), false, "API server: 503"),
    ] {
        server.mode.send_replace(mode);
        let seen = sampling.until(|sample| reason(sample).contains(expect)).await.pop().unwrap();
        assert_eq!(is_bad(&seen), bad, "{mode:?}: {seen:?}");
        server.mode.send_replace(Mode::Counts(2));
        sampling.until(is_good).await;
    }
    // For a while the server may not have noticed that one is gone. Then it leaks.
    sampling.sockets.ended(sampling.clock.now(), true, &SocketEnd::Reset);
    sampling.until(is_good).await;
    sampling.until(|sample| reason(sample).contains("active is 4, and 3 are open")).await;
    // A socket of a check may be counted as well.
    sampling.sockets.check_began(sampling.clock.now());
    sampling.until(is_good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_of_the_pods_that_stay() {
    let server = ApiServer::start().await;
    let plan = plan(active(MetricRule::Any), Duration::from_millis(50));
    let (one, other) = (pod("backend-0", plan.workload.clone()), pod("backend-1", plan.workload.clone()));
    server.mode.send_replace(Mode::Counts(67));
    let mut sampling = Sampling::start(plan, nowhere(), Some(server.door()), vec![one.clone(), other.clone()]);
    sampling.until(|sample| sample.value.as_deref() == Some("134")).await;
    let leaving = PodFacts { terminating: true, ..other };
    sampling.pods.send_replace(Pods::from([one, leaving]));
    sampling.until(|sample| is_good(sample) && sample.value.as_deref() == Some("67")).await;
    // A process that is dead has none.
    server.mode.send_replace(Mode::Pod503);
    sampling.until(|sample| is_good(sample) && sample.value.as_deref() == Some("0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_our_own_sockets_tells_of_the_time_since_the_one_before() {
    let mut plan = plan(Check::Sockets(harness::sample::SocketsCheck {}), Duration::from_millis(100));
    plan.load.sockets = 2;
    let mut sampling = Sampling::start(plan, nowhere(), None, Vec::new());
    let first = sampling.until(is_bad).await.pop().unwrap();
    assert_eq!((reason(&first), &first.subject), ("0 of 2 sockets open", &Subject::Service));
    sampling.sockets.opened(sampling.clock.now(), true);
    sampling.sockets.opened(sampling.clock.now(), true);
    sampling.until(is_good).await;
    // Down and up again between two looks: the next look is bad, as of when it was so.
    sampling.sockets.ended(sampling.clock.now(), true, &SocketEnd::Reset);
    let back = sampling.clock.now();
    sampling.sockets.opened(back, true);
    let seen = sampling.until(is_bad).await.pop().unwrap();
    assert_eq!((reason(&seen), seen.sent), ("fewer than 2 sockets open since the last look", back));
    sampling.until(is_good).await;
    sampling.sockets.ended(sampling.clock.now(), true, &SocketEnd::HalfOpen);
    let seen = sampling.until(is_bad).await.pop().unwrap();
    assert_eq!(reason(&seen), "1 of 2 sockets open; the newest end: half-open (our ping was not answered)");
}
