//! The double of everything outside the cluster: the Gemini API and the makers' web sites.
//!
//! `PUT /control` switches how it behaves, at run time; `GET /control` tells how, and what
//! it has been asked so far.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};

use self::control::{Change, Control};
use crate::log::Log;
use crate::serve::{self, Drain, Terminate};

mod control;
mod gemini;
mod manuals;
mod trickle;

/// Settings of the double: each has its flag and its environment variable.
#[derive(Args)]
pub(crate) struct Options {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The only valid API key; without it, every key of more than 20 characters is valid
    #[arg(long, env = "ACCEPTED_KEY", hide_env_values = true)]
    accepted_key: Option<String>,
}

/// What all requests share.
#[derive(Clone)]
struct Shared {
    accepted_key: Option<Arc<str>>,
    control: Arc<Mutex<Control>>,
    log: Log,
}

impl Shared {
    /// Runs `act` on the control, which nobody else sees meanwhile.
    fn with<T>(&self, act: impl FnOnce(&mut Control) -> T) -> T {
        act(&mut self.control.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves until SIGTERM, and until drained.
///
/// # Errors
/// A sentence that finishes "failed to …", where the address is taken.
pub(crate) async fn run(options: Options, mut terminate: Terminate, log: Log) -> Result<(), String> {
    let listener = serve::bind(options.listen, log).await?;
    let accepted_key = options.accepted_key.map(|key| Arc::from(key.trim()));
    let shared = Shared { accepted_key, control: Arc::default(), log };
    serve::serve(listener, router(shared), Drain::default(), terminate.received(), log).await;
    Ok(())
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/control", get(read_control).put(change_control))
        // The router has no way to split `{model}:{method}`; the handler does.
        .route("/v1beta/models/{call}", post(gemini::call))
        .route("/manuals/{brand}/{document}", get(manuals::document))
        .with_state(shared)
}

async fn read_control(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.with(|control| json!(control)))
}

/// Changes what the body names and leaves the rest alone.
async fn change_control(State(shared): State<Shared>, body: String) -> Response {
    match serde_json::from_str::<Change>(&body) {
        Ok(change) => {
            let control = shared.with(|control| {
                control.apply(&change);
                json!(control)
            });
            shared.log.info("control", "behaviour changed", &[("control", control.clone())]);
            Json(control).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"message": error.to_string()}))).into_response(),
    }
}
