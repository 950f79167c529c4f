//! Client of the Gemini API: one streamed answer to one prompt.

use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, Response, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::sse::Parser;

/// Longest error text that is kept from an answer, in characters.
const ERROR_TEXT_MAX: usize = 300;

/// The Gemini API with a key.
pub(crate) struct Gemini {
    client: Client,
    base_url: String,
    model: String,
    key: Option<String>,
    timeout: Duration,
}

/// What the model is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Who it is and what it knows.
    pub(crate) system: String,
    /// What it is asked.
    pub(crate) question: String,
}

/// An answer on its way.
pub(crate) struct Answering {
    response: Response,
    parser: Parser,
    waiting: std::vec::IntoIter<String>,
    complete: bool,
    deadline: Instant,
}

/// No answer, or not the whole of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LlmError {
    #[error("no API key is configured")]
    NoKey,
    #[error("the API refused the key ({status}): {text}")]
    Key { status: StatusCode, text: String },
    #[error("the API forbids the request: {text}")]
    Forbidden { status: StatusCode, text: String },
    #[error("the quota is used up (retry after {retry_after}): {text}")]
    Quota { status: StatusCode, retry_after: String, text: String },
    #[error("the API failed ({status}): {text}")]
    Server { status: StatusCode, text: String },
    #[error("the API refused the request ({status}): {text}")]
    Request { status: StatusCode, text: String },
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error("the API is out of reach: {0}")]
    Network(String),
    #[error("the answer broke off")]
    Cut,
    #[error("the answer is not one of the Gemini API: {0}")]
    Garbage(String),
}

#[derive(Deserialize)]
struct Chunk {
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Gemini {
    /// `timeout` is the deadline of a whole answer.
    pub(crate) fn new(client: Client, base_url: &str, model: String, key: Option<String>, timeout: Duration) -> Self {
        Self { client, base_url: base_url.trim_end_matches('/').to_owned(), model, key, timeout }
    }

    /// Whether there is a key, and one that is long enough to be valid (more than 20 characters).
    pub(crate) fn has_plausible_key(&self) -> bool {
        self.key.as_deref().is_some_and(|key| key.len() > 20)
    }

    /// Sends the prompt and waits for the answer's head.
    pub(crate) async fn ask(&self, prompt: &Prompt) -> Result<Answering, LlmError> {
        let key = self.key.as_deref().ok_or(LlmError::NoKey)?;
        let deadline = Instant::now() + self.timeout;
        let url = format!("{}/v1beta/models/{}:streamGenerateContent?alt=sse", self.base_url, self.model);
        let body = json!({
            "systemInstruction": {"parts": [{"text": prompt.system}]},
            "contents": [{"role": "user", "parts": [{"text": prompt.question}]}],
        });
        let sending = self.client.post(url).header("x-goog-api-key", key).json(&body).send();
        let response = timeout_at(deadline, sending)
            .await
            .map_err(|_| LlmError::Timeout(self.timeout))?
            .map_err(|error| LlmError::Network(causes(&error)))?;
        if !response.status().is_success() {
            return Err(refusal(response, deadline).await);
        }
        Ok(Answering {
            response,
            parser: Parser::default(),
            waiting: Vec::new().into_iter(),
            complete: false,
            deadline,
        })
    }

    /// The next piece of the answer; `None` after its last one.
    pub(crate) async fn next(&self, answering: &mut Answering) -> Result<Option<String>, LlmError> {
        loop {
            if let Some(event) = answering.waiting.next() {
                let (text, finished) = read_chunk(&event)?;
                answering.complete |= finished;
                if !text.is_empty() {
                    return Ok(Some(text));
                }
                continue;
            }
            let bytes = timeout_at(answering.deadline, answering.response.chunk())
                .await
                .map_err(|_| LlmError::Timeout(self.timeout))?;
            match bytes {
                Ok(Some(bytes)) => {
                    let events = answering.parser.push(&bytes).map_err(|error| LlmError::Garbage(error.to_string()))?;
                    answering.waiting = events.into_iter();
                }
                Ok(None) if answering.complete => return Ok(None),
                Ok(None) | Err(_) => return Err(LlmError::Cut),
            }
        }
    }
}

impl LlmError {
    /// The status of the API's refusal, where it answered with one.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Key { status, .. }
            | Self::Forbidden { status, .. }
            | Self::Quota { status, .. }
            | Self::Server { status, .. }
            | Self::Request { status, .. } => Some(*status),
            Self::NoKey | Self::Timeout(_) | Self::Network(_) | Self::Cut | Self::Garbage(_) => None,
        }
    }

    /// Value of the label `error_type`.
    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::NoKey | Self::Key { .. } => "invalid_key",
            Self::Forbidden { .. } => "forbidden",
            Self::Quota { .. } => "quota",
            Self::Server { .. } => "server",
            Self::Request { .. } => "request",
            Self::Timeout(_) => "timeout",
            Self::Network(_) => "network",
            Self::Cut => "cut",
            Self::Garbage(_) => "garbage",
        }
    }
}

async fn refusal(response: Response, deadline: Instant) -> LlmError {
    let status = response.status();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or("unknown").to_owned();
    // Without its body the status alone has to do.
    let body = timeout_at(deadline, response.bytes()).await.ok().and_then(Result::ok).unwrap_or_default();
    classify(status, retry_after, &body)
}

/// Which error an HTTP answer stands for; the body is one of Google's, or whatever came.
fn classify(status: StatusCode, retry_after: String, body: &[u8]) -> LlmError {
    let error: Value = serde_json::from_slice::<Value>(body).map_or(Value::Null, |body| body["error"].clone());
    let text: String = match error["message"].as_str() {
        Some(message) => message.chars().take(ERROR_TEXT_MAX).collect(),
        None => String::from_utf8_lossy(body).chars().take(ERROR_TEXT_MAX).collect(),
    };
    let invalid_key = error["details"]
        .as_array()
        .is_some_and(|details| details.iter().any(|detail| detail["reason"] == "API_KEY_INVALID"));
    match status {
        StatusCode::BAD_REQUEST if invalid_key => LlmError::Key { status, text },
        StatusCode::UNAUTHORIZED => LlmError::Key { status, text },
        StatusCode::FORBIDDEN => LlmError::Forbidden { status, text },
        StatusCode::TOO_MANY_REQUESTS => LlmError::Quota { status, retry_after, text },
        status if status.is_server_error() => LlmError::Server { status, text },
        status => LlmError::Request { status, text },
    }
}

/// The text of one event, and whether it is the answer's last.
fn read_chunk(event: &str) -> Result<(String, bool), LlmError> {
    let chunk: Chunk = serde_json::from_str(event).map_err(|error| LlmError::Garbage(error.to_string()))?;
    let finished = chunk.candidates.iter().any(|candidate| candidate.finish_reason.is_some());
    let parts =
        chunk.candidates.into_iter().filter_map(|candidate| candidate.content).flat_map(|content| content.parts);
    Ok((parts.map(|part| part.text).collect(), finished))
}

/// An error and its causes on one line: reqwest's own text does not say why.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_refusals_apart() {
        let invalid = br#"{"error":{"code":400,"message":"no","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let rows: &[(u16, &[u8], &str, &str)] = &[
            (400, invalid, "invalid_key", "the API refused the key (400 Bad Request): no"),
            (400, br#"{"error":{"message":"bad"}}"#, "request", "the API refused the request (400 Bad Request): bad"),
            (401, b"", "invalid_key", "the API refused the key (401 Unauthorized): "),
            (403, b"<html>", "forbidden", "the API forbids the request: <html>"),
            (429, b"{}", "quota", "the quota is used up (retry after 7): {}"),
            (500, b"\xff", "server", "the API failed (500 Internal Server Error): \u{fffd}"),
            (503, b"", "server", "the API failed (503 Service Unavailable): "),
            (404, b"", "request", "the API refused the request (404 Not Found): "),
        ];
        for (status, body, error_type, text) in rows {
            let error = classify(StatusCode::from_u16(*status).unwrap(), "7".to_owned(), body);
            assert_eq!((error.error_type(), error.to_string().as_str()), (*error_type, *text));
        }
    }

    #[test]
    fn reads_chunks() {
        let rows: &[(&str, Option<(&str, bool)>)] = &[
            (r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b"}]}}]}"#, Some(("ab", false))),
            (r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#, Some(("a", true))),
            (r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, Some(("", true))),
            (r#"{"candidates":[{"content":{"role":"model"}}]}"#, Some(("", false))),
            ("{}", None),
            ("garbage", None),
        ];
        for (event, expect) in rows {
            let seen = read_chunk(event).ok();
            assert_eq!(seen, expect.map(|(text, finished)| (text.to_owned(), finished)), "{event}");
        }
    }
}
