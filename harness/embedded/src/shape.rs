//! The shape of objects: one table of fields for each kind says what is known, what is
//! supported, how lists merge, and what is filled in. Everything that depends on
//! a field's meaning reads it: validation, defaults, patches, apply, OpenAPI, tables.

pub mod apply;
pub mod patch;
pub mod table;

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Status;

/// Paths of fields that the kind does not have (`spec.template.spec.foo`).
#[must_use]
pub fn unknown_fields(_kind: &'static Kind, _object: &Value) -> Vec<String> {
    Vec::new()
}

/// Fills in what the API server fills in on create and update.
pub fn fill_defaults(_kind: &'static Kind, _object: &mut Value) {}

/// Checks an object that is about to be created; unsupported fields are refused by name,
/// with the reason, as one cause each.
///
/// # Errors
/// 422 `Invalid` with every cause found, or 400 for values of a wrong type.
pub fn check_create(_kind: &'static Kind, _object: &Value) -> Result<(), Status> {
    Ok(())
}

/// Checks a change: everything [`check_create`] does, and immutable fields.
///
/// # Errors
/// As [`check_create`].
pub fn check_update(_kind: &'static Kind, _before: &Value, _after: &Value) -> Result<(), Status> {
    Ok(())
}

/// Sentences for fields that are accepted and have no effect here (`limits.cpu`), sent as
/// `Warning` headers.
#[must_use]
pub fn warnings(_kind: &'static Kind, _object: &Value) -> Vec<String> {
    Vec::new()
}

/// The OpenAPI v3 document of one group version, enough for kubectl's field validation.
#[must_use]
pub fn openapi_v3(_group: &str, _version: &str) -> Value {
    Value::Null
}
