//! JSON, merge and strategic merge patches.

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Status;

/// RFC 7386.
///
/// # Errors
/// 400 for a patch that is not an object.
pub fn merge(_current: &Value, _patch: &Value) -> Result<Value, Status> {
    Err(Status::new(500, "InternalError", "stub"))
}

/// RFC 6902, with Kubernetes' differences (30-patch/302 of the recordings).
///
/// # Errors
/// 422 with the API server's sentence where an operation fails.
pub fn json(_current: &Value, _patch: &Value) -> Result<Value, Status> {
    Err(Status::new(500, "InternalError", "stub"))
}

/// Kubernetes' strategic merge patch, by the list keys of the shape table.
///
/// # Errors
/// As the API server words them.
pub fn strategic(_kind: &'static Kind, _current: &Value, _patch: &Value) -> Result<Value, Status> {
    Err(Status::new(500, "InternalError", "stub"))
}
