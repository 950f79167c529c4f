//! The controllers, and the rules of deletion.

use serde_json::Value;
use tokio_util::sync::CancellationToken;

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
    /// The object, which is still there for a while.
    Object(Value),
    /// A `Status` of success: the object is gone.
    Gone(Value),
}

/// Runs every controller until cancelled.
pub async fn run(_store: Store, _seed: u64, cancel: CancellationToken) {
    cancel.cancelled().await;
}

/// Deletes an object by the rules of its kind: grace for pods, finalizers, propagation.
///
/// # Errors
/// `NotFound`, `Conflict` on a failed precondition.
pub fn delete(_store: &Store, _key: &Key, _options: &DeleteOptions) -> Result<Deleted, Status> {
    Err(Status::new(500, "InternalError", "stub"))
}

/// Removes the object if it is being deleted and nothing holds it any more
/// (no finalizers, and for pods a grace of zero). Called after every update.
pub fn finish_deletion(_store: &Store, _key: &Key) {}
