//! JSON, merge and strategic merge patches.

mod strategic;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::status::Status;

/// RFC 7386.
///
/// # Errors
/// 400 for a patch that is not an object.
pub fn merge(current: &Value, patch: &Value) -> Result<Value, Status> {
    must_be_object(patch)?;
    let mut patched = current.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

/// RFC 6902, with Kubernetes' differences (30-patch/302 of the recordings): `replace` of an
/// absent member adds it, and a `test` for null holds where nothing stands.
///
/// # Errors
/// 400 for a patch that is not a list, 422 with the API server's sentence where an operation
/// is malformed or fails.
pub fn json(current: &Value, patch: &Value) -> Result<Value, Status> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch"));
    };
    let mut patched = current.clone();
    for operation in operations {
        let operation = as_kubernetes_reads_it(operation, &patched);
        let read: Result<json_patch::Patch, _> = serde_json::from_value(json!([operation]));
        let applied = read.ok().and_then(|one| json_patch::patch(&mut patched, &one.0).ok());
        applied.ok_or_else(rejected)?;
    }
    Ok(patched)
}

/// Kubernetes' strategic merge patch, by the list keys of the shape table.
///
/// # Errors
/// As the API server words them.
pub fn strategic(kind: &'static Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    must_be_object(patch)?;
    strategic::apply(kind, current, patch)
}

fn must_be_object(patch: &Value) -> Result<(), Status> {
    if patch.is_object() {
        return Ok(());
    }
    let found = match patch {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null | Value::Object(_) => "null",
    };
    let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    Err(Status::bad_request(format!("error decoding patch: {why}")))
}

fn as_kubernetes_reads_it(operation: &Value, target: &Value) -> Value {
    let mut operation = operation.clone();
    let path = operation["path"].as_str().unwrap_or_default().to_owned();
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    let is_absent_member = target.pointer(&path).is_none() && target.pointer(parent).is_some_and(Value::is_object);
    if operation["op"] == "replace" && is_absent_member {
        operation["op"] = "add".into();
    }
    if operation["op"] == "test" && operation["value"].is_null() && target.pointer(&path).is_none() {
        return json!({"op": "test", "path": "", "value": target});
    }
    operation
}

fn rejected() -> Status {
    let mut status = Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = json!({});
    status
}
