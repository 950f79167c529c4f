//! The shape of objects: one table of fields for each kind says what is known, what is
//! supported, how lists merge, and what is filled in. Everything that depends on
//! a field's meaning reads it: validation, defaults, patches, apply, OpenAPI, tables.
//!
//! A request to create goes through here in this order: [`decode_error`] and
//! [`unknown_fields`] on what was sent, [`fill_defaults`], [`apply::track_update`],
//! [`prepare_create`], addresses and ports from outside, [`check_create`]. An update:
//! the same two, [`carry_over`], [`fill_defaults`], [`check_update`], [`apply::track_update`].

pub mod apply;
mod check;
mod decode;
mod defaults;
mod fields;
mod openapi;
pub mod patch;
pub mod quantity;
pub mod table;

pub use check::warnings;
pub use decode::{type_error as type_mismatch, unknown_fields};
pub use defaults::{carry_over, fill as fill_defaults, initial_status, prepare as prepare_create};
pub use openapi::document as openapi_v3;

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::{Cause, Status};

/// 400 for a value of a wrong type, `None` where every value can be read.
#[must_use]
pub fn decode_error(kind: &'static Kind, object: &Value) -> Option<Status> {
    decode::type_error(kind, object).map(|why| cannot_be_handled(kind, &why))
}

/// 400 for unknown or duplicate fields under `fieldValidation=Strict`; each problem as in a
/// warning: `unknown field "spec.foo"`.
#[must_use]
pub fn strict_error(kind: &'static Kind, problems: &[String]) -> Status {
    cannot_be_handled(kind, &format!("strict decoding error: {}", problems.join(", ")))
}

/// What either of the two errors above looks like where a patch, not an object, was sent:
/// 422 with the patched object in it. `why` is the text after `cannot be handled as a …: `.
#[must_use]
pub fn patched_error(patched: &Value, why: &str) -> Status {
    let text = Value::String(patched.to_string());
    let message = format!("Invalid value: {text}: {why}");
    let mut status = Status::new(422, "Invalid", format!(" \"\" is invalid: patch: {message}"));
    status.details =
        serde_json::json!({"causes": [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]});
    status
}

/// Checks an object that is about to be created; unsupported fields are refused by name,
/// with the reason, as one cause each.
///
/// # Errors
/// 422 `Invalid` with every cause found, or 400 for values of a wrong type.
pub fn check_create(kind: &'static Kind, object: &Value) -> Result<(), Status> {
    if let Some(error) = decode_error(kind, object) {
        return Err(error);
    }
    refuse(kind, object, &check::create(kind, object))
}

/// Checks a change: everything [`check_create`] does, and immutable fields.
///
/// # Errors
/// As [`check_create`].
pub fn check_update(kind: &'static Kind, before: &Value, after: &Value) -> Result<(), Status> {
    if let Some(error) = decode_error(kind, after) {
        return Err(error);
    }
    let mut causes = check::create(kind, after);
    causes.extend(check::update(kind, before, after));
    refuse(kind, after, &causes)
}

fn refuse(kind: &'static Kind, object: &Value, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(kind, crate::object::name(object), causes)) }
}

fn cannot_be_handled(kind: &Kind, why: &str) -> Status {
    let (name, version) = (kind.kind, kind.version);
    Status::bad_request(format!("{name} in version \"{version}\" cannot be handled as a {name}: {why}"))
}
