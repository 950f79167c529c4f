//! One WebSocket session.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::answer::answer;
use super::app::App;
use super::flaw::Flaw;
use super::metrics::seconds;
use super::protocol::{ClientMessage, Query, Refusal, ServerMessage};
use crate::serve::Drain;

/// Questions that wait behind the one that is being answered.
const QUESTIONS_WAITING_MAX: usize = 8;
/// Messages of an answer that wait for a slow client.
const OUTBOX: usize = 32;
/// How long a client may take to answer our close.
const GOODBYE: Duration = Duration::from_secs(1);

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed.
    ClientLeft,
    /// The connection broke.
    Broken,
    /// The server drains.
    GoingAway,
    /// The flaw `drops-sockets`.
    Dropped,
}

/// Runs a session to its end.
pub(crate) async fn run(socket: WebSocket, client: String, app: Arc<App>, drain: Drain) -> End {
    app.metrics.websocket_active.inc();
    app.log.info("websocket", "websocket connected", &[("client_id", client.as_str().into())]);
    let (outbox, replies) = mpsc::channel(OUTBOX);
    let mut session = Session {
        socket,
        client,
        app,
        outbox,
        replies,
        answering: None,
        asked: Instant::now(),
        first_reply: false,
        questions: VecDeque::new(),
    };
    let end = session.serve(&drain).await;
    let Session { socket, client, app, .. } = session;
    if end == End::GoingAway {
        say_goodbye(socket).await;
    }
    if app.flaw == Some(Flaw::LeaksSockets) && end == End::Broken {
        return end;
    }
    app.metrics.websocket_active.dec();
    let reason = format!("{end:?}");
    app.log.info("websocket", "websocket disconnected", &[("client_id", client.into()), ("reason", reason.into())]);
    end
}

struct Session {
    socket: WebSocket,
    client: String,
    app: Arc<App>,
    outbox: mpsc::Sender<ServerMessage>,
    replies: mpsc::Receiver<ServerMessage>,
    answering: Option<Answering>,
    /// When the question that is being answered came.
    asked: Instant,
    /// Whether something was said to it already.
    first_reply: bool,
    questions: VecDeque<(Query, Instant)>,
}

enum Step {
    Reply(ServerMessage),
    Answered,
    Frame(Option<Result<Message, axum::Error>>),
    End(End),
}

impl Session {
    async fn serve(&mut self, drain: &Drain) -> End {
        let mut dropped = std::pin::pin!(drop_some_time(self.app.drop_sockets, drain));
        loop {
            let step = tokio::select! {
                // What is already said goes out before what comes next.
                biased;
                Some(reply) = self.replies.recv() => Step::Reply(reply),
                () = poll_answer(&mut self.answering) => Step::Answered,
                () = &mut dropped => Step::End(End::Dropped),
                () = drain.started(), if self.answering.is_none() => Step::End(End::GoingAway),
                frame = self.socket.recv() => Step::Frame(frame),
            };
            let carried_on = match step {
                Step::Reply(reply) => self.send_reply(&reply).await,
                Step::Answered => self.answered().await,
                Step::Frame(frame) => self.take(frame).await,
                Step::End(end) => Err(end),
            };
            if let Err(end) = carried_on {
                return end;
            }
        }
    }

    async fn take(&mut self, frame: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match frame {
            Some(Ok(Message::Text(text))) => match ClientMessage::parse(&text) {
                Ok(message) => self.take_message(message).await,
                Err(refusal) => self.refuse(refusal).await,
            },
            Some(Ok(Message::Binary(_))) => {
                let message = "only text frames are understood".to_owned();
                self.refuse(Refusal { error_type: "binary", message }).await
            }
            // Pongs are sent by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(End::ClientLeft),
            Some(Err(error)) => Err(self.broken("receive", &error)),
        }
    }

    async fn take_message(&mut self, message: ClientMessage) -> Result<(), End> {
        let came = Instant::now();
        self.app.metrics.messages_processed.with_label_values(&[message.label()]).inc();
        match message {
            ClientMessage::Typing { content } => {
                let data = self.app.predict(&content).await;
                self.app.metrics.prediction_latency.observe(seconds(came.elapsed()));
                self.send(&ServerMessage::Prediction { data }).await?;
                self.app.metrics.websocket_latency.observe(seconds(came.elapsed()));
                Ok(())
            }
            ClientMessage::Query(_) if self.questions.len() == QUESTIONS_WAITING_MAX => {
                let message = format!("{QUESTIONS_WAITING_MAX} questions are waiting already");
                self.refuse(Refusal { error_type: "too_many_questions", message }).await
            }
            ClientMessage::Query(query) => {
                self.questions.push_back((query, came));
                self.answer_next();
                Ok(())
            }
        }
    }

    /// Begins with the next question, if none is being answered.
    fn answer_next(&mut self) {
        if self.answering.is_none()
            && let Some((query, came)) = self.questions.pop_front()
        {
            self.asked = came;
            self.first_reply = true;
            let (app, client, outbox) = (Arc::clone(&self.app), self.client.clone(), self.outbox.clone());
            self.answering = Some(Box::pin(answer(app, client, query, outbox)));
        }
    }

    async fn answered(&mut self) -> Result<(), End> {
        self.answering = None;
        // What the answer said at its very end.
        while let Ok(reply) = self.replies.try_recv() {
            self.send_reply(&reply).await?;
        }
        self.answer_next();
        Ok(())
    }

    async fn send_reply(&mut self, reply: &ServerMessage) -> Result<(), End> {
        self.send(reply).await?;
        if std::mem::take(&mut self.first_reply) {
            self.app.metrics.websocket_latency.observe(seconds(self.asked.elapsed()));
        }
        Ok(())
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        self.app.metrics.websocket_errors.with_label_values(&[refusal.error_type]).inc();
        self.app.metrics.messages_processed.with_label_values(&["invalid"]).inc();
        self.send(&ServerMessage::Error { message: refusal.message }).await
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        // A message of ours always has a JSON form.
        let text = serde_json::to_string(message).unwrap_or_default();
        self.socket.send(Message::text(text)).await.map_err(|error| self.broken("send", &error))
    }

    fn broken(&self, error_type: &str, error: &axum::Error) -> End {
        self.app.metrics.websocket_errors.with_label_values(&[error_type]).inc();
        self.app.log.warning(
            "websocket",
            "websocket error",
            &[("client_id", self.client.as_str().into()), ("error", error.to_string().into())],
        );
        End::Broken
    }
}

/// Ends with the answer; never where nothing is being answered.
async fn poll_answer(answering: &mut Option<Answering>) {
    match answering {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

/// For the flaw `drops-sockets`: ends between half and one and a half times the mean life,
/// or when the server drains. Never without the flaw.
async fn drop_some_time(mean: Option<Duration>, drain: &Drain) {
    let Some(mean) = mean else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = drain.started() => {}
        () = sleep(mean.mul_f64(0.5 + fastrand::f64())) => {}
    }
}

/// Sends close 1001 and waits a moment for the client's close, so that no reset eats ours.
async fn say_goodbye(mut socket: WebSocket) {
    let close = CloseFrame { code: close_code::AWAY, reason: "server is going away".into() };
    // A client that is gone already needs no goodbye.
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        let _ = timeout(GOODBYE, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    }
}
