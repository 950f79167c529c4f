//! Events, worded and counted as Kubernetes words and counts them.

use serde_json::Value;

use crate::kinds::Kind;
use crate::store::Store;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// Records an event about an object; a repeat counts up the one that exists.
pub fn record(
    _store: &Store,
    _component: &str,
    _kind: &'static Kind,
    _about: &Value,
    _severity: Severity,
    _reason: &str,
    _message: &str,
) {
}
