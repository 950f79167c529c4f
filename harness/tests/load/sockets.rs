//! Held WebSockets against a server that moves, drops or refuses them.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use harness::event::LoadSecond;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Loading, plan};

/// What the server does with sockets that it already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Holds,
    /// Says 1001, and takes new ones.
    Moves,
    /// Drops them without a word.
    Drops,
}

struct Server {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    serving: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, wanted) = watch::channel(Mode::Holds);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                each.spawn(serve(stream, wanted.clone()));
            }
        });
        Self { address, mode, serving }
    }
}

async fn serve(stream: TcpStream, mut mode: watch::Receiver<Mode>) {
    // What the mode was when the socket came does not concern it.
    mode.mark_unchanged();
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(_))) => {
                    let prediction = r#"{"type":"prediction","data":[]}"#;
                    if socket.send(Message::text(prediction)).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            Ok(()) = mode.changed() => {
                let now = *mode.borrow();
                match now {
                    Mode::Holds => {}
                    Mode::Drops => return,
                    Mode::Moves => {
                        let frame = CloseFrame { code: CloseCode::Away, reason: "moving".into() };
                        // The other side answers, or is gone already.
                        let _ = socket.close(Some(frame)).await;
                        while let Some(Ok(_)) = socket.next().await {}
                        return;
                    }
                }
            }
        }
    }
}

fn lost(seconds: &[LoadSecond]) -> u32 {
    seconds.iter().map(|second| second.sockets_lost).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_move_loses_nothing_and_a_drop_loses_all() {
    let check = async |mode: Mode, expect: u32| {
        let server = Server::start().await;
        let loading = Loading::start(plan(0.0, 3), None, server.address);
        let opened = loading.until(|second| second.sockets_open == 3).await;
        assert_eq!(lost(&opened), 0, "{mode:?}");
        let last = opened.last().unwrap().from;
        server.mode.send_replace(mode);
        // They are back, and stay.
        loading.until(|second| second.sockets_open == 3 && second.from.since(last).as_secs() >= 4).await;
        assert_eq!(lost(&loading.end().await), expect, "{mode:?}");
    };
    check(Mode::Moves, 0).await;
    check(Mode::Drops, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_does_not_come_back_is_lost_once() {
    let mut server = Server::start().await;
    let loading = Loading::start(plan(0.0, 2), None, server.address);
    loading.until(|second| second.sockets_open == 2).await;
    server.serving.shutdown().await;
    let down = loading.until(|second| second.sockets_lost > 0).await.last().unwrap().from;
    loading.until(|second| second.from.since(down).as_secs() >= 3).await;
    let seconds = loading.end().await;
    assert_eq!(lost(&seconds), 2);
    assert_eq!(seconds.last().unwrap().sockets_open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_never_opens_is_lost_once() {
    let mut server = Server::start().await;
    server.serving.shutdown().await;
    let loading = Loading::start(plan(0.0, 2), None, server.address);
    loading.until(|second| second.from.nanos() >= 4_000_000_000).await;
    assert_eq!(lost(&loading.end().await), 2);
}
