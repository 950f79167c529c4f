//! What goes to pods: proxy, port-forward, exec, log, eviction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::routing::{any, get};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;

use crate::client::client;
use crate::support::{Running, TOKEN};

const PODS: &str = "/api/v1/namespaces/pods/pods";

/// Adds a pod that seems to run at an address, as the node agent would report it.
fn add_pod(server: &Running, name: &str, address: &str, labels: &Value) {
    let pod = json!({
        "metadata": {"name": name, "namespace": "pods", "labels": labels},
        "spec": {"nodeName": "node", "terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "x"}]},
        "status": {
            "phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "state": {"running": {}}}],
        },
    });
    server.store.create(&embedded_cluster::kinds::POD, pod).unwrap();
}

async fn with_pod() -> Running {
    let mut server = Running::start().await;
    server.create_namespace("pods").await;
    add_pod(&server, "p", "127.0.0.1", &json!({}));
    server
}

/// A web server that tells what it was asked; the count is of its connections.
async fn web(tasks: &mut JoinSet<()>) -> (u16, Arc<AtomicUsize>) {
    let tell = |uri: Uri, headers: HeaderMap, body: String| async move {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        json!({
            "uri": uri.to_string(), "body": body, "host": header("host"), "kept": header("x-kept"),
            "authorization": header("authorization"), "connection": header("connection"),
        })
        .to_string()
    };
    let socket = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(Message::Text(text))) = socket.recv().await {
                let _ = socket.send(Message::Text(format!("you said {text}").into())).await;
            }
        })
    };
    let big = || async { Body::from(vec![b'x'; 3_000_000]) };
    let router = Router::new().route("/ws", get(socket)).route("/big", get(big)).fallback(any(tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Counting { listener, connections: Arc::clone(&connections) };
    tasks.spawn(async move { axum::serve(counted, router).await.unwrap() });
    (port, connections)
}

struct Counting {
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
}

impl axum::serve::Listener for Counting {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let accepted = self.listener.accept().await.unwrap();
        self.connections.fetch_add(1, Ordering::SeqCst);
        accepted
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[tokio::test]
async fn the_proxy_forwards_each_request_on_a_fresh_connection() {
    let mut tasks = JoinSet::new();
    let (port, connections) = web(&mut tasks).await;
    let mut server = with_pod().await;
    let ask = format!("POST {PODS}/p:{port}/proxy/a//b%20c?x=1&x=2");
    let mut request = crate::support::request(&ask, Some(&json!({"n": 1})));
    request.headers_mut().insert("x-kept", "yes".parse().unwrap());
    request.headers_mut().insert("connection", "keep-alive, x-hop".parse().unwrap());
    let told = server.send(request).await.json();
    assert_eq!(told["uri"], "/a//b%20c?x=1&x=2");
    assert_eq!(told["body"], "{\"n\":1}");
    assert_eq!(told["host"], format!("127.0.0.1:{port}"));
    assert_eq!((&told["kept"], &told["connection"]), (&json!("yes"), &json!("close")));
    assert_eq!(told["authorization"], Value::Null, "the token is the cluster's, not the pod's");
    for count in 2..=4 {
        assert_eq!(server.ask(&format!("GET {PODS}/p:{port}/proxy/"), None).await.code, 200);
        assert_eq!(connections.load(Ordering::SeqCst), count);
    }
    let big = server.ask(&format!("GET {PODS}/p:{port}/proxy/big"), None).await;
    assert_eq!(big.text.len(), 3_000_000);
}

#[tokio::test]
async fn the_proxy_carries_websockets() {
    use futures_util::{SinkExt, StreamExt};
    let mut tasks = JoinSet::new();
    let (port, _) = web(&mut tasks).await;
    let server = with_pod().await;
    let stream = server.connect().await;
    let request = tungstenite::http::Request::builder()
        .uri(format!("wss://localhost{PODS}/p:{port}/proxy/ws"))
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key())
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())
        .unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for text in ["hello", "again"] {
        socket.send(tungstenite::Message::text(text)).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer.into_text().unwrap(), format!("you said {text}"));
    }
}

#[tokio::test]
async fn where_nothing_listens_the_proxy_says_so() {
    let mut server = with_pod().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let answer = server.ask(&format!("GET {PODS}/p:{unused}/proxy/"), None).await;
    let expected = format!("error trying to reach service: dial tcp 127.0.0.1:{unused}: connect: connection refused");
    assert_eq!((answer.code, &answer.json()["message"]), (503, &json!(expected)));
    assert_eq!(answer.json()["reason"], "ServiceUnavailable");
}

#[tokio::test]
async fn ports_are_forwarded() {
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
    });
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let server = with_pod().await;
    let pods: Api<Pod> = Api::namespaced(client(&server), "pods");
    let mut forwarded = pods.portforward("p", &[port, unused]).await.unwrap();
    let refused = forwarded.take_error(unused).unwrap();
    let mut stream = forwarded.take_stream(port).unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert!(refused.await.unwrap().contains("refused"));
}

#[tokio::test]
async fn upgrades_are_refused_in_words() {
    let mut server = with_pod().await;
    for (path, upgrade, protocol, code, says) in [
        ("p/exec?command=ls&stdout=true", "", "", 400, "Upgrade request required"),
        (
            "p/exec?command=ls",
            "websocket",
            "v5.channel.k8s.io",
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        ("p/exec?command=ls&stdout=true&container=zz", "websocket", "", 400, "container zz is not valid for pod p"),
        ("none/exec?command=ls&stdout=true", "websocket", "v5.channel.k8s.io", 404, "pods \"none\" not found"),
        ("p/portforward?ports=80", "websocket", "v9.channel.k8s.io", 403, "no common sub-protocol"),
        ("p/exec?command=ls&stdout=true", "websocket", "v5.channel.k8s.io", 500, "container not found (\"c\")"),
        ("p/exec?command=ls&stdout=true", "SPDY/3.1", "", 500, "container not found (\"c\")"),
        ("p/portforward", "websocket", "SPDY/3.1+portforward.k8s.io", 403, "kubectl port-forward is not served"),
        ("p/portforward", "SPDY/3.1", "", 400, "kubectl port-forward is not served"),
    ] {
        let mut request = crate::support::request(&format!("GET {PODS}/{path}"), None);
        let headers = request.headers_mut();
        if !upgrade.is_empty() {
            headers.insert("connection", "Upgrade".parse().unwrap());
            headers.insert("upgrade", upgrade.parse().unwrap());
            headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
            headers.insert("sec-websocket-version", "13".parse().unwrap());
        }
        if !protocol.is_empty() {
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        let answer = server.send(request).await;
        assert_eq!(answer.code, code, "{path} {upgrade}: {}", answer.text);
        let text = answer.json()["message"].as_str().map_or(answer.text, str::to_owned);
        assert!(text.contains(says), "{path} {upgrade}: {text}");
    }
}

#[tokio::test]
async fn disruption_budgets_refuse_evictions() {
    let mut server = with_pod().await;
    for name in ["a", "b"] {
        add_pod(&server, name, "127.0.0.1", &json!({"app": "web"}));
    }
    let budget =
        json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    let budgets = "/apis/policy/v1/namespaces/pods/poddisruptionbudgets";
    assert_eq!(server.ask(&format!("POST {budgets}"), Some(&budget)).await.code, 201);
    let mut controllers = embedded_cluster::controllers::Controllers::new(server.store.clone(), 1);
    controllers.step(jiff::Timestamp::now());
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let refused = server.ask(&format!("POST {PODS}/a/eviction"), Some(&eviction)).await;
    assert_eq!(refused.code, 429, "{}", refused.text);
    let why = "The disruption budget web needs 2 healthy pods and has 2 currently";
    assert_eq!(refused.json()["details"]["causes"], json!([{"reason": "DisruptionBudget", "message": why}]));

    let fewer =
        json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(server.ask(&format!("PUT {budgets}/web"), Some(&fewer)).await.code, 200);
    let early = server.ask(&format!("POST {PODS}/a/eviction"), Some(&eviction)).await;
    assert!(early.code == 429 && early.text.contains("still being processed"), "{}", early.text);
    controllers.step(jiff::Timestamp::now());
    let dry = json!({"deleteOptions": {"dryRun": ["All"]}});
    assert_eq!(server.ask(&format!("POST {PODS}/a/eviction"), Some(&dry)).await.code, 201);
    let pod = server.ask(&format!("GET {PODS}/a"), None).await.json();
    assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null, "a dry run deletes nothing");
    assert_eq!(server.ask(&format!("POST {PODS}/a/eviction"), Some(&eviction)).await.code, 201);
    let pod = server.ask(&format!("GET {PODS}/a"), None).await.json();
    assert!(pod["metadata"]["deletionTimestamp"].is_string(), "{pod}");
}

#[tokio::test]
async fn signals_reach_only_known_containers() {
    let mut server = with_pod().await;
    let path = "POST /gameday/v1/namespaces/pods/pods";
    for (pod, body, code) in [
        ("p", json!({"signal": "SIGSTOP", "container": "c"}), 500),
        ("p", json!({"signal": "SIGSTOP", "container": "zz"}), 400),
        ("p", json!({"signal": "SIGWHAT", "container": "c"}), 400),
        ("none", json!({"signal": "SIGKILL"}), 404),
    ] {
        let answer = server.ask(&format!("{path}/{pod}/signal"), Some(&body)).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.text);
    }
}
