//! Server-side apply and `managedFields`.

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Status;

/// The result of applying `intent` as `manager`; `current` is absent on create.
///
/// # Errors
/// 409 with one `FieldManagerConflict` cause a field, unless `force`.
pub fn apply(
    _kind: &'static Kind,
    _current: Option<&Value>,
    _intent: &Value,
    _manager: &str,
    _force: bool,
) -> Result<Value, Status> {
    Err(Status::new(500, "InternalError", "stub"))
}

/// Records in `after` that `manager` wrote by update (or `subresource`) what differs from `before`.
pub fn track_update(
    _kind: &'static Kind,
    _before: Option<&Value>,
    _after: &mut Value,
    _manager: &str,
    _subresource: Option<&str>,
) {
}
