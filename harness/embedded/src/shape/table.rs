//! Tables, as `kubectl get` prints them.

mod age;
mod columns;
mod pod;
mod rows;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

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
pub fn table(kind: &'static Kind, objects: &[Arc<Value>], include: Include, version: u64) -> Value {
    table_at(kind, objects, include, version, Timestamp::now())
}

/// [`table`] with ages counted up to `now`.
#[must_use]
pub fn table_at(kind: &'static Kind, objects: &[Arc<Value>], include: Include, version: u64, now: Timestamp) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(kind, object, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": columns::definitions(kind), "rows": rows,
    })
}

fn row(kind: &'static Kind, object: &Value, include: Include, now: Timestamp) -> Value {
    let shown = match include {
        Include::Nothing => Value::Null,
        Include::Object => object.clone(),
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
    };
    let mut row = json!({"cells": rows::cells(kind, object, now), "object": shown});
    let outcome = match (kind.kind, object["status"]["phase"].as_str()) {
        ("Pod", Some("Succeeded")) => Some(("Succeeded", "The pod has completed successfully.")),
        ("Pod", Some("Failed")) => Some(("Failed", "The pod failed.")),
        _ => None,
    };
    if let Some((reason, message)) = outcome {
        row["conditions"] = json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
    }
    row
}
