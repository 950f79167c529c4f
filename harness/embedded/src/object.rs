//! Reading and building JSON objects: the few accessors everything here uses.

use serde_json::Value;

/// A place where an object stands: kind, namespace (empty when cluster-wide), name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The kind.
    pub kind: &'static crate::kinds::Kind,
    /// The namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A key; `namespace` is dropped for cluster-wide kinds.
    #[must_use]
    pub fn new(kind: &'static crate::kinds::Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        Self { kind, namespace, name: name.to_owned() }
    }

    /// The key of an object as it stands in its metadata.
    #[must_use]
    pub fn of(kind: &'static crate::kinds::Kind, object: &Value) -> Self {
        Self::new(kind, namespace(object), name(object))
    }
}

/// `metadata.name`, or the empty string.
#[must_use]
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `metadata.namespace`, or the empty string.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// `metadata.uid`, or the empty string.
#[must_use]
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// `metadata.resourceVersion`, or the empty string.
#[must_use]
pub fn resource_version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// Whether a graceful deletion of the object has begun.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The owner reference with `controller: true`, if any.
#[must_use]
pub fn controller_of(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// Whether the condition of this type has status `True` in `status.conditions`.
#[must_use]
pub fn condition_is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == "True"))
}

/// Now, as the API writes it: whole seconds, UTC.
#[must_use]
pub fn timestamp() -> String {
    format_timestamp(jiff::Timestamp::now())
}

/// A time as the API writes it: whole seconds, UTC.
#[must_use]
pub fn format_timestamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Counts `metadata.generation` up where the change calls for it, as the kind's strategy
/// does: on everything but metadata and status, and on a Deployment's annotations.
pub fn count_generation(kind: &'static crate::kinds::Kind, before: &Value, after: &mut Value) {
    if !kind.has_generation {
        return;
    }
    let meaning = |object: &Value| {
        let mut fields = object.as_object().cloned().unwrap_or_default();
        for unmeant in ["metadata", "status", "kind", "apiVersion"] {
            fields.remove(unmeant);
        }
        fields
    };
    let noted =
        *kind == crate::kinds::DEPLOYMENT && before["metadata"]["annotations"] != after["metadata"]["annotations"];
    if noted || meaning(before) != meaning(after) {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or_default();
        after["metadata"]["generation"] = (generation + 1).into();
    }
}
