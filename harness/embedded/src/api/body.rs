//! Bodies of requests: JSON or YAML into objects, with the API server's complaints.

mod duplicates;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::api::options::FieldValidation;
use crate::kinds::{self, Kind};
use crate::shape;
use crate::status::Status;

/// The largest body that is read, in bytes, as in Kubernetes.
const BODY_MAX: usize = 3 * 1024 * 1024;

/// A decoded body and the fields in it that stand twice.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    pub(super) value: Value,
    pub(super) duplicates: Vec<String>,
}

/// Reads a body to its end.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {BODY_MAX}");
            Err(Status::new(413, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(Status::bad_request(format!("the body ended early: {error}"))),
    }
}

/// The media type of the body, without parameters; JSON where none is given.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media_type => media_type,
    }
}

/// Decodes the body of a create or an update: an object of this kind, with kind and apiVersion filled in.
pub(super) fn decode_object(kind: &'static Kind, media_type: &str, bytes: &[u8]) -> Result<Decoded, Status> {
    let mut decoded = match media_type {
        "application/json" => decode_json(bytes).map_err(|error| unrecognized(kind.kind, &error, bytes))?,
        "application/yaml" => decode_yaml(bytes).map_err(|error| {
            Status::bad_request(format!("the object provided is unrecognized (must be of type {}): {error}", kind.kind))
        })?,
        _ => {
            let message = "the body of the request was in an unknown format - \
                accepted media types include: application/json, application/yaml";
            return Err(Status::new(415, "UnsupportedMediaType", message));
        }
    };
    if decoded.value.is_null() {
        decoded.value = Value::Object(serde_json::Map::new());
    }
    if !decoded.value.is_object() {
        let found = if decoded.value.is_array() { "array" } else { "value" };
        let error = format!("json: cannot unmarshal {found} into an object");
        return Err(unrecognized(kind.kind, &error, bytes));
    }
    check_kind(kind, &decoded.value)
        .map_err(|(found, why)| Status::bad_request(format!("{found} cannot be handled as a {}: {why}", kind.kind)))?;
    let fields = decoded.value.as_object_mut().expect("checked above");
    fields.insert("apiVersion".to_owned(), kind.api_version().into());
    fields.insert("kind".to_owned(), kind.kind.into());
    check_metadata(kind, &mut decoded.value).map_err(|why| unfit(kind, &why))?;
    Ok(decoded)
}

/// JSON, with the fields that stand twice; the error is worded as Go words it.
pub(super) fn decode_json(bytes: &[u8]) -> Result<Decoded, String> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = duplicates::read(&mut deserializer, &mut duplicates)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() })?;
    Ok(Decoded { value, duplicates })
}

/// YAML as Kubernetes reads it, with the booleans of YAML 1.1.
pub(super) fn decode_yaml(bytes: &[u8]) -> Result<Decoded, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let value = serde_saphyr::from_str(text).map_err(|error| format!("yaml: {error}"))?;
    Ok(Decoded { value, duplicates: Vec::new() })
}

/// Takes out of the object what its kind does not have, and says what that was: as warnings,
/// or under `Strict` as the sentence of a strict decoding error.
pub(super) fn prune(
    kind: &'static Kind,
    object: &mut Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<Vec<String>, String> {
    let unknown = shape::unknown_fields(kind, object);
    for path in &unknown {
        remove(object, path);
    }
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let complaints: Vec<String> =
        unknown.iter().map(|path| format!("unknown field \"{path}\"")).chain(duplicates).collect();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(format!("strict decoding error: {}", complaints.join(", ")))
        }
        FieldValidation::Strict | FieldValidation::Warn => Ok(complaints),
    }
}

/// 400 for a body that cannot become an object of this kind.
pub(super) fn unfit(kind: &Kind, why: &str) -> Status {
    let Kind { kind, version, .. } = kind;
    Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

fn unrecognized(kind: &str, error: &str, bytes: &[u8]) -> Status {
    /// How much of the body an error shows, in characters.
    const EXCERPT_MAX: usize = 64;
    let text = String::from_utf8_lossy(bytes);
    let excerpt: String = if text.is_empty() { "<empty>".to_owned() } else { text.chars().take(EXCERPT_MAX).collect() };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): \
         couldn't get version/kind; json parse error: {error} ({excerpt})"
    ))
}

/// Kind and apiVersion may be absent, not different; the error is what was found and why it does not fit.
pub(super) fn check_kind(kind: &'static Kind, object: &Value) -> Result<(), (String, String)> {
    let text = |name: &str| object[name].as_str().filter(|text| !text.is_empty());
    let api_version = text("apiVersion").map_or_else(|| kind.api_version(), str::to_owned);
    let name = text("kind").unwrap_or(kind.kind);
    if name == kind.kind && api_version == kind.api_version() {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    let why = match kinds::by_kind(&api_version, name) {
        Some(_) => format!("converting ({version}.{name}) to ({group}.{}): unknown conversion", kind.kind),
        None => format!(
            "no kind \"{name}\" is registered for version \"{api_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err((format!("{name} in version \"{version}\""), why))
}

/// Everything above the store reads names from `metadata`, so it must be there and of the right type.
pub(super) fn check_metadata(kind: &Kind, object: &mut Value) -> Result<(), String> {
    if !object.is_object() {
        return Err(format!("json: cannot unmarshal {} into Go value of type v1.{}", type_name(object), kind.kind));
    }
    if object["metadata"].is_null() {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    let wrong = |found: &Value, field: &str, wanted: &str| {
        let found = type_name(found);
        Err(format!("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"))
    };
    let metadata = &object["metadata"];
    if !metadata.is_object() {
        return wrong(metadata, &format!("{}.metadata", kind.kind), "v1.ObjectMeta");
    }
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        if !metadata[field].is_null() && !metadata[field].is_string() {
            return wrong(&metadata[field], &format!("ObjectMeta.metadata.{field}"), "string");
        }
    }
    for field in ["labels", "annotations"] {
        if !metadata[field].is_null() && !metadata[field].is_object() {
            return wrong(&metadata[field], &format!("ObjectMeta.metadata.{field}"), "map[string]string");
        }
    }
    Ok(())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Removes the field at a path such as `spec.containers[0].imag`.
fn remove(object: &mut Value, path: &str) {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = object;
    for step in parent.split('.').filter(|step| !step.is_empty()) {
        let mut parts = step.split('[');
        let name = parts.next().unwrap_or_default();
        let Some(next) = place.get_mut(name) else { return };
        place = next;
        for index in parts {
            let index: Option<usize> = index.trim_end_matches(']').parse().ok();
            let Some(next) = index.and_then(|index| place.get_mut(index)) else { return };
            place = next;
        }
    }
    if let Some(fields) = place.as_object_mut() {
        fields.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_refused_as_recorded() {
        let check = |media_type: &str, body: &str, code: u16, expected: &str| {
            let refused = decode_object(&kinds::CONFIG_MAP, media_type, body.as_bytes()).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (code, expected), "{body}");
        };
        let json = "application/json";
        check(
            json,
            "{\"a\":",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): \
            couldn't get version/kind; json parse error: unexpected end of JSON input ({\"a\":)",
        );
        check(
            json,
            "",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): \
            couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        );
        check(
            json,
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            400,
            "Secret in version \"v1\" cannot be handled as a \
            ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        );
        check(
            json,
            r#"{"apiVersion":"v9","kind":"ConfigMap"}"#,
            400,
            "ConfigMap in version \"v9\" cannot be handled \
            as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v9\" in scheme \
            \"pkg/api/legacyscheme/scheme.go:30\"",
        );
        check(
            "application/yaml",
            "kind: ConfigMap\nmetadata:\n  name: y\n",
            400,
            "ConfigMap in version \"v1\" cannot \
            be handled as a ConfigMap: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name \
            of type string",
        );
    }

    #[test]
    fn bodies_become_objects() {
        let check = |media_type: &str, body: &str, name: &str, duplicates: &[&str]| {
            let decoded = decode_object(&kinds::CONFIG_MAP, media_type, body.as_bytes()).unwrap();
            assert_eq!(decoded.value["kind"], "ConfigMap");
            assert_eq!(decoded.value["apiVersion"], "v1");
            assert_eq!(decoded.value["metadata"]["name"].as_str().unwrap_or_default(), name);
            assert_eq!(decoded.duplicates, duplicates);
        };
        check("application/json", "null", "", &[]);
        check("application/json", "{}", "", &[]);
        check(
            "application/json",
            r#"{"metadata":{"name":"x","name":"y"},"data":{"a":"1","a":"2"}}"#,
            "y",
            &["metadata.name", "data.a"],
        );
        check("application/yaml", "metadata:\n  name: yy\ndata: {a: \"1\"}\n", "yy", &[]);
    }

    #[test]
    fn fields_are_removed_by_path() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "imag": "x"}], "bogus": 1}, "top": 1});
        for path in ["spec.containers[0].imag", "spec.bogus", "top", "spec.containers[9].x", "none.such"] {
            remove(&mut object, path);
        }
        assert_eq!(object, json!({"spec": {"containers": [{"name": "a"}]}}));
    }
}
