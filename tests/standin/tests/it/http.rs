//! Each route, its limits, and the settings.

use std::fs;

use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;

use crate::support::{KEY, PROGRAM, Part, Redis, Stack, client, eventually, get};

#[tokio::test]
async fn routes_answer_as_documented() {
    let stack = Stack::start(&[]).await;
    let backend = &stack.backend;

    let (status, health) = backend.get("/health").await;
    assert_eq!(status, 200);
    for (field, expect) in [
        ("status", json!("healthy")),
        ("redis_connected", json!(true)),
        ("active_connections", json!(0)),
        ("product_count", json!(11)),
        ("version", json!("v3.3.0")),
    ] {
        assert_eq!(health[field], expect, "{field}");
    }
    for field in ["memory_usage_percent", "cpu_usage_percent", "uptime_seconds"] {
        assert!(health[field].as_f64().is_some_and(|value| value >= 0.0), "{field}: {health}");
    }
    assert!(health["timestamp"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{health}");

    assert_eq!(backend.get("/ready").await, (200, json!({"status": "ready"})));
    assert_eq!(backend.get("/ping").await, (200, json!({"pong": true})));

    let (status, brands) = backend.get("/api/brands").await;
    assert_eq!((status, &brands["total_brands"]), (200, &json!(4)));
    assert_eq!(
        brands["brands"][2],
        json!({
            "id": "roland",
            "name": "Roland",
            "hq": "Hamamatsu, Japan",
            "website": "https://www.roland.com",
            "logo_url": "https://www.roland.com/logo.svg",
            "product_count": 3,
        })
    );

    for (query, product, price, available) in [
        ("td-17", "roland-td-17", json!(1999.99), true),
        ("Subsequent%2037", "moog-subsequent-37", json!(1699.0), true),
        ("minitaur", "moog-minitaur", json!(null), false),
    ] {
        let (status, answer) = backend.get(&format!("/api/price/{query}")).await;
        assert_eq!(status, 200, "{query}");
        assert_eq!(answer["product_id"], product);
        assert_eq!((&answer["price"], &answer["available"]), (&price, &json!(available)));
    }
    let missing = backend.get("/api/price/theremin").await;
    assert_eq!(missing, (404, json!({"message": "no product found for `theremin`"})));
    assert_eq!(backend.get("/no/such/route").await, (404, json!({"message": "not found"})));
    let refused = client().post(backend.url("/ping")).send().await.unwrap();
    assert_eq!(refused.status(), 405);
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn every_metric_of_the_runbook_is_exported() {
    let stack = Stack::start(&[]).await;
    let mut socket = stack.backend.socket().await;
    socket.say(&json!({"type": "typing", "content": "td"})).await;
    socket.hear().await;
    socket.say(&json!({"type": "dance"})).await;
    socket.hear().await;
    stack.outside_is(&json!({"llm": "error"})).await;
    socket.ask("roland-td-17", "why?").await;
    socket.hear_answer().await;
    stack.backend.get("/api/price/juno-x").await;
    stack.backend.get("/api/price/juno-x").await;
    stack.backend.get("/api/price/theremin").await;

    // A request is counted after its answer.
    let text = get(stack.backend.url("/metrics")).await.unwrap().text().await.unwrap();
    for series in [
        r#"http_requests_total{endpoint="/api/price/{query}",method="GET",status="200"} 2"#,
        r#"http_requests_total{endpoint="/api/price/{query}",method="GET",status="404"} 1"#,
        r#"http_request_duration_seconds_bucket{endpoint="/api/price/{query}",method="GET",le="5"} 3"#,
        // Asked: "td", the manual, juno-x twice, theremin.
        r#"cache_hits_total{layer="l1"} 1"#,
        r#"cache_hits_total{layer="l2"} 0"#,
        r#"cache_misses_total{layer="l1"} 4"#,
        r#"cache_misses_total{layer="l2"} 4"#,
        "cache_hit_rate 0.2",
        "websocket_active_connections 1",
        r#"websocket_errors_total{error_type="unknown_type"} 1"#,
        "websocket_message_latency_seconds_count 2",
        r#"llm_errors_total{error_type="server"} 1"#,
        "answer_generation_seconds_count 1",
        "pdf_fetch_seconds_count 1",
        "pdf_fetch_errors_total 0",
        r#"redis_errors_total{operation="get"} 0"#,
        r#"messages_processed_total{message_type="typing"} 1"#,
        r#"messages_processed_total{message_type="query"} 1"#,
        "prediction_latency_seconds_count 1",
        "background_tasks_active 2",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is not in:\n{text}");
    }
    assert!(stack.backend.metric("redis_ping_seconds_count").await >= 1.0);
}

#[tokio::test]
async fn what_one_backend_cached_another_finds_in_redis() {
    let stack = Stack::start(&[]).await;
    let (_, price) = stack.backend.get("/api/price/td-17").await;
    let keys = stack.redis.command(&["KEYS", "*"]).await;
    assert!(keys.starts_with("hsc-jit:price:") && keys.ends_with(":td-17"), "{keys}");
    let time_to_live: u64 = stack.redis.command(&["TTL", &keys]).await.parse().unwrap();
    assert!((3500..=3600).contains(&time_to_live), "{time_to_live}");

    let other = stack.another_backend(&[]).await;
    other.ready_is(200).await;
    assert_eq!(other.get("/api/price/td-17").await, (200, price));
    assert_eq!(other.metric(r#"cache_hits_total{layer="l2"}"#).await, 1.0);
    other.get("/api/price/td-17").await;
    assert_eq!(other.metric(r#"cache_hits_total{layer="l1"}"#).await, 1.0);
}

#[tokio::test]
async fn the_cache_in_memory_has_a_limit() {
    let stack = Stack::start(&[("l1_max_size", "1")]).await;
    for query in ["td-17", "juno-x", "td-17"] {
        stack.backend.get(&format!("/api/price/{query}")).await;
    }
    assert_eq!(stack.backend.metric(r#"cache_hits_total{layer="l1"}"#).await, 0.0);
    assert_eq!(stack.backend.metric(r#"cache_hits_total{layer="l2"}"#).await, 1.0);
}

#[tokio::test]
async fn a_hang_up_reloads_the_catalog() {
    let stack = Stack::start(&[]).await;
    let products = async || stack.backend.get("/health").await.1["product_count"].as_u64().unwrap();
    assert_eq!(products().await, 11);

    fs::remove_file(stack.catalog.path().join("moog_catalog.json")).unwrap();
    stack.backend.signal(Signal::HUP);
    eventually("two products fewer", async || (products().await == 9).then_some(())).await;
    assert_eq!(stack.backend.get("/api/price/minitaur").await.0, 404);

    fs::write(stack.catalog.path().join("korg_catalog.json"), "{").unwrap();
    stack.backend.signal(Signal::HUP);
    let line = stack.backend.logged("catalog not reloaded, the old one stays").await;
    assert_eq!(line["level"], "ERROR");
    assert!(line["error"].as_str().unwrap().contains("korg_catalog.json"), "{line}");
    assert_eq!(products().await, 9);
}

#[tokio::test]
async fn a_backend_with_an_implausible_key_is_degraded() {
    for (key, expect) in [("", "degraded"), ("twenty-characters-xx", "degraded"), (KEY, "healthy")] {
        let stack = Stack::start(&[("GEMINI_API_KEY", key)]).await;
        assert_eq!(stack.backend.get("/health").await.1["status"], expect, "key {key:?}");
    }
}

#[tokio::test]
async fn bad_settings_end_the_start_with_the_reason() {
    let redis = Redis::start().await;
    let url = redis.url();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/catalog");
    for (setting, value, expect) in [
        ("CATALOG_DIR", "/no/such/directory", "failed to read the catalog directory /no/such/directory: "),
        ("REDIS_URL", "not an address", "failed to read the address of Redis: "),
        ("LLM_TIMEOUT_SECONDS", "-1", "failed to read LLM_TIMEOUT_SECONDS = -1: "),
        ("LISTEN", &taken, &format!("failed to listen on {taken}: ")),
    ] {
        let settings = [("REDIS_URL", url.as_str()), ("CATALOG_DIR", catalog), (setting, value)];
        let mut part = Part::launch("backend", &settings);
        assert_eq!(part.ended().await.code(), Some(1), "{setting}");
        eventually(expect, async || {
            part.all_lines().iter().any(|line| line["message"].as_str().unwrap().starts_with(expect)).then_some(())
        })
        .await;
    }
    for (setting, value, expect) in [
        ("BUILD_FLAW", "no-such-flaw", "possible values: never-reconnects, "),
        ("l1_max_size", "0", "--l1-max-size"),
        ("LISTEN", "nowhere", "--listen"),
    ] {
        let output = Command::new(PROGRAM).arg("backend").env(setting, value).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{setting}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(expect), "{text}");
    }
}
