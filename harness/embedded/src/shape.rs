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

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::{Cause, Status};

/// Paths of fields that the kind does not have (`spec.template.spec.foo`).
#[must_use]
pub fn unknown_fields(kind: &'static Kind, object: &Value) -> Vec<String> {
    decode::unknown_fields(kind, object)
}

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

/// What is wrong with the first value of a wrong type, in the words [`patched_error`] takes.
#[must_use]
pub fn type_mismatch(kind: &'static Kind, object: &Value) -> Option<String> {
    decode::type_error(kind, object)
}

/// Fills in what the API server fills in on create and update, drops unknown fields, nulls
/// and zero values, and writes quantities in canonical form. Objects with values of a wrong
/// type stay as they are. Filling in twice changes nothing.
pub fn fill_defaults(kind: &'static Kind, object: &mut Value) {
    defaults::fill(kind, object);
}

/// Adds what a new object gets beside its defaults and what nobody owns as a field manager:
/// initial status, a pod's tolerations and priority, a namespace's finalizer, IP families.
pub fn prepare_create(kind: &'static Kind, object: &mut Value) {
    defaults::prepare(kind, object);
}

/// The status of a new object, `None` for kinds without one.
#[must_use]
pub fn initial_status(kind: &'static Kind, object: &Value) -> Option<Value> {
    defaults::initial_status(kind, object)
}

/// Brings back what an update may leave out: identity, times, cluster IPs, node ports.
/// Status and generation are the caller's.
pub fn carry_over(kind: &'static Kind, before: &Value, after: &mut Value) {
    defaults::carry_over(kind, before, after);
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

/// Sentences for fields that are accepted and have no effect here (`limits.cpu`), sent as
/// `Warning` headers.
#[must_use]
pub fn warnings(kind: &'static Kind, object: &Value) -> Vec<String> {
    check::warnings(kind, object)
}

/// The OpenAPI v3 document of one group version, enough for kubectl's field validation.
#[must_use]
pub fn openapi_v3(group: &str, version: &str) -> Value {
    openapi::document(group, version)
}

fn refuse(kind: &'static Kind, object: &Value, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(kind, crate::object::name(object), causes)) }
}

fn cannot_be_handled(kind: &Kind, why: &str) -> Status {
    let (name, version) = (kind.kind, kind.version);
    Status::bad_request(format!("{name} in version \"{version}\" cannot be handled as a {name}: {why}"))
}
