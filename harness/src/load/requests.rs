//! HTTP load: half of the requests on connections of their own, half on kept ones.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout_at;

use super::LOST_AFTER;
use crate::clock::RunClock;
use crate::event::Offset;
use crate::sample::door::{Door, Failure};
use crate::sample::http::{self, Connection};
use crate::system::Request;

/// Connections kept for the next request; more than this many were never idle at once.
const KEPT_MAX: usize = 256;

/// Where requests go.
pub(crate) struct Target {
    pub(crate) door: Door,
    pub(crate) path: String,
    kept: Mutex<Vec<Connection>>,
}

impl Target {
    pub(crate) fn new(door: Door, path: String) -> Arc<Self> {
        Arc::new(Self { door, path, kept: Mutex::new(Vec::new()) })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing that can panic runs while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one request. Lost is one without a complete 2xx within [`LOST_AFTER`] of its
/// intended start.
///
/// # Errors
/// The reason, where we could not send it.
pub(crate) async fn send(
    target: Arc<Target>,
    intended: Offset,
    fresh: bool,
    clock: RunClock,
) -> Result<Request, String> {
    let until = clock.instant(intended + LOST_AFTER);
    let lost = Ok(Request { intended, latency: None });
    let kept = if fresh { None } else { target.kept().pop() };
    let (reply, connection) = match timeout_at(until, http::exchange(&target.door, &target.path, kept)).await {
        Err(_) | Ok(Err(Failure::Theirs(_))) => return lost,
        Ok(Err(Failure::Ours(reason))) => return Err(reason),
        Ok(Ok(answered)) => answered,
    };
    let latency = clock.now().since(intended);
    if !fresh {
        let mut kept = target.kept();
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
    }
    if reply.status.is_success() { Ok(Request { intended, latency: Some(latency) }) } else { lost }
}
