//! What the backend makes of a model and of makers' sites that do not do as they should.

use serde_json::json;

use crate::support::{Stack, content};

const SORRY: &str = "No answer could be generated. Please try again later.";

#[tokio::test]
async fn each_failure_of_the_model_is_told_counted_and_logged() {
    let stack = Stack::start(&[("LLM_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = stack.backend.socket().await;
    let cut =
        "According to the official manual:  […] The answer broke off here: the rest of it could not be generated.";
    for (mode, error_type, text) in [
        ("unauthorized", "invalid_key", SORRY),
        ("forbidden", "forbidden", SORRY),
        ("quota", "quota", SORRY),
        ("error", "server", SORRY),
        ("garbage", "garbage", SORRY),
        ("hang", "timeout", SORRY),
        ("cut", "cut", cut),
    ] {
        stack.outside_is(&json!({"llm": mode})).await;
        socket.ask("roland-td-17", mode).await;
        let answer = socket.hear_answer().await;
        assert_eq!(content(&answer), text, "{mode}");
        assert_eq!(answer.last().unwrap()["type"], "final_answer");
        let series = format!(r#"llm_errors_total{{error_type="{error_type}"}}"#);
        assert_eq!(stack.backend.metric(&series).await, 1.0, "{series}");
    }
    let lines = stack.backend.lines("llm_request: LLM error");
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|line| line["level"] == "ERROR" && line["product_id"] == "roland-td-17"));
    assert_eq!((&lines[2]["error_type"], &lines[2]["status"]), (&json!("quota"), &json!(429)));
    assert!(lines[2]["error"].as_str().unwrap().starts_with("the quota is used up (retry after 33): You exceeded"));
    let logged = serde_json::to_string(&lines).unwrap();
    assert!(!logged.contains(crate::support::KEY), "the key is in the log");

    // The connection has survived all of it.
    stack.outside_is(&json!({"llm": "slow", "slow_ms": 20})).await;
    socket.ask("roland-td-17", "slowly").await;
    assert!(content(&socket.hear_answer().await).contains("slowly"));
    let control = stack.outside.get("/control").await.1;
    assert_eq!(control["counters"]["llm"]["quota"], 1);
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_one_give_no_answer() {
    let stack = Stack::start(&[]).await;
    for (key, error_type, error) in [
        ("", "forbidden", "the API forbids the request: Method doesn't allow unregistered callers"),
        (
            "some-other-key-of-more-than-twenty",
            "invalid_key",
            "the API refused the key (400 Bad Request): API key not valid.",
        ),
    ] {
        let backend = stack.another_backend(&[("GEMINI_API_KEY", key)]).await;
        let mut socket = backend.socket().await;
        socket.ask("roland-td-17", "why?").await;
        assert_eq!(content(&socket.hear_answer().await), SORRY);
        assert_eq!(backend.metric(&format!(r#"llm_errors_total{{error_type="{error_type}"}}"#)).await, 1.0);
        let line = backend.logged("llm_request: LLM error").await;
        assert!(line["error"].as_str().unwrap().starts_with(error), "{line}");
    }
    assert_eq!(stack.outside.get("/control").await.1["counters"]["llm"], json!({"invalid-key": 1, "no-key": 1}));
}

#[tokio::test]
async fn a_model_out_of_reach_gives_no_answer() {
    let mut stack = Stack::start(&[]).await;
    let mut socket = stack.backend.socket().await;
    socket.ask("roland-td-17", "first").await;
    assert!(content(&socket.hear_answer().await).contains("first"));
    // The manual is cached by now, so the next question gets as far as the model.
    stack.outside.signal(rustix::process::Signal::KILL);
    stack.outside.ended().await;
    socket.ask("roland-td-17", "second").await;
    assert_eq!(content(&socket.hear_answer().await), SORRY);
    assert_eq!(stack.backend.metric(r#"llm_errors_total{error_type="network"}"#).await, 1.0);
}

#[tokio::test]
async fn an_unreadable_manual_is_told_counted_and_logged() {
    let stack = Stack::start(&[("PDF_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = stack.backend.socket().await;
    let modes = [
        ("missing", "the maker's site answered 404 Not Found"),
        ("forbidden", "the maker's site answered 403 Forbidden"),
        ("quota", "the maker's site answered 429 Too Many Requests"),
        ("error", "the maker's site answered 500 Internal Server Error"),
        ("hang", "the maker's site did not send it within 1s"),
        ("cut", "the maker's site is out of reach: "),
        ("garbage", "the document is neither HTML nor PDF"),
    ];
    for (mode, reason) in modes {
        stack.outside_is(&json!({"manuals": mode})).await;
        socket.ask("roland-td-17", "why?").await;
        let answer = socket.hear_answer().await;
        let text = content(&answer);
        let expect = format!("The official manual of the TD-17KVX2 could not be read: {reason}");
        assert!(text.starts_with(&expect), "{mode}: {text}");
        assert_eq!(answer.last().unwrap()["type"], "final_answer");
    }
    assert_eq!(stack.backend.metric("pdf_fetch_errors_total").await, modes.len() as f64);
    assert_eq!(stack.backend.metric("pdf_fetch_seconds_count").await, modes.len() as f64);
    let lines = stack.backend.lines("pdf_fetch error");
    assert!(lines.len() == modes.len() && lines.iter().all(|line| line["level"] == "ERROR"));

    // A failure is not cached.
    stack.outside_is(&json!({"manuals": "slow", "slow_ms": 5})).await;
    socket.ask("roland-td-17", "again").await;
    assert!(content(&socket.hear_answer().await).contains("again"));
}
