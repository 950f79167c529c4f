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
    /// `NotFound`, `Conflict`, …; absent in the body when empty.
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
        Self::invalid_options(kind.group, kind.kind, name, causes)
    }

    /// [`Status::invalid`] for what is no stored kind, such as `ListOptions`.
    #[must_use]
    pub fn invalid_options(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let each: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let listed = if each.len() == 1 { each[0].clone() } else { format!("[{}]", each.join(", ")) };
        let label = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Self::new(422, "Invalid", format!("{label} \"{name}\" is invalid: {listed}"));
        let causes: Vec<Value> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        status.details = json!({"causes": causes});
        for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                status.details[key] = text.into();
            }
        }
        status
    }

    /// 404 for a resource that is not served.
    #[must_use]
    pub fn unknown_resource() -> Self {
        Self { details: json!({}), ..Self::new(404, "NotFound", "the server could not find the requested resource") }
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: json!({}), ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// 403 with the sentence after `is forbidden: `.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Self::about(kind, name, 403, "Forbidden", message)
    }

    /// 503 with the given sentence.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 500 without a reason, as the API server answers where its own code returns a plain error.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
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
