//! The controllers, and the rules of deletion.
//!
//! Each controller is a view of the store, a pure `reconcile(view, now) -> Vec<Action>` and
//! nothing else; one function applies actions, one loop decides who looks when.

mod action;
mod adopt;
mod budget;
mod claims;
mod deletion;
mod deployment;
mod driver;
mod endpoints;
mod facts;
mod garbage;
mod namespace;
mod replica_set;
mod revisions;
mod schedule;
mod stateful_set;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::action::check_namespace_open;
pub use self::deletion::delete_at;
pub use self::driver::Controllers;
pub(crate) use self::facts::suffix as name_suffix;
use crate::object::Key;
use crate::status::Status;
use crate::store::Store;

/// `DeleteOptions`, as far as they are known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `propagationPolicy`.
    pub propagation: Option<Propagation>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
}

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// What a delete answers with.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object: it is still there for a while, or of a kind whose deletion answers with it.
    Object(Value),
    /// A `Status` of success: the object is gone.
    Gone(Value),
}

/// Runs every controller until cancelled: after each change, and when something is due.
///
/// Cancel safe: a step is never left half done.
pub async fn run(store: Store, seed: u64, cancel: CancellationToken) {
    let mut controllers = Controllers::new(store.clone(), seed);
    loop {
        let now = Timestamp::now();
        let due = controllers.step(now);
        let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = store.changed_after(controllers.seen()) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Deletes an object by the rules of its kind: grace for pods, finalizers, propagation.
///
/// # Errors
/// `NotFound`, `Conflict` on a failed precondition.
pub fn delete(store: &Store, key: &Key, options: &DeleteOptions) -> Result<Deleted, Status> {
    delete_at(store, key, options, Timestamp::now())
}

/// Removes the object if it is being deleted and nothing holds it any more
/// (no finalizers, and for pods a grace of zero). Called after every update.
pub fn finish_deletion(store: &Store, key: &Key) {
    if store.get(key).is_some_and(|object| deletion::is_over(key.kind, &object)) {
        store.remove(key);
    }
}
