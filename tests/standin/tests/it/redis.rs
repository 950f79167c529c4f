//! Redis goes away and comes back.

use rustix::process::Signal;
use serde_json::json;

use crate::support::Stack;

#[tokio::test]
async fn a_killed_redis_is_noticed_and_found_again() {
    let mut stack = Stack::start(&[]).await;
    stack.redis.kill().await;
    is_lost(&stack).await;
    stack.redis.come_back().await;
    is_back(&stack).await;
    assert!(stack.backend.metric(r#"redis_errors_total{operation="connect"}"#).await >= 1.0);
}

#[tokio::test]
async fn a_hung_redis_is_noticed_and_found_again() {
    let stack = Stack::start(&[]).await;
    stack.redis.signal(Signal::STOP);
    is_lost(&stack).await;
    stack.redis.signal(Signal::CONT);
    is_back(&stack).await;
}

#[tokio::test]
async fn a_redis_that_comes_late_is_found() {
    let mut stack = Stack::start(&[]).await;
    stack.redis.kill().await;
    let late = stack.another_backend(&[]).await;
    let expect = (503, json!({"status": "not ready", "reason": "Redis not connected"}));
    assert_eq!(late.get("/ready").await, expect);
    stack.redis.come_back().await;
    late.ready_is(200).await;
}

#[tokio::test]
async fn a_redis_that_refuses_commands_is_still_connected() {
    let stack = Stack::start(&[]).await;
    stack.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(stack.backend.get("/api/price/td-17").await.0, 200);
    assert_eq!(stack.backend.metric(r#"redis_errors_total{operation="set"}"#).await, 1.0);
    assert_eq!(stack.backend.lines("redis error").len(), 1);
    stack.backend.ready_is(200).await;
    assert_eq!(stack.backend.lines("redis connection lost").len(), 0);
}

async fn is_lost(stack: &Stack) {
    let backend = &stack.backend;
    // The very first look tells the truth: it sends a PING of its own.
    let expect = (503, json!({"status": "not ready", "reason": "Redis not connected"}));
    assert_eq!(backend.get("/ready").await, expect);
    let (status, health) = backend.get("/health").await;
    assert_eq!(status, 200);
    assert_eq!((&health["status"], &health["redis_connected"]), (&json!("unhealthy"), &json!(false)));
    let line = backend.logged("redis connection lost").await;
    assert_eq!((&line["level"], &line["logger"]), (&json!("ERROR"), &json!("redis")));

    // Everything else goes on, without the second layer of the cache.
    assert_eq!(backend.get("/ping").await.0, 200);
    assert_eq!(backend.get("/api/price/td-17").await.0, 200);
    let mut socket = backend.socket().await;
    socket.say(&json!({"type": "typing", "content": "td"})).await;
    assert_eq!(socket.hear().await["type"], "prediction");
    assert_eq!(backend.metric(r#"cache_misses_total{layer="l2"}"#).await, 2.0);
}

async fn is_back(stack: &Stack) {
    stack.backend.ready_is(200).await;
    let (_, health) = stack.backend.get("/health").await;
    assert_eq!((&health["status"], &health["redis_connected"]), (&json!("healthy"), &json!(true)));
    assert_eq!(stack.backend.lines("redis connected").len(), 2);
    stack.backend.get("/api/price/juno-x").await;
    assert!(stack.redis.command(&["KEYS", "*juno-x"]).await.starts_with("hsc-jit:price:"));
}
