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

/// Whether every wanted label stands in `labels` with the wanted value.
#[must_use]
pub fn has_labels(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key.as_str()] == *value))
}

/// Whether a `LabelSelector` selects these labels; an absent one selects nothing, an empty one everything.
#[must_use]
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    selector.is_object()
        && has_labels(&selector["matchLabels"], labels)
        && expressions.all(|expression| meets(expression, labels))
}

fn meets(expression: &Value, labels: &Value) -> bool {
    let label = expression["key"].as_str().and_then(|key| labels.get(key));
    let listed = || expression["values"].as_array().zip(label).is_some_and(|(values, label)| values.contains(label));
    match expression["operator"].as_str() {
        Some("In") => listed(),
        Some("NotIn") => !listed(),
        Some("Exists") => label.is_some(),
        Some("DoesNotExist") => label.is_none(),
        _ => false,
    }
}

/// A `LabelSelector` as people write it: `app=web,tier in (a,b)`.
#[must_use]
pub fn selector_text(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(key, value)| format!("{key}={}", text(value))).collect();
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let values: Vec<String> = one["values"].as_array().into_iter().flatten().map(text).collect();
        let (key, values) = (text(&one["key"]), values.join(","));
        parts.push(match one["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key,
        });
    }
    parts.sort();
    parts.join(",")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    #[test]
    fn generations_count_as_recorded() {
        let check = |kind: &'static kinds::Kind, before: Value, mut after: Value, expected: Option<i64>| {
            let mut before = before;
            before["metadata"]["generation"] = 3.into();
            after["metadata"]["generation"] = 3.into();
            count_generation(kind, &before, &mut after);
            assert_eq!(after["metadata"]["generation"].as_i64(), expected, "{after}");
        };
        let spec = |replicas: u8| json!({"metadata": {"name": "d"}, "spec": {"replicas": replicas}});
        check(&kinds::DEPLOYMENT, spec(1), spec(1), Some(3));
        check(&kinds::DEPLOYMENT, spec(1), spec(2), Some(4));
        let noted = json!({"metadata": {"name": "d", "annotations": {"a": "1"}}, "spec": {"replicas": 1}});
        let labelled = json!({"metadata": {"name": "d", "labels": {"a": "1"}}, "spec": {"replicas": 1}});
        let status = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        check(&kinds::DEPLOYMENT, spec(1), noted.clone(), Some(4));
        check(&kinds::STATEFUL_SET, spec(1), noted, Some(3));
        check(&kinds::DEPLOYMENT, spec(1), labelled, Some(3));
        check(&kinds::DEPLOYMENT, spec(1), status, Some(3));
        let endpoints = |address: &str| json!({"metadata": {}, "endpoints": [{"addresses": [address]}]});
        check(&kinds::ENDPOINT_SLICE, endpoints("10.0.0.1"), endpoints("10.0.0.2"), Some(4));
        check(&kinds::CONFIG_MAP, json!({"data": {"a": "1"}}), json!({"data": {"a": "2"}}), Some(3));
    }

    #[test]
    fn selectors_select() {
        let check = |selector: Value, labels: Value, expect: bool| {
            assert_eq!(selects(&selector, &labels), expect, "{selector} on {labels}");
        };
        check(Value::Null, json!({"a": "1"}), false);
        check(json!({}), json!({"a": "1"}), true);
        check(json!({"matchLabels": {"a": "1"}}), json!({"a": "1", "b": "2"}), true);
        check(json!({"matchLabels": {"a": "1"}}), json!({"a": "2"}), false);
        check(json!({"matchLabels": {"a": "1"}}), Value::Null, false);
        let one = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]});
        check(one("In", json!(["1", "2"])), json!({"a": "2"}), true);
        check(one("In", json!(["1"])), json!({}), false);
        check(one("NotIn", json!(["1"])), json!({"a": "2"}), true);
        check(one("NotIn", json!(["1"])), json!({}), true);
        check(one("NotIn", json!(["1"])), json!({"a": "1"}), false);
        check(one("Exists", Value::Null), json!({"a": "1"}), true);
        check(one("DoesNotExist", Value::Null), json!({"a": "1"}), false);
        check(one("Near", Value::Null), json!({"a": "1"}), false);
    }

    #[test]
    fn selectors_are_written_as_text() {
        let check = |object: Value, expected: &str| assert_eq!(selector_text(&object), expected);
        check(json!({"matchLabels": {"app": "d", "b": "c"}}), "app=d,b=c");
        check(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}), "a in (x,y)");
        check(json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "!a");
    }
}
