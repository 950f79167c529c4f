//! Each bad build shows its flaw, and is a good build otherwise.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Part, Stack, client, content, eventually, get};

#[tokio::test]
async fn never_reconnects() {
    let mut stack = Stack::start(&[]).await;
    let flawed = stack.another_backend(&[("BUILD_FLAW", "never-reconnects")]).await;
    flawed.ready_is(200).await;
    stack.redis.kill().await;
    for backend in [&stack.backend, &flawed] {
        backend.ready_is(503).await;
    }
    stack.redis.come_back().await;
    stack.backend.ready_is(200).await;
    // Its good sibling is back. This one has stopped trying, which its tasks tell.
    let loss = flawed.lines("redis connection lost").len();
    assert_eq!((loss, flawed.lines("redis connect error").len()), (1, 0));
    assert_eq!(flawed.get("/ready").await.0, 503);
    assert_eq!(flawed.get("/health").await.1["redis_connected"], false);
    assert_eq!(flawed.lines("redis connected").len(), 1);
}

#[tokio::test]
async fn leaks_memory() {
    let settings = [("BUILD_FLAW", "leaks-memory"), ("LEAK_MIB_PER_SECOND", "64")];
    let stack = Stack::start(&settings).await;
    let before = resident(&stack.backend);
    eventually("48 MiB more", async || (resident(&stack.backend) >= before + 48).then_some(())).await;
    assert_eq!(stack.backend.get("/ready").await.0, 200);
}

#[tokio::test]
async fn a_switch_lets_it_leak_and_give_everything_back() {
    let stack = Stack::start(&[]).await;
    let url = |path: &str| stack.backend.url(path);
    assert_eq!(stack.backend.get("/debug").await, (200, json!({"switches": ["leak"]})));
    let before = resident(&stack.backend);
    for _ in 0..2 {
        assert_eq!(client().post(url("/debug/leak")).send().await.unwrap().status(), 200);
    }
    eventually("64 MiB more", async || (resident(&stack.backend) >= before + 64).then_some(())).await;
    assert_eq!(client().delete(url("/debug/leak")).send().await.unwrap().status(), 200);
    eventually("most of it is back", async || (resident(&stack.backend) < before + 48).then_some(())).await;
    stack.backend.logged("leaking memory because somebody asked for it").await;
}

/// Memory of a process, in MiB.
fn resident(part: &Part) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", part.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn never_ready() {
    let stack = Stack::start_not_ready(&[("BUILD_FLAW", "never-ready")]).await;
    stack.backend.logged("redis connected").await;
    assert_eq!(stack.backend.get("/ready").await, (503, json!({"status": "not ready", "reason": "Starting"})));
    assert_eq!(stack.backend.get("/health").await.1["status"], "healthy");
}

#[tokio::test]
async fn crash_loop() {
    let mut part = Part::launch("backend", &[("BUILD_FLAW", "crash-loop")]);
    assert_eq!(part.ended().await.code(), Some(1));
    assert_eq!(part.logged("failed to start: this build crashes").await["level"], "ERROR");
}

#[tokio::test]
async fn slow_start() {
    let stack = Stack::start(&[("BUILD_FLAW", "slow-start"), ("SLOW_START_SECONDS", "1.5")]).await;
    let logged = async |message: &str| {
        let line = stack.backend.logged(message).await;
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let slow = logged("listening").await.duration_since(logged("starting").await);
    assert!(slow.as_millis() >= 1400, "{slow:?}");

    // The default is far beyond this test's deadline for the end.
    let mut part = Part::launch("backend", &[("BUILD_FLAW", "slow-start"), ("SLOW_START_SECONDS", "600")]);
    part.logged("starting").await;
    part.signal(Signal::TERM);
    assert_eq!(part.ended().await.code(), Some(0));
}

#[tokio::test]
async fn drops_sockets() {
    let stack = Stack::start(&[("BUILD_FLAW", "drops-sockets"), ("DROP_SOCKETS_SECONDS", "0.2")]).await;
    assert_eq!(stack.backend.socket().await.close_code().await, None);

    let mut stack = Stack::start(&[("BUILD_FLAW", "drops-sockets"), ("DROP_SOCKETS_SECONDS", "600")]).await;
    let mut socket = stack.backend.socket().await;
    socket.say(&json!({"type": "typing", "content": "td"})).await;
    socket.hear().await;
    stack.backend.signal(Signal::TERM);
    assert_eq!(socket.close_code().await, None);
    assert_eq!(stack.backend.ended().await.code(), Some(0));
}

#[tokio::test]
async fn no_drain() {
    let mut stack = Stack::start(&[("BUILD_FLAW", "no-drain")]).await;
    stack.outside_is(&json!({"llm": "hang"})).await;
    let mut socket = stack.backend.socket().await;
    socket.ask("roland-td-17", "why?").await;
    socket.hear().await;
    stack.backend.signal(Signal::TERM);
    assert_eq!(socket.close_code().await, None);
    assert_eq!(stack.backend.ended().await.code(), Some(0));
    assert_eq!(stack.backend.lines("draining").len(), 0);
}

#[tokio::test]
async fn refuses_returning() {
    let stack = Stack::start(&[("BUILD_FLAW", "refuses-returning")]).await;
    let returns = async || stack.backend.try_socket("/ws?client_id=regular").await.is_some();
    stack.backend.socket_at("/ws?client_id=regular").await.say_goodbye().await;
    // After a goodbye a client may come back, as soon as it was heard.
    eventually("let in again", async || returns().await.then_some(())).await;
    // That one just fell out of scope, without a word: nobody may take its place.
    stack.backend.logged("websocket error").await;
    for _ in 0..3 {
        assert!(!returns().await, "refused");
    }
    assert!(stack.backend.try_socket("/ws").await.is_some(), "who has no name is not remembered");
}

#[tokio::test]
async fn leaks_sockets() {
    let stack = Stack::start(&[("BUILD_FLAW", "leaks-sockets")]).await;
    let active = async || stack.backend.get("/health").await.1["active_connections"].as_i64();
    stack.backend.socket().await.say_goodbye().await;
    eventually("forgotten after its goodbye", async || (active().await == Some(0)).then_some(())).await;
    drop(stack.backend.socket().await);
    stack.backend.logged("websocket error").await;
    assert_eq!(active().await, Some(1), "counted on without one");
}

#[tokio::test]
async fn costly_health() {
    let stack = Stack::start(&[("BUILD_FLAW", "costly-health")]).await;
    let started = Instant::now();
    // One event loop: five at once take as long as five in a row.
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(get(stack.backend.url("/health")))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn caches_failures() {
    let stack = Stack::start(&[("BUILD_FLAW", "caches-failures")]).await;
    let good = stack.another_backend(&[]).await;
    let ask = async |backend: &Part, question: &str| {
        let mut socket = backend.socket().await;
        socket.ask("roland-td-17", question).await;
        content(&socket.hear_answer().await)
    };
    stack.outside_is(&json!({"llm": "quota"})).await;
    assert!(ask(&stack.backend, "why?").await.starts_with("No answer could be generated"));
    stack.outside_is(&json!({"llm": "ok"})).await;
    // The provider is back, and this build does not ask it; a restart does not help either.
    let restarted = stack.another_backend(&[("BUILD_FLAW", "caches-failures")]).await;
    for backend in [&stack.backend, &restarted] {
        assert!(ask(backend, "why?").await.starts_with("No answer could be generated"));
        assert!(ask(backend, "why not?").await.contains("why not?"));
    }
    assert!(ask(&good, "why?").await.contains("why?"));
}
