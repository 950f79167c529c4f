//! The question check: a query over a WebSocket of its own, read to the end of its answer.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{self, Message};

use super::QuestionCheck;
use super::answer::{Reading, Told};
use super::door::{Door, Failure};
use super::websocket::{Refused, handshake};

/// A question at one subject. Every look is a connection of its own.
pub(crate) struct QuestionLook {
    pub(crate) door: Door,
    /// As it stands in the request: with the pod's place where the API server passes it on.
    pub(crate) path: String,
    pub(crate) check: QuestionCheck,
}

impl QuestionLook {
    /// One look.
    ///
    /// # Errors
    /// [`Failure`] for everything but a whole answer with content.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        let mut socket = handshake(&self.door, &self.path, None).await.map_err(Refused::by_the_service)?;
        let broken = |error: tungstenite::Error| Failure::Theirs(format!("after the question: {error}"));
        let question = serde_json::to_string(&self.check.send).expect("a map with string keys has a JSON form");
        socket.send(Message::text(question)).await.map_err(broken)?;
        let mut reading = Reading::default();
        loop {
            let told = match socket.next().await {
                Some(Ok(Message::Text(text))) => reading.take(&self.check.answered_by, &text),
                Some(Ok(Message::Close(_))) | None => Told::Wrong("closed before the end of the answer".to_owned()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => Told::More,
                Some(Err(error)) => return Err(broken(error)),
            };
            match told {
                Told::More => {}
                Told::Answered => break,
                Told::Wrong(reason) => return Err(Failure::Theirs(reason)),
            }
        }
        // The answer is here; a goodbye that fails changes nothing about it.
        let _ = socket.close(None).await;
        Ok(None)
    }
}
