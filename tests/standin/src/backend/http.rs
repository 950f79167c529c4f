//! The HTTP routes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::debug;
use super::flaw::Flaw;
use super::metrics::seconds;
use super::socket::{self, End};
use crate::serve::Drain;

/// What a health call costs the event loop in the flaw `costly-health`.
const COSTLY: Duration = Duration::from_millis(100);
/// Longest WebSocket message that is read at all; beyond it the connection is closed.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What each open WebSocket reads with: thousands of them are mostly idle.
const READ_BUFFER: usize = 4096;
/// Most of a client's id that is kept, in characters.
const CLIENT_ID_MAX: usize = 100;

#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    drain: Drain,
}

pub(crate) fn router(app: Arc<App>, drain: Drain) -> Router {
    let measured = middleware::from_fn_with_state(Arc::clone(&app), measure);
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/ping", get(async || Json(json!({"pong": true}))))
        .route("/metrics", get(metrics))
        .route("/api/brands", get(brands))
        .route("/api/price/{query}", get(price))
        .route("/ws", get(websocket))
        .route("/debug", get(debug::switches))
        .route("/debug/leak", post(begin_leak).delete(end_leak))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({"message": "not found"}))))
        .layer(measured)
        .with_state(Shared { app, drain })
}

async fn health(State(shared): State<Shared>) -> Json<Value> {
    if shared.app.flaw == Some(Flaw::CostlyHealth) {
        #[expect(clippy::disallowed_methods, reason = "this flaw is a call that blocks the event loop")]
        std::thread::sleep(COSTLY);
    }
    Json(shared.app.health().await)
}

async fn ready(State(shared): State<Shared>) -> Response {
    match shared.app.not_ready().await {
        None => Json(json!({"status": "ready"})).into_response(),
        Some(reason) => {
            let body = json!({"status": "not ready", "reason": reason});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.app.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(message) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"message": message}))).into_response(),
    }
}

async fn brands(State(shared): State<Shared>) -> Json<Value> {
    let catalog = shared.app.catalog();
    let brands: Vec<Value> = catalog
        .brands
        .iter()
        .map(|brand| {
            let identity = &brand.identity;
            json!({
                "id": identity.id,
                "name": identity.name,
                "hq": identity.hq,
                "website": identity.website,
                "logo_url": identity.logo_url,
                "product_count": brand.products.len(),
            })
        })
        .collect();
    Json(json!({"total_brands": brands.len(), "brands": brands}))
}

async fn price(State(shared): State<Shared>, Path(query): Path<String>) -> Response {
    match shared.app.price(&query).await {
        Some(price) => Json(price).into_response(),
        None => {
            let message = format!("no product found for `{query}`");
            (StatusCode::NOT_FOUND, Json(json!({"message": message}))).into_response()
        }
    }
}

async fn begin_leak(State(shared): State<Shared>) -> Json<Value> {
    shared.app.log.warning("debug", "leaking memory because somebody asked for it", &[]);
    shared.app.leak.begin();
    Json(json!({"leaking": true}))
}

async fn end_leak(State(shared): State<Shared>) -> Json<Value> {
    shared.app.leak.end();
    Json(json!({"leaking": false}))
}

#[derive(Deserialize)]
struct Client {
    client_id: Option<String>,
}

async fn websocket(State(shared): State<Shared>, Query(client): Query<Client>, upgrade: WebSocketUpgrade) -> Response {
    let app = shared.app;
    let locked = app.flaw == Some(Flaw::RefusesReturning) && client.client_id.is_some();
    let client: String = match client.client_id {
        Some(id) => id.chars().take(CLIENT_ID_MAX).collect(),
        None => format!("anonymous-{:08x}", fastrand::u32(..)),
    };
    if locked && !app.redis.claim(&lock(&client)).await {
        let body = json!({"message": format!("client `{client}` is connected already")});
        return (StatusCode::CONFLICT, Json(body)).into_response();
    }
    // Taken before the upgrade: between the handshake and the session nobody else counts the socket.
    let hold = shared.drain.hold();
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).max_message_size(MESSAGE_BYTES_MAX);
    upgrade.max_frame_size(MESSAGE_BYTES_MAX).on_upgrade(async move |socket| {
        let end = socket::run(socket, client.clone(), Arc::clone(&app), shared.drain).await;
        if locked && end == End::ClientLeft {
            app.redis.release(&lock(&client)).await;
        }
        drop(hold);
    })
}

/// Where the flaw `refuses-returning` remembers a client.
fn lock(client: &str) -> String {
    format!("connected:{client}")
}

/// Counts and times every request, and lets the page of another origin read the answers.
async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().as_str().to_owned();
    // The route, not the path: a label must not grow with what clients ask for.
    let endpoint = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    app.metrics.http_requests.with_label_values(&[&method, &endpoint, response.status().as_str()]).inc();
    app.metrics.http_request_duration.with_label_values(&[&method, &endpoint]).observe(seconds(started.elapsed()));
    response
}
