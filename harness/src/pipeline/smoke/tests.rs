//! Asking, against small real servers.

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// A server that treats each connection as told, until the test drops it.
async fn server(treat: fn(TcpStream) -> BoxFuture<'static, ()>) -> (Reached, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(treat(stream));
        }
    });
    (Reached::at("s", address), tasks)
}

fn check(within: Duration, ask: Ask) -> SmokeCheck {
    SmokeCheck { name: "n".into(), service: "s".into(), quick: false, within, ask }
}

fn ping() -> Ask {
    Ask::Http(HttpExpectation {
        path: "/ping".into(),
        status: 200,
        json: [("/pong".to_owned(), json!(true))].into(),
        at_least: [].into(),
        contains: vec![],
    })
}

fn query() -> Ask {
    let expect = vec![json!({"type": "status"}), json!({"type": "final_answer"})];
    Ask::Websocket(WebsocketExpectation { path: "/ws".into(), send: json!({"type": "query"}), expect })
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_right_answer_passes_and_a_cut_one_does_not() {
    let (good, _tasks) = server(|mut stream| {
        Box::pin(async move {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /ping HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"pong\":true}").await.unwrap();
        })
    })
    .await;
    let result = ask(&check(LONG, ping()), &good, "v1").await;
    assert!(result.passed, "{result:?}");
    assert_eq!(result.detail, "200");

    let (cut, _tasks) = server(|mut stream| {
        Box::pin(async move {
            let _request = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"pong").await.unwrap();
        })
    })
    .await;
    let result = ask(&check(LONG, ping()), &cut, "v1").await;
    assert!(!result.passed && result.detail.starts_with("answer cut"), "{result:?}");
}

#[tokio::test]
async fn silence_and_refusal_are_told_apart() {
    let (silent, _tasks) = server(|stream| {
        Box::pin(async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
    })
    .await;
    let result = ask(&check(Duration::from_millis(50), ping()), &silent, "v1").await;
    assert!(!result.passed);
    assert_eq!(result.detail, "no complete answer within 50ms");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let result = ask(&check(LONG, ping()), &Reached::at("s", nobody), "v1").await;
    assert!(result.detail.starts_with("not connected: "), "{result:?}");
}

#[tokio::test]
async fn a_conversation_is_held_to_its_end() {
    let (good, _tasks) = server(|stream| {
        Box::pin(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let asked = socket.next().await.unwrap().unwrap();
            assert_eq!(asked.into_text().unwrap().as_str(), r#"{"type":"query"}"#);
            for message in [r#"{"type":"status"}"#, r#"{"type":"answer_chunk"}"#, r#"{"type":"final_answer"}"#] {
                socket.send(Message::text(message)).await.unwrap();
            }
        })
    })
    .await;
    let result = ask(&check(LONG, query()), &good, "v1").await;
    assert!(result.passed, "{result:?}");
    assert_eq!(result.detail, "3 messages");

    let (early, _tasks) = server(|stream| {
        Box::pin(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::text(r#"{"type":"status"}"#)).await.unwrap();
            socket.close(None).await.unwrap();
        })
    })
    .await;
    let result = ask(&check(LONG, query()), &early, "v1").await;
    assert!(!result.passed);
    assert_eq!(result.detail, r#"closed (no code) before {"type":"final_answer"}"#);
}

#[tokio::test]
async fn a_service_is_reached_once_it_answers() {
    let (good, _tasks) = server(|mut stream| {
        Box::pin(async move {
            let _request = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        })
    })
    .await;
    let result = reach("web", &good).await;
    assert!(result.passed);
    assert_eq!(result.detail, format!("{}: answered 404", good.address));
}
