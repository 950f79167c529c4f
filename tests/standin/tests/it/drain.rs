//! What a good build does after SIGTERM.

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{Part, Stack, content};

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut stack = Stack::start(&[]).await;
    for part in [&mut stack.backend, &mut stack.outside] {
        part.signal(Signal::TERM);
        assert_eq!(part.ended().await.code(), Some(0));
        part.logged("drained").await;
    }
}

#[tokio::test]
async fn an_answer_in_flight_is_finished_before_the_socket_is_closed() {
    let mut stack = Stack::start(&[]).await;
    stack.outside_is(&json!({"llm": "slow", "slow_ms": 100})).await;
    let (mut asking, mut idle) = (stack.backend.socket().await, stack.backend.socket().await);
    asking.ask("roland-td-17", "the whole of it").await;
    assert_eq!(asking.hear().await["type"], "status");
    stack.backend.signal(Signal::TERM);

    assert_eq!(idle.close_code().await, Some(1001));
    assert!(content(&asking.hear_answer().await).ends_with("(You asked: the whole of it)"));
    assert_eq!(asking.close_code().await, Some(1001));
    assert_eq!(stack.backend.ended().await.code(), Some(0));
}

#[tokio::test]
async fn requests_after_the_signal_are_answered_and_their_connections_closed() {
    let mut stack = Stack::start(&[]).await;
    stack.outside_is(&json!({"llm": "slow", "slow_ms": 300})).await;
    let mut kept = Connection::open(&stack.backend).await;
    assert!(!kept.get("/ping").await.contains("connection: close"));
    let mut socket = stack.backend.socket().await;
    socket.ask("roland-td-17", "long").await;
    assert_eq!(socket.hear().await["type"], "status");
    stack.backend.signal(Signal::TERM);
    stack.backend.logged("draining").await;

    // Kept alive from before, and new: both are answered as long as the server lives.
    let mut new = Connection::open(&stack.backend).await;
    for connection in [&mut kept, &mut new] {
        let head = connection.get("/ping").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
        assert_eq!(connection.rest().await, "");
    }
    socket.hear_answer().await;
    assert_eq!(socket.close_code().await, Some(1001));
    assert_eq!(stack.backend.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_in_flight_is_answered() {
    let mut stack = Stack::start(&[]).await;
    stack.redis.signal(Signal::STOP);
    let mut asking = Connection::open(&stack.backend).await;
    // This answer waits for Redis; the next one tells that the request has been read.
    asking.send("/ready").await;
    stack.backend.get("/ping").await;
    stack.backend.signal(Signal::TERM);
    let head = asking.receive().await;
    assert!(head.starts_with("http/1.1 503") && head.contains("connection: close"), "{head}");
    assert_eq!(stack.backend.ended().await.code(), Some(0));
}

#[tokio::test]
async fn draining_has_a_limit() {
    let mut stack = Stack::start(&[("DRAIN_SECONDS", "0.3")]).await;
    stack.outside_is(&json!({"llm": "hang"})).await;
    let mut socket = stack.backend.socket().await;
    socket.ask("roland-td-17", "never answered").await;
    assert_eq!(socket.hear().await["type"], "status");
    stack.backend.signal(Signal::TERM);
    assert_eq!(socket.close_code().await, None);
    assert_eq!(stack.backend.ended().await.code(), Some(0));
    stack.backend.logged("not drained in time").await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_server_for_ever() {
    let mut stack = Stack::start(&[]).await;
    let mut idle = Connection::open(&stack.backend).await;
    idle.get("/ping").await;
    stack.backend.signal(Signal::TERM);
    assert_eq!(idle.rest().await, "");
    assert_eq!(stack.backend.ended().await.code(), Some(0));
    stack.backend.logged("drained").await;
}

/// A connection that is kept alive, read by hand.
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(part: &Part) -> Self {
        Self(BufReader::new(TcpStream::connect(part.address()).await.unwrap()))
    }

    async fn get(&mut self, path: &str) -> String {
        self.send(path).await;
        self.receive().await
    }

    async fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).await.unwrap();
    }

    /// The head of the next answer, in lower case; its body is read as well.
    async fn receive(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await.unwrap(), 0, "ended in {head:?}");
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        head
    }

    /// What comes until the server closes.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let reading = self.0.read_to_string(&mut rest);
        tokio::time::timeout(crate::support::DEADLINE, reading).await.expect("the server closes").unwrap();
        rest
    }
}
