//! Tables, as `kubectl get` prints them.

use std::sync::Arc;

use serde_json::Value;

use crate::kinds::Kind;

/// How much of the object goes into each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Its metadata (the default).
    Metadata,
    /// Nothing.
    Nothing,
    /// All of it.
    Object,
}

/// The `meta.k8s.io/v1` Table of these objects; `version` is the list's resource version.
#[must_use]
pub fn table(_kind: &'static Kind, _objects: &[Arc<Value>], _include: Include, _version: u64) -> Value {
    Value::Null
}
