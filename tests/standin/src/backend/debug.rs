//! Switches that only this stand-in has: a scenario that uses one says that it needs them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::interval;

/// What the leak takes at once.
const PIECE_BYTES: usize = 16 << 20;
/// Time between two pieces: a limit of 1 GiB is met within three seconds.
const PIECE_EVERY: Duration = Duration::from_millis(40);
/// Where it ends although nobody has killed it: it must not take a whole machine.
const PIECES_MAX: usize = (4 << 30) / PIECE_BYTES;

/// Memory that is taken and not given back, while the switch is on.
#[derive(Default)]
pub(crate) struct Leak {
    running: Mutex<Option<AbortHandle>>,
}

impl Leak {
    /// Begins to take memory; a leak that is on goes on.
    pub(crate) fn begin(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = Some(tokio::spawn(leak()).abort_handle());
        }
    }

    /// Gives everything back.
    pub(crate) fn end(&self) {
        if let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            running.abort();
        }
    }
}

/// Takes memory and writes to it, since untouched memory costs nothing.
async fn leak() {
    let mut leaked = Vec::new();
    let mut ticks = interval(PIECE_EVERY);
    loop {
        ticks.tick().await;
        if leaked.len() < PIECES_MAX {
            leaked.push(vec![0xa5_u8; PIECE_BYTES]);
            std::hint::black_box(&leaked);
        }
    }
}

/// What there is to switch.
pub(crate) async fn switches() -> Json<Value> {
    Json(json!({"switches": ["leak"]}))
}
