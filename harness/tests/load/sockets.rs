//! Held WebSockets against a server that moves, drops, resets, silences or refuses them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use harness::event::{LoadSecond, SocketChange, SocketEnd, SocketEndKind, SocketEvent};
use harness::load::table::Standing;
use harness::scenario::plan::{LoadPlan, SocketQuestion};
use serde_json::json;
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
    /// Drops them without a word: FIN.
    Drops,
    /// Resets them: RST.
    Resets,
    /// Reads nothing and says nothing any more.
    FallsSilent,
}

/// What the server does with questions, whatever its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answering {
    At,
    /// Never begins.
    Never,
    /// Begins, and does not end.
    Halfway,
}

struct Server {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Clients that said goodbye with a close frame of theirs.
    goodbyes: Arc<AtomicUsize>,
    questions: Arc<AtomicUsize>,
    serving: JoinSet<()>,
}

impl Server {
    async fn start(answering: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, wanted) = watch::channel(Mode::Holds);
        let (goodbyes, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&goodbyes), Arc::clone(&questions));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                each.spawn(serve(stream, wanted.clone(), answering, counts.clone()));
            }
        });
        Self { address, mode, goodbyes, questions, serving }
    }
}

async fn serve(
    stream: TcpStream,
    mut mode: watch::Receiver<Mode>,
    answering: Answering,
    (goodbyes, questions): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    // What the mode was when the socket came does not concern it.
    mode.mark_unchanged();
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let is_question = text.contains("query");
                    questions.fetch_add(usize::from(is_question), Ordering::Relaxed);
                    let reply = match answering {
                        _ if !is_question => json!({"type": "prediction", "data": []}),
                        Answering::At => json!({"type": "final_answer"}),
                        Answering::Halfway => json!({"type": "answer_chunk", "content": "Hold"}),
                        Answering::Never => continue,
                    };
                    if socket.send(Message::text(reply.to_string())).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Close(_))) => {
                    goodbyes.fetch_add(1, Ordering::Relaxed);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            Ok(()) = mode.changed() => {
                let now = *mode.borrow();
                match now {
                    Mode::Holds => {}
                    Mode::Drops => return,
                    Mode::Resets => {
                        socket.get_ref().set_zero_linger().expect("the socket is open");
                        return;
                    }
                    Mode::FallsSilent => std::future::pending().await,
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

fn ends(events: &[SocketEvent]) -> Vec<(SocketEnd, bool, bool)> {
    let end = |event: &SocketEvent| match &event.what {
        SocketChange::Ended { end, cut, lost } => Some((end.clone(), *cut, *lost)),
        SocketChange::Opened { .. } | SocketChange::Overdue => None,
    };
    events.iter().filter_map(end).collect()
}

fn opened(events: &[SocketEvent]) -> usize {
    events.iter().filter(|event| matches!(event.what, SocketChange::Opened { .. })).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_in_the_record_with_its_code_and_its_reason() {
    let check = async |mode: Mode, asking: u32, expect: SocketEnd, is_lost: bool| {
        let server = Server::start(Answering::At).await;
        let plan = LoadPlan { sockets_asking: asking, socket_ping: Duration::from_secs(1), ..plan(0.0, 3) };
        let loading = Loading::start(plan, None, server.address);
        loading.sockets(|events| opened(events) == 3).await;
        assert!(matches!(loading.table.standing(), Standing::Complete(_)));
        server.mode.send_replace(mode);
        let events = loading.sockets(|events| opened(events) == 6).await;
        assert_eq!(ends(&events), vec![(expect, false, is_lost); 3], "{mode:?}");
        assert!(matches!(loading.table.standing(), Standing::Complete(_)), "all are back");
        let numbers: std::collections::BTreeSet<u32> = events.iter().map(|event| event.socket).collect();
        assert_eq!(numbers.len(), 3, "each comes back under its number");
        assert_eq!(lost(&loading.end().await), if is_lost { 3 } else { 0 }, "{mode:?}");
    };
    let moved = SocketEnd::Closed { code: 1001, reason: "moving".to_owned() };
    check(Mode::Moves, 3, moved, false).await;
    check(Mode::Drops, 3, SocketEnd::Unclosed, true).await;
    check(Mode::Resets, 3, SocketEnd::Reset, true).await;
    // Those that ask nothing notice it by their own pings.
    check(Mode::FallsSilent, 0, SocketEnd::HalfOpen, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_again_after_a_move_and_an_answer_that_had_begun_is_lost() {
    let answered_by = json!({"chunk": {"type": "answer_chunk"}, "text": "/content", "end": {"type": "final_answer"}});
    let question = SocketQuestion {
        send: serde_json::from_value(json!({"type": "query"})).expect("an object"),
        answered_by: serde_json::from_value(answered_by).expect("the form of a scenario file"),
        every: Duration::from_millis(100),
    };
    let check = async |answering: Answering, expect: (bool, bool)| {
        let server = Server::start(answering).await;
        // The second of two asks questions.
        let plan = LoadPlan { socket_question: Some(question.clone()), ..plan(0.0, 2) };
        let loading = Loading::start(plan, None, server.address);
        loading.sockets(|events| opened(events) == 2).await;
        while server.questions.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // The server counts a question, answers it, and looks at its mode only then: on the wire an
        // answer that has begun is ahead of the goodbye.
        server.mode.send_replace(Mode::Moves);
        let events = loading.sockets(|events| opened(events) == 4).await;
        let of_the_second: Vec<_> = events.into_iter().filter(|event| event.socket == 1).collect();
        let ended: Vec<_> = ends(&of_the_second).into_iter().map(|(_, cut, lost)| (cut, lost)).collect();
        assert_eq!(ended, [expect], "{answering:?}");
        if answering == Answering::Never {
            let asked = server.questions.load(Ordering::Relaxed);
            while server.questions.load(Ordering::Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
            assert!(asked <= 2, "asked once on each connection: {asked}");
        }
    };
    check(Answering::Never, (false, false)).await;
    check(Answering::Halfway, (true, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_say_goodbye_in_the_end() {
    let server = Server::start(Answering::At).await;
    let loading = Loading::start(plan(0.0, 3), None, server.address);
    loading.sockets(|events| opened(events) == 3).await;
    loading.end().await;
    assert_eq!(server.goodbyes.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_back_off_decide_nothing() {
    let server = Server::start(Answering::At).await;
    let plan = LoadPlan { sockets_backing_off: 2, ..plan(0.0, 1) };
    let loading = Loading::start(plan, None, server.address);
    loading.sockets(|events| opened(events) == 3).await;
    server.mode.send_replace(Mode::Resets);
    let events = loading.sockets(|events| opened(events) == 6).await;
    let backing_off = events.iter().filter(|event| event.backs_off).count();
    assert_eq!(backing_off, 6, "two of them opened, ended and came back: {events:?}");
    assert!(ends(&events).iter().all(|(end, ..)| end.kind() == SocketEndKind::Reset), "{events:?}");
    let seconds = loading.end().await;
    assert_eq!(lost(&seconds), 1, "only the one that counts");
    assert!(seconds.iter().all(|second| second.sockets_open <= 1), "{seconds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_does_not_come_back_is_lost_once() {
    let mut server = Server::start(Answering::At).await;
    let loading = Loading::start(plan(0.0, 2), None, server.address);
    loading.until(|second| second.sockets_open == 2).await;
    server.serving.shutdown().await;
    let down = loading.until(|second| second.sockets_lost > 0).await.last().unwrap().from;
    assert!(matches!(loading.table.standing(), Standing::Missing { open: 0, last_end: Some(_) }));
    loading.until(|second| second.from.since(down).as_secs() >= 3).await;
    let seconds = loading.end().await;
    assert_eq!(lost(&seconds), 2);
    assert_eq!(seconds.last().unwrap().sockets_open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_never_opens_is_lost_once() {
    let mut server = Server::start(Answering::At).await;
    server.serving.shutdown().await;
    let loading = Loading::start(plan(0.0, 2), None, server.address);
    loading.until(|second| second.from.nanos() >= 4_000_000_000).await;
    assert_eq!(lost(&loading.end().await), 2);
}
