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

/// How one request went, and why it was lost where it was.
pub(crate) struct Sent {
    pub(crate) request: Request,
    pub(crate) lost: Option<String>,
}

/// Sends one request. Lost is one without a complete 2xx within [`LOST_AFTER`] of its
/// intended start.
///
/// # Errors
/// The reason, where we could not send it, or the way to the system may have lost it.
pub(crate) async fn send(target: Arc<Target>, intended: Offset, fresh: bool, clock: RunClock) -> Result<Sent, String> {
    let sent = attempt(&target, intended, fresh, clock).await?;
    let lost = sent.lost.is_some().then(|| target.door.excuse(clock.instant(intended), clock.instant(clock.now())));
    lost.flatten().map_or(Ok(sent), Err)
}

async fn attempt(target: &Target, intended: Offset, fresh: bool, clock: RunClock) -> Result<Sent, String> {
    let until = clock.instant(intended + LOST_AFTER);
    let lost = |reason: String| Ok(Sent { request: Request { intended, latency: None }, lost: Some(reason) });
    let kept = if fresh { None } else { target.kept().pop() };
    let (reply, connection) = match timeout_at(until, http::exchange(&target.door, &target.path, kept)).await {
        Err(_) => return lost(format!("no answer within {} s", LOST_AFTER.as_secs())),
        Ok(Err(Failure::Theirs(reason))) => return lost(reason),
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
    if !reply.status.is_success() {
        return lost(format!("answered {}", reply.status.as_u16()));
    }
    Ok(Sent { request: Request { intended, latency: Some(latency) }, lost: None })
}
