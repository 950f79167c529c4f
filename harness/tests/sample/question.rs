//! Questions over a WebSocket, and every way not to answer them.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use harness::event::Seen;
use harness::sample::door::Door;
use harness::sample::{Check, QuestionCheck, Target};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

/// What the service does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Answers,
    Excuses,
    SaysNothing,
    Refuses,
    BreaksOff,
    Hangs,
}

async fn serve(stream: TcpStream, mode: watch::Receiver<Mode>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let Some(Ok(Message::Text(question))) = socket.next().await else { return };
    let question: Value = serde_json::from_str(&question).expect("a question is JSON");
    assert_eq!(question, json!({"type": "query", "question": "How?"}));
    let now = *mode.borrow();
    let chunk = |text: &str| json!({"type": "answer_chunk", "content": text});
    let (status, end) = (json!({"type": "status", "msg": "Thinking..."}), json!({"type": "final_answer"}));
    let frames = match now {
        Mode::Answers => vec![status, chunk("Hold "), chunk("it."), end],
        Mode::Excuses => vec![status, chunk("No answer could be generated. Please try again later."), end],
        Mode::SaysNothing => vec![status, end],
        Mode::Refuses => vec![json!({"type": "error", "message": "unknown product"})],
        Mode::BreaksOff => vec![status, chunk("Hold ")],
        Mode::Hangs => vec![status],
    };
    for frame in frames {
        if socket.send(Message::text(frame.to_string())).await.is_err() {
            return;
        }
    }
    if now != Mode::BreaksOff {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

async fn start(mode: watch::Receiver<Mode>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut each = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            each.spawn(serve(stream, mode.clone()));
        }
    });
    (address, serving)
}

fn question() -> Check {
    let of = |value: Value| serde_json::from_value(value).expect("an object");
    Check::Question(QuestionCheck {
        target: Target::Service,
        path: "/ws".to_owned(),
        send: of(json!({"type": "query", "question": "How?"})),
        answered_by: serde_json::from_value(json!({
            "chunk": {"type": "answer_chunk"},
            "text": "/content",
            "end": {"type": "final_answer"},
            "refusal": {"type": "error"},
            "excuses": ["No answer could be generated"],
        }))
        .expect("the form of a scenario file"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_answer_with_content_is_good() {
    let (mode, wanted) = watch::channel(Mode::Answers);
    let (address, _serving) = start(wanted).await;
    let mut plan = plan(question(), Duration::from_millis(50));
    plan.checks[0].slow = Some(Duration::from_millis(600));
    let mut sampling = Sampling::start(plan, Door::direct(address), None, Vec::new());
    sampling.until(is_good).await;
    for (bad, expect) in [
        (Mode::Excuses, "an excuse in place of an answer: No answer could be generated"),
        (Mode::SaysNothing, "an answer without content"),
        (Mode::Refuses, "unknown product"),
        (Mode::BreaksOff, "after the question: "),
        (Mode::Hangs, "no answer within 800ms"),
    ] {
        mode.send_replace(bad);
        let seen = sampling.until(|sample| reason(sample).contains(expect)).await.pop().unwrap();
        assert!(matches!(seen.seen, Seen::Bad { .. }), "{bad:?}: {seen:?}");
        mode.send_replace(Mode::Answers);
        sampling.until(is_good).await;
    }
}
