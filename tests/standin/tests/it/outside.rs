//! The double of the outside.

use serde_json::{Value, json};

use crate::support::{KEY, Part, client, get};

const STREAM: &str = "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse";

async fn call(part: &Part, path: &str, key: Option<&str>, body: &Value) -> reqwest::Response {
    let mut request = client().post(part.url(path)).json(body);
    if let Some(key) = key {
        request = request.header("x-goog-api-key", key);
    }
    request.send().await.unwrap()
}

fn question() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "why?"}]}]})
}

#[tokio::test]
async fn requests_are_checked_as_the_real_api_checks_them() {
    let part = Part::start("outside", &[("ACCEPTED_KEY", KEY)]).await;
    let other_model = STREAM.replace("gemini-2.0-flash", "palm-1");
    let no_sse = STREAM.replace("?alt=sse", "");
    for (path, key, body, code, status, text) in [
        (STREAM, None, question(), 403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers"),
        (STREAM, Some("wrong"), question(), 400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        (&other_model, Some(KEY), question(), 404, "NOT_FOUND", "models/palm-1 is not found for API version v1beta"),
        (&no_sse, Some(KEY), question(), 400, "INVALID_ARGUMENT", "this double streams server-sent events only"),
        (STREAM, Some(KEY), json!({}), 400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents"),
    ] {
        let answer = call(&part, path, key, &body).await;
        assert_eq!(answer.status(), code);
        let error = answer.json::<Value>().await.unwrap()["error"].take();
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)));
        assert!(error["message"].as_str().unwrap().starts_with(text), "{error}");
        let reason = &error["details"][0]["reason"];
        assert_eq!(reason == "API_KEY_INVALID", key == Some("wrong"), "{error}");
    }
    let counters = part.get("/control").await.1["counters"]["llm"].take();
    assert_eq!(counters, json!({"no-key": 1, "invalid-key": 1, "unknown-model": 1, "invalid-request": 2}));
}

#[tokio::test]
async fn the_switched_errors_are_googles() {
    let part = Part::start("outside", &[]).await;
    for (mode, code, status, retry_after) in [
        ("unauthorized", 401, "UNAUTHENTICATED", None),
        ("forbidden", 403, "PERMISSION_DENIED", None),
        ("quota", 429, "RESOURCE_EXHAUSTED", Some("7")),
        ("error", 500, "INTERNAL", None),
    ] {
        let change = json!({"llm": mode, "retry_after_seconds": 7});
        let control = client().put(part.url("/control")).json(&change).send().await.unwrap();
        assert_eq!(control.json::<Value>().await.unwrap()["llm"], mode);
        // Without a set key any long enough one is valid.
        let answer = call(&part, STREAM, Some(KEY), &question()).await;
        assert_eq!(answer.status(), code);
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        let error = answer.json::<Value>().await.unwrap()["error"].take();
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)));
        if mode == "quota" {
            assert_eq!(error["details"][2]["retryDelay"], "7s");
        }
    }
}

#[tokio::test]
async fn an_answer_is_a_stream_of_events() {
    let part = Part::start("outside", &[]).await;
    let answer = call(&part, STREAM, Some(KEY), &question()).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let events: Vec<Value> = text
        .split("\r\n\r\n")
        .filter(|event| !event.is_empty())
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(events.len(), 4);
    let finish: Vec<&Value> = events.iter().map(|event| &event["candidates"][0]["finishReason"]).collect();
    assert_eq!(finish, [&json!(null), &json!(null), &json!(null), &json!("STOP")]);
    assert!(events.iter().all(|event| event["modelVersion"] == "gemini-2.0-flash"));
}

#[tokio::test]
async fn a_wrong_switch_is_refused_and_changes_nothing() {
    let part = Part::start("outside", &[]).await;
    let before = part.get("/control").await;
    for body in [r#"{"llm":"fine"}"#, r#"{"lm":"ok"}"#, r#"{"manuals":"hang","llm":"?"}"#, "", "[]"] {
        let answer = client().put(part.url("/control")).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    assert_eq!(part.get("/control").await, before);
}

#[tokio::test]
async fn manuals_are_html_or_pdf() {
    let part = Part::start("outside", &[]).await;
    for (path, status, content_type, start) in [
        ("/manuals/roland/td-17.html", 200, "text/html; charset=utf-8", "<!doctype html>"),
        ("/manuals/korg/minilogue-xd.pdf", 200, "application/pdf", "%PDF-1.4\n"),
        ("/manuals/korg/minilogue-xd.doc", 404, "text/plain; charset=utf-8", "no such document"),
        ("/manuals/a/%3Cscript%3E.html", 200, "text/html; charset=utf-8", "<!doctype html>"),
    ] {
        let answer = get(part.url(path)).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (status, &content_type.parse().unwrap())
        );
        let text = answer.text().await.unwrap();
        assert!(text.starts_with(start) && !text.contains("<script>"), "{path}: {text}");
    }
}
