//! The WebSocket protocol: text frames, one JSON object each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest `content` of `typing`, in characters.
const CONTENT_MAX: usize = 1000;
/// Longest `product_id`, in characters.
const PRODUCT_ID_MAX: usize = 200;
/// Longest `question`, in characters.
const QUESTION_MAX: usize = 2000;

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Typing { content: String },
    Query(Query),
}

/// A question about one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) kind: QueryKind,
    pub(crate) product_id: String,
    pub(crate) question: String,
    pub(crate) scenario: UseCase,
}

/// The two spellings of a query; they are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryKind {
    Query,
    LockAndQuery,
}

/// What the product is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UseCase {
    #[default]
    General,
    Studio,
    Live,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerMessage {
    Prediction { data: Value },
    Status { msg: &'static str },
    AnswerChunk { content: String },
    Context { data: Value },
    FinalAnswer { content: String },
    Error { message: String },
}

/// A message that is refused; the connection stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Value of the label `error_type`.
    pub(crate) error_type: &'static str,
    /// What the client is told.
    pub(crate) message: String,
}

impl ClientMessage {
    /// Reads one text frame.
    ///
    /// # Errors
    /// A [`Refusal`], for whatever is not a message within its limits.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let message: Value = serde_json::from_str(text)
            .map_err(|error| refuse("invalid_json", format!("the message is not JSON: {error}")))?;
        let kind = message.get("type").and_then(Value::as_str);
        match kind {
            Some("typing") => Ok(Self::Typing { content: text_field(&message, "content", 0, CONTENT_MAX)? }),
            Some("query") => Ok(Self::Query(query(QueryKind::Query, &message)?)),
            Some("lock_and_query") => Ok(Self::Query(query(QueryKind::LockAndQuery, &message)?)),
            Some(other) => Err(refuse("unknown_type", format!("unknown message type `{}`", start_of(other)))),
            None => Err(refuse("invalid_message", "the message has no `type`".to_owned())),
        }
    }

    /// Value of the label `message_type`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Typing { .. } => "typing",
            Self::Query(Query { kind: QueryKind::Query, .. }) => "query",
            Self::Query(Query { kind: QueryKind::LockAndQuery, .. }) => "lock_and_query",
        }
    }
}

impl UseCase {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Studio => "studio",
            Self::Live => "live",
        }
    }
}

fn query(kind: QueryKind, message: &Value) -> Result<Query, Refusal> {
    let scenario = match message.get("scenario") {
        None => UseCase::default(),
        Some(value) => UseCase::deserialize(value)
            .map_err(|_| refuse("invalid_message", "`scenario` must be `general`, `studio` or `live`".to_owned()))?,
    };
    Ok(Query {
        kind,
        product_id: text_field(message, "product_id", 1, PRODUCT_ID_MAX)?,
        question: text_field(message, "question", 0, QUESTION_MAX)?,
        scenario,
    })
}

/// A text between `min` and `max` characters.
fn text_field(message: &Value, name: &str, min: usize, max: usize) -> Result<String, Refusal> {
    let text = message
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| refuse("invalid_message", format!("`{name}` must be a text")))?;
    let count = text.chars().count();
    if count < min {
        return Err(refuse("invalid_message", format!("`{name}` must have at least {min} character")));
    }
    if count > max {
        return Err(refuse("too_long", format!("`{name}` must have at most {max} characters, it has {count}")));
    }
    Ok(text.to_owned())
}

fn refuse(error_type: &'static str, message: String) -> Refusal {
    Refusal { error_type, message }
}

fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(message: &Value, expect: Result<&str, &str>) {
        let parsed = ClientMessage::parse(&message.to_string());
        let seen = parsed.as_ref().map(ClientMessage::label).map_err(|refusal| refusal.error_type);
        assert_eq!(seen, expect, "{message}: {parsed:?}");
    }

    #[test]
    fn reads_messages_within_their_limits() {
        let letters = |count: usize| "é".repeat(count);
        check(&json!({"type": "typing", "content": ""}), Ok("typing"));
        check(&json!({"type": "typing", "content": letters(1000)}), Ok("typing"));
        check(&json!({"type": "typing", "content": letters(1001)}), Err("too_long"));
        check(&json!({"type": "typing", "content": 7}), Err("invalid_message"));
        check(&json!({"type": "typing"}), Err("invalid_message"));
        for (kind, label) in [("query", "query"), ("lock_and_query", "lock_and_query")] {
            let query = |product: String, question: String, scenario: Value| json!({"type": kind, "product_id": product, "question": question, "scenario": scenario});
            check(&query(letters(1), letters(0), json!("general")), Ok(label));
            check(&query(letters(200), letters(2000), json!("live")), Ok(label));
            check(&query(letters(0), letters(1), json!("live")), Err("invalid_message"));
            check(&query(letters(201), letters(1), json!("live")), Err("too_long"));
            check(&query(letters(1), letters(2001), json!("live")), Err("too_long"));
            check(&query(letters(1), letters(1), json!("garage")), Err("invalid_message"));
            check(&query(letters(1), letters(1), json!(null)), Err("invalid_message"));
        }
        check(&json!({"type": "query", "product_id": "a", "question": "b"}), Ok("query"));
        check(&json!({"type": "query", "product_id": "a"}), Err("invalid_message"));
        check(&json!({"type": "dance"}), Err("unknown_type"));
        check(&json!({"type": 1}), Err("invalid_message"));
        check(&json!([]), Err("invalid_message"));
        assert_eq!(ClientMessage::parse("{").unwrap_err().error_type, "invalid_json");
    }

    #[test]
    fn writes_messages_as_clients_know_them() {
        for (message, expect) in [
            (ServerMessage::Prediction { data: json!([]) }, json!({"type": "prediction", "data": []})),
            (ServerMessage::Status { msg: "Thinking..." }, json!({"type": "status", "msg": "Thinking..."})),
            (ServerMessage::AnswerChunk { content: "a".into() }, json!({"type": "answer_chunk", "content": "a"})),
            (ServerMessage::Context { data: json!({}) }, json!({"type": "context", "data": {}})),
            (ServerMessage::FinalAnswer { content: String::new() }, json!({"type": "final_answer", "content": ""})),
            (ServerMessage::Error { message: "a".into() }, json!({"type": "error", "message": "a"})),
        ] {
            assert_eq!(serde_json::to_value(&message).unwrap(), expect);
        }
    }

    proptest! {
        #[test]
        fn no_frame_breaks_the_parser(text in ".{0,200}") {
            let _ = ClientMessage::parse(&text);
        }

        #[test]
        fn what_is_accepted_is_kept_word_for_word(content in ".{0,300}") {
            let frame = json!({"type": "typing", "content": content}).to_string();
            prop_assert_eq!(ClientMessage::parse(&frame), Ok(ClientMessage::Typing { content }));
        }
    }
}
