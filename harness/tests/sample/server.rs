//! A small HTTP server whose behaviour is switched while it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// 200 at once.
    Answers,
    /// 200 after a while.
    Slow(Duration),
    /// Takes requests and says nothing, until the mode changes.
    Hangs,
    /// 503 with a reason.
    NotReady,
    /// 200, and then it closes the connection without having said so.
    ClosesAfterwards,
    /// Closes in place of an answer.
    BreaksOff,
}

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) mode: watch::Sender<Mode>,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: watch::Sender<usize>,
    _serving: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener)
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let (mode, wanted) = watch::channel(Mode::Answers);
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
        let counts = (Arc::clone(&connections), requests.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counts.0.fetch_add(1, Ordering::Relaxed);
                each.spawn(serve(stream, wanted.clone(), counts.1.clone()));
            }
        });
        Self { address, mode, connections, requests, _serving: serving }
    }

    /// As if its process was killed: the port is closed and every connection reset or ended.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        self._serving.shutdown().await;
        self.address
    }

    pub(crate) async fn restart(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).await.expect("the port is free again"))
    }
}

async fn serve(mut stream: TcpStream, mut mode: watch::Receiver<Mode>, requests: watch::Sender<usize>) {
    let mut received = Vec::new();
    loop {
        while !received.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => received.extend_from_slice(&buffer[..length]),
            }
        }
        received.clear();
        requests.send_modify(|requests| *requests += 1);
        let now = *mode.borrow_and_update();
        match now {
            Mode::Answers | Mode::NotReady | Mode::ClosesAfterwards => {}
            Mode::Slow(time) => tokio::time::sleep(time).await,
            Mode::Hangs => {
                if mode.wait_for(|mode| *mode != Mode::Hangs).await.is_err() {
                    return;
                }
            }
            Mode::BreaksOff => return,
        }
        let answer: &[u8] = match now {
            Mode::NotReady => {
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 54\r\n\r\n{\"status\":\"not ready\",\"reason\":\"Redis not connected\"} "
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).await.is_err() || now == Mode::ClosesAfterwards {
            return;
        }
    }
}
