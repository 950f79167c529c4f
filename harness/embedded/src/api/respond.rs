//! Answers: bodies, codes and headers.

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::status::Status;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer.
pub(super) type Answer = Response<Body>;

pub(super) fn object(code: u16, value: &Value) -> Answer {
    with_body(code, "application/json", full(value.to_string()))
}

pub(super) fn text(code: u16, text: impl Into<Bytes>) -> Answer {
    let mut answer = with_body(code, "text/plain; charset=utf-8", full(text));
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

pub(super) fn status(status: &Status) -> Answer {
    let mut answer = object(status.code, &status.body());
    if let Some(seconds) = status.details["retryAfterSeconds"].as_u64() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// An answer whose body comes piece by piece.
pub(super) fn stream(
    media_type: &'static str,
    pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Answer {
    use futures_util::TryStreamExt;
    with_body(200, media_type, BodyExt::boxed_unsync(StreamBody::new(pieces.map_ok(Frame::data))))
}

pub(super) fn no_content(code: u16) -> Answer {
    let mut answer = Response::new(empty());
    *answer.status_mut() = code_of(code);
    answer
}

pub(super) fn with_body(code: u16, media_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = code_of(code);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Adds one `Warning` header a sentence.
pub(super) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings {
        let quoted = format!("299 - {}", Value::from(warning.as_str()));
        if let Ok(value) = HeaderValue::from_str(&quoted) {
            headers.append(HeaderName::from_static("warning"), value);
        }
    }
}

fn code_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
