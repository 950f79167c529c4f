//! The frontend.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Part, get};

#[tokio::test]
async fn the_page_is_served_with_its_settings() {
    let mut part = Part::start("frontend", &[("PUBLIC_BACKEND_URL", "http://backend.example:30080")]).await;
    let answer = get(part.url("/")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let page = answer.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Ask the manual"));
    // Self-contained: nothing is loaded from elsewhere.
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(part.get("/config.json").await, (200, json!({"backend_url": "http://backend.example:30080"})));
    assert_eq!(get(part.url("/healthz")).await.unwrap().text().await.unwrap(), "ok");
    part.signal(Signal::TERM);
    assert_eq!(part.ended().await.code(), Some(0));
}
