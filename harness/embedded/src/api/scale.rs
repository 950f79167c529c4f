//! The scale subresource of Deployments, ReplicaSets and StatefulSets.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::body;
use crate::api::options::WriteOptions;
use crate::api::place::Place;
use crate::api::respond::{self, Answer};
use crate::api::write::{self, Edit};
use crate::object;
use crate::shape::patch;
use crate::status::{Cause, Status};

/// `GET`.
pub(super) fn get(api: &Api, place: &Place) -> Result<Answer, Status> {
    let key = place.key();
    let object = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    Ok(respond::object(200, &scale_of(&object)))
}

/// `PUT`, and `PATCH` by every kind of patch: only `spec.replicas` is taken over.
pub(super) async fn write(
    api: &Api,
    place: &Place,
    headers: &HeaderMap,
    options: &WriteOptions,
    edit: Option<&Edit>,
    bytes: &[u8],
) -> Result<Answer, Status> {
    let key = place.key();
    let before = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let scale = scale_of(&before);
    let after = match edit {
        None => body::decode("Scale", headers, bytes)?,
        Some(Edit::Merge(patch) | Edit::Strategic(patch)) => patch::merge(&scale, patch)?,
        Some(Edit::Json(patch)) => patch::json(&scale, patch)?,
        Some(Edit::Apply(intent)) => intent.clone(),
        Some(Edit::Replace(object)) => object.clone(),
    };
    let name = object::name(&after);
    if !["", key.name.as_str()].contains(&name) {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", key.name);
        return Err(Status::bad_request(message));
    }
    let replicas = match &after["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().ok_or_else(|| {
            let why =
                format!("json: cannot unmarshal {value} into Go struct field ScaleSpec.spec.replicas of type int32");
            Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {why}"))
        })?,
    };
    if replicas < 0 {
        let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        let cause = Cause { reason: "FieldValueInvalid", message, field: "spec.replicas".to_owned() };
        return Err(Status::invalid_options("autoscaling", "Scale", &key.name, &[cause]));
    }
    // A version that the client names is a precondition; without one the newest object is scaled.
    let mut patch = json!({"spec": {"replicas": replicas}});
    let named = match edit {
        None => object::resource_version(&after),
        Some(Edit::Merge(patch)) => object::resource_version(patch),
        Some(_) => "",
    };
    if !named.is_empty() {
        patch["metadata"] = json!({"resourceVersion": named});
    }
    let written = write::change(api, place, options, &Edit::Json(replica_patch(&patch))).await?;
    Ok(respond::object(200, &scale_of(&written.object)))
}

/// The change of the scaled object as a JSON patch, which needs no merge rules.
fn replica_patch(patch: &Value) -> Value {
    let mut operations = vec![json!({"op": "add", "path": "/spec/replicas", "value": patch["spec"]["replicas"]})];
    if let Some(version) = patch["metadata"]["resourceVersion"].as_str() {
        operations.push(json!({"op": "add", "path": "/metadata/resourceVersion", "value": version}));
    }
    operations.into()
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    // No replicas are written as nothing at all.
    let spec = match object["spec"]["replicas"].as_i64() {
        Some(0) => json!({}),
        replicas => json!({"replicas": replicas.unwrap_or(1)}),
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec,
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or_default(),
            "selector": object::selector_text(&object["spec"]["selector"]),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_read_as_recorded() {
        let check = |replicas: Value, spec: Value| {
            let object = json!({"spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}},
                "status": {"replicas": 1}});
            let scale = scale_of(&object);
            assert_eq!(scale["spec"], spec);
            assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=d"}));
        };
        check(json!(2), json!({"replicas": 2}));
        check(json!(0), json!({}));
    }
}
