//! Kubernetes' error body, `Status`, as a Rust error.

use serde_json::{Value, json};

use crate::kinds::Kind;

/// One reason inside an `Invalid` answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: &'static str,
    /// What is wrong, in the API's words.
    pub message: String,
    /// `spec.template.spec.containers[0].image`.
    pub field: String,
}

/// A refused request: what becomes the `Status` body and the HTTP code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP code.
    pub code: u16,
    /// `NotFound`, `Conflict`, …
    pub reason: &'static str,
    /// The sentence a client shows.
    pub message: String,
    /// `details`, absent when null.
    pub details: Value,
}

impl Status {
    /// An answer without details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// 404 for one object.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 404, "NotFound", format!("{} \"{name}\" not found", kind.qualified()))
    }

    /// 409 on create.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.qualified()))
    }

    /// 409 on a stale resourceVersion or a failed precondition.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::about(kind, name, 409, "Conflict", message)
    }

    /// 400 with the given sentence.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 422 with one cause a field; several are listed as the API server lists them.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let each: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let listed = if each.len() == 1 { each[0].clone() } else { format!("[{}]", each.join(", ")) };
        let label = if kind.group.is_empty() { kind.kind.to_owned() } else { format!("{}.{}", kind.kind, kind.group) };
        let mut status = Self::new(422, "Invalid", format!("{label} \"{name}\" is invalid: {listed}"));
        status.details = json!({
            "name": name, "group": kind.group, "kind": kind.kind,
            "causes": causes.iter().map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field})).collect::<Vec<_>>(),
        });
        if kind.group.is_empty() {
            status.details.as_object_mut().expect("details is an object").remove("group");
        }
        status
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }

    fn about(kind: &Kind, name: &str, code: u16, reason: &'static str, message: String) -> Self {
        let mut details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            details["group"] = kind.group.into();
        }
        Self { code, reason, message, details }
    }
}
