//! The survival check: one connection that outlives a question, however that is answered.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::SurvivalCheck;
use super::answer::includes;
use super::door::{Door, Failure, Wire};
use super::websocket::{TYPING, handshake, is_prediction};

/// A server that leaves in a planned way says so once or twice in a rollout, not for ever.
const MOVES_MAX: u32 = 3;

/// A connection at one subject. Every look is a connection of its own.
pub(crate) struct SurvivalLook {
    pub(crate) door: Door,
    /// As it stands in the request: with the pod's place where the API server passes it on.
    pub(crate) path: String,
    pub(crate) check: SurvivalCheck,
}

/// Why a connection did not get to its end.
enum Lost {
    /// The server said that it is going away: the client moves to another one.
    Moved,
    /// The system's doing, or ours.
    Failed(Failure),
}

impl SurvivalLook {
    /// One look.
    ///
    /// # Errors
    /// [`Failure`] where the connection did not outlive the end of the answer.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        for _ in 0..MOVES_MAX {
            match self.once().await {
                Ok(()) => return Ok(None),
                Err(Lost::Moved) => {}
                Err(Lost::Failed(failure)) => return Err(failure),
            }
        }
        Err(Failure::Theirs(format!("{MOVES_MAX} servers in a row were going away")))
    }

    async fn once(&self) -> Result<(), Lost> {
        let opened = handshake(&self.door, &self.path, None).await;
        let mut socket = opened.map_err(|refused| Lost::Failed(refused.by_the_service()))?;
        let question = serde_json::to_string(&self.check.send).expect("a map with string keys has a JSON form");
        say(&mut socket, question).await?;
        let ends = |text: &str| serde_json::from_str(text).is_ok_and(|message| includes(&message, &self.check.end));
        hear(&mut socket, "the end of the answer", ends).await?;
        say(&mut socket, TYPING.to_owned()).await?;
        hear(&mut socket, "a prediction after the answer", is_prediction).await?;
        // What was asked has been answered; a goodbye that fails changes nothing about it.
        let _ = socket.close(None).await;
        Ok(())
    }
}

async fn say(socket: &mut WebSocketStream<Wire>, text: String) -> Result<(), Lost> {
    socket.send(Message::text(text)).await.map_err(|error| broken(&error))
}

/// Waits for a message; what else comes is passed over.
async fn hear(socket: &mut WebSocketStream<Wire>, what: &str, is_it: impl Fn(&str) -> bool) -> Result<(), Lost> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if is_it(&text) => return Ok(()),
            Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Away => return Err(Lost::Moved),
            Some(Ok(Message::Close(_))) | None => {
                return Err(Lost::Failed(Failure::Theirs(format!("closed before {what}"))));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(&error)),
        }
    }
}

fn broken(error: &tungstenite::Error) -> Lost {
    Lost::Failed(Failure::Theirs(format!("after the handshake: {error}")))
}
