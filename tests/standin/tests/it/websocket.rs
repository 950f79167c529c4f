//! The WebSocket protocol.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Stack, content, eventually};

#[tokio::test]
async fn typing_is_answered_with_predictions() {
    let stack = Stack::start(&[]).await;
    let mut socket = stack.backend.socket().await;
    socket.say(&json!({"type": "typing", "content": "td-17"})).await;
    let message = socket.hear().await;
    assert_eq!(message["type"], "prediction");
    let best = &message["data"][0];
    assert_eq!(best["product"]["id"], "roland-td-17");
    assert_eq!(best["brand"]["name"], "Roland");
    assert_eq!(best["context"], "Roland TD-17KVX2, Electronic Drums");
    assert_eq!(best["match_text"], "TD-17KVX2");
    assert!(best["confidence"].as_f64().is_some_and(|confidence| confidence > 0.8), "{best}");

    socket.say(&json!({"type": "typing", "content": "theremin"})).await;
    assert_eq!(socket.hear().await, json!({"type": "prediction", "data": []}));
}

#[tokio::test]
async fn a_query_is_answered_in_order() {
    let stack = Stack::start(&[]).await;
    let mut socket = stack.backend.socket().await;
    // One manual is HTML, the other a PDF.
    for (kind, product, scenario, related) in [
        ("query", "roland-td-17", "studio", "roland-spd-sx-pro"),
        ("lock_and_query", "korg-minilogue-xd", "live", "korg-volca-keys"),
    ] {
        let question =
            json!({"type": kind, "product_id": product, "question": "How do I reset it?", "scenario": scenario});
        socket.say(&question).await;
        let answer = socket.hear_answer().await;
        let kinds: Vec<&str> = answer.iter().map(|message| message["type"].as_str().unwrap()).collect();
        let chunks = "answer_chunk";
        assert_eq!(kinds, ["status", "status", chunks, chunks, chunks, chunks, "context", "final_answer"]);
        assert_eq!(answer[0]["msg"], "Reading Official Manual...");
        assert_eq!(answer[1]["msg"], "Thinking...");
        let text = content(&answer);
        assert!(
            text.starts_with("According to the official manual: ") && text.contains("How do I reset it?"),
            "{text}"
        );
        let context = &answer[6]["data"];
        assert_eq!(context["scenario"], scenario);
        assert_eq!(context["related_items"][0]["id"], related);
        assert_eq!(context["brand"]["id"], product.split('-').next().unwrap());
        assert_eq!(answer[7], json!({"type": "final_answer", "content": ""}));
    }
    let line = stack.backend.logged("llm_request done").await;
    assert_eq!((&line["client_id"], &line["product_id"]), (&json!("test"), &json!("roland-td-17")));
    stack.backend.logged("pdf_fetch done").await;
}

#[tokio::test]
async fn whatever_is_wrong_is_told_and_the_connection_stays_open() {
    let stack = Stack::start(&[]).await;
    let mut socket = stack.backend.socket().await;
    let query = |product: &str, question: &str| {
        Message::text(json!({"type": "query", "product_id": product, "question": question}).to_string())
    };
    let long = "x".repeat(2001);
    for (frame, error_type, text) in [
        (Message::text("{"), "invalid_json", "not JSON"),
        (Message::text("[]"), "invalid_message", "no `type`"),
        (Message::text(r#"{"type":"dance"}"#), "unknown_type", "`dance`"),
        (Message::binary(vec![1_u8, 2]), "binary", "text frames"),
        (Message::text(json!({"type": "typing", "content": long}).to_string()), "too_long", "at most 1000"),
        (query("", "why?"), "invalid_message", "`product_id`"),
        (query(&long, "why?"), "too_long", "at most 200"),
        (query("roland-td-17", &long), "too_long", "at most 2000"),
        (query("theremin", "why?"), "unknown_product", "`theremin`"),
    ] {
        let series = format!(r#"websocket_errors_total{{error_type="{error_type}"}}"#);
        let before = stack.backend.metric(&series).await;
        socket.send(frame.clone()).await;
        let message = socket.hear().await;
        assert_eq!(message["type"], "error", "{frame:?}: {message}");
        assert!(message["message"].as_str().unwrap().contains(text), "{message}");
        assert_eq!(stack.backend.metric(&series).await, before + 1.0, "{series}");
    }
    socket.say(&json!({"type": "typing", "content": "td"})).await;
    assert_eq!(socket.hear().await["type"], "prediction");
}

#[tokio::test]
async fn questions_wait_their_turn_and_typing_does_not() {
    let stack = Stack::start(&[]).await;
    stack.outside_is(&json!({"llm": "hang"})).await;
    let mut socket = stack.backend.socket().await;
    socket.ask("roland-td-17", "why?").await;
    for _ in 0..2 {
        assert_eq!(socket.hear().await["type"], "status");
    }
    for _ in 0..9 {
        socket.ask("roland-td-17", "and why?").await;
    }
    assert_eq!(socket.hear().await, json!({"type": "error", "message": "8 questions are waiting already"}));
    socket.say(&json!({"type": "typing", "content": "td"})).await;
    assert_eq!(socket.hear().await["type"], "prediction");
}

#[tokio::test]
async fn a_message_beyond_all_reason_ends_only_its_own_connection() {
    let stack = Stack::start(&[]).await;
    let (mut greedy, mut other) = (stack.backend.socket().await, stack.backend.socket().await);
    // The server may hang up while the message is still on its way.
    if greedy.try_send(Message::text("x".repeat((1 << 20) + 1))).await.is_ok() {
        assert!(!matches!(greedy.next().await, Some(Ok(Message::Text(_)))));
    }
    other.say(&json!({"type": "typing", "content": "td"})).await;
    assert_eq!(other.hear().await["type"], "prediction");
}

#[tokio::test]
async fn open_sockets_are_counted() {
    let stack = Stack::start(&[]).await;
    let count = async || stack.backend.get("/health").await.1["active_connections"].clone();
    let sockets = [stack.backend.socket().await, stack.backend.socket().await];
    eventually("two sockets", async || (count().await == 2).then_some(())).await;
    drop(sockets);
    eventually("no socket", async || (count().await == 0).then_some(())).await;
    let line = stack.backend.logged("websocket connected").await;
    assert_eq!((&line["client_id"], &line["service"]), (&json!("test"), &json!("hsc-jit-backend")));
    stack.backend.logged("websocket disconnected").await;
}
