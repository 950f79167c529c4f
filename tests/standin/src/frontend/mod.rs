//! The frontend: one static page that talks to the backend.

use std::net::SocketAddr;

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use http::header;
use serde_json::json;

use crate::log::Log;
use crate::serve::{self, Drain, Terminate};

const PAGE: &str = include_str!("page.html");

/// Settings of the frontend: each has its flag and its environment variable.
#[derive(Args)]
pub(crate) struct Options {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where browsers find the backend; empty means port 8000 of the host they see the page at
    #[arg(long, env = "PUBLIC_BACKEND_URL", default_value = "")]
    public_backend_url: String,
}

/// Serves until SIGTERM, and until drained.
///
/// # Errors
/// A sentence that finishes "failed to …", where the address is taken.
pub(crate) async fn run(options: Options, mut terminate: Terminate, log: Log) -> Result<(), String> {
    let listener = serve::bind(options.listen, log).await?;
    let config = json!({"backend_url": options.public_backend_url});
    let router = Router::new()
        .route("/", get(async || ([(header::CACHE_CONTROL, "no-cache")], Html(PAGE))))
        .route("/config.json", get(async move || Json(config)))
        .route("/healthz", get(async || "ok"));
    serve::serve(listener, router, Drain::default(), terminate.received(), log).await;
    Ok(())
}
