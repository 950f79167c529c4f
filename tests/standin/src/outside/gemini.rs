//! The part of the Gemini API that the backend uses, with the words of the real one.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::Shared;
use super::control::LlmMode;
use super::trickle;

/// The key's length above which it is plausible, where no key was set.
const KEY_LENGTH: usize = 20;

/// `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`.
pub(super) async fn call(
    State(shared): State<Shared>,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (mode, slow, retry_after) = shared.with(|control| (control.llm, control.slow(), control.retry_after_seconds));
    let request = match check_request(&shared, &call, query.as_deref(), &headers, &body) {
        Ok(request) => request,
        Err(refusal) => {
            shared.with(|control| control.count_llm(refusal.label));
            return (refusal.status, Json(refusal.body)).into_response();
        }
    };
    shared.with(|control| control.count_llm(mode.label()));
    match mode {
        LlmMode::Ok => event_stream(trickle::pieces(answer(&request), Duration::ZERO)),
        LlmMode::Slow => event_stream(trickle::pieces(answer(&request), slow)),
        LlmMode::Cut => event_stream(trickle::cut(answer(&request))),
        LlmMode::Garbage => event_stream(Body::from("data: {\"candidates\": [{\"conte\r\n\r\n")),
        LlmMode::Hang => std::future::pending().await,
        LlmMode::Unauthorized => (StatusCode::UNAUTHORIZED, Json(unauthorized())).into_response(),
        LlmMode::Forbidden => (StatusCode::FORBIDDEN, Json(forbidden())).into_response(),
        LlmMode::Error => (StatusCode::INTERNAL_SERVER_ERROR, Json(internal())).into_response(),
        LlmMode::Quota => {
            let mut response =
                (StatusCode::TOO_MANY_REQUESTS, Json(quota(&request.model, retry_after))).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            response
        }
    }
}

struct Accepted {
    model: String,
    question: String,
}

struct Refusal {
    status: StatusCode,
    /// Its name in the counters.
    label: &'static str,
    body: Value,
}

fn check_request(
    shared: &Shared,
    call: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Accepted, Refusal> {
    let refuse = |status, label, body| Err(Refusal { status, label, body });
    let key = headers.get("x-goog-api-key").and_then(|key| key.to_str().ok());
    // An empty key is none.
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return refuse(StatusCode::FORBIDDEN, "no-key", no_key());
    };
    let valid = match &shared.accepted_key {
        Some(accepted) => **accepted == *key,
        None => key.len() > KEY_LENGTH,
    };
    if !valid {
        return refuse(StatusCode::BAD_REQUEST, "invalid-key", invalid_key());
    }
    let model = match call.split_once(':') {
        Some((model, "streamGenerateContent")) if model.starts_with("gemini-") => model,
        _ => return refuse(StatusCode::NOT_FOUND, "unknown-model", unknown_model(call)),
    };
    if !query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse")) {
        let message = "this double streams server-sent events only: ask with alt=sse";
        return refuse(StatusCode::BAD_REQUEST, "invalid-request", invalid_argument(message));
    }
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let question = body["contents"].as_array().and_then(|contents| contents.last()?["parts"][0]["text"].as_str());
    let Some(question) = question else {
        let message = "* GenerateContentRequest.contents: contents is not specified\n";
        return refuse(StatusCode::BAD_REQUEST, "invalid-request", invalid_argument(message));
    };
    Ok(Accepted { model: model.to_owned(), question: question.to_owned() })
}

fn event_stream(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The events of one answer, the last of which says so.
fn answer(request: &Accepted) -> Vec<Bytes> {
    let question: String = request.question.chars().take(200).collect();
    let texts = [
        "According to the official manual: ".to_owned(),
        "hold the power button for two seconds, then turn the encoder ".to_owned(),
        "until the display shows the page you need. ".to_owned(),
        format!("(You asked: {question})"),
    ];
    let last = texts.len() - 1;
    let mut tokens = 0;
    let event = |(index, text): (usize, &String)| {
        tokens += text.split_whitespace().count();
        let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
        if index == last {
            candidate["finishReason"] = "STOP".into();
        }
        let event = json!({
            "candidates": [candidate],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": tokens, "totalTokenCount": tokens + 1},
            "modelVersion": request.model,
        });
        Bytes::from(format!("data: {event}\r\n\r\n"))
    };
    texts.iter().enumerate().map(event).collect()
}

/// The shape of every error of Google's APIs.
fn error(code: u16, status: &str, message: &str, details: Value) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if !details.is_null() {
        error["details"] = details;
    }
    json!({ "error": error })
}

fn invalid_argument(message: &str) -> Value {
    error(400, "INVALID_ARGUMENT", message, Value::Null)
}

fn invalid_key() -> Value {
    let message = "API key not valid. Please pass a valid API key.";
    let details = json!([
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
    ]);
    error(400, "INVALID_ARGUMENT", message, details)
}

fn no_key() -> Value {
    let message = "Method doesn't allow unregistered callers (callers without established identity). \
                   Please use API Key or other form of API consumer identity to call this API.";
    error(403, "PERMISSION_DENIED", message, Value::Null)
}

fn unauthorized() -> Value {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                   other valid authentication credential. See \
                   https://developers.google.com/identity/sign-in/web/devconsole-project.";
    error(401, "UNAUTHENTICATED", message, Value::Null)
}

fn forbidden() -> Value {
    let message = "Your API key was reported as leaked. Please use another API key.";
    error(403, "PERMISSION_DENIED", message, Value::Null)
}

fn quota(model: &str, retry_after: u64) -> Value {
    let message = format!(
        "You exceeded your current quota, please check your plan and billing details. For more information on this \
         error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\nPlease retry in {retry_after}s."
    );
    let details = json!([
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "quotaDimensions": {"location": "global", "model": model},
                "quotaValue": "15",
            }],
        },
        {
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{retry_after}s")},
    ]);
    error(429, "RESOURCE_EXHAUSTED", &message, details)
}

fn internal() -> Value {
    let message = "An internal error has occurred. Please retry or report in \
                   https://developers.generativeai.google/guide/troubleshooting";
    error(500, "INTERNAL", message, Value::Null)
}

fn unknown_model(call: &str) -> Value {
    let model = call.split(':').next().unwrap_or_default();
    let message = format!(
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
         ListModels to see the list of available models and their supported methods."
    );
    error(404, "NOT_FOUND", &message, Value::Null)
}
