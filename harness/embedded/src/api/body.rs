//! Bodies of requests: JSON or YAML into objects, with the API server's complaints.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::kinds::{self, Kind};
use crate::shape;
use crate::status::Status;

/// The largest body that is read, in bytes, as in Kubernetes.
const BODY_MAX: usize = 3 * 1024 * 1024;

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
pub(super) fn decode_object(kind: &'static Kind, media_type: &str, bytes: &[u8]) -> Result<Value, Status> {
    check_json(media_type)?;
    let mut object = decode_json(bytes).map_err(|error| unrecognized(kind.kind, &error, bytes))?;
    if object.is_null() {
        object = Value::Object(serde_json::Map::new());
    }
    if !object.is_object() {
        return Err(unrecognized(kind.kind, "json: cannot unmarshal this into an object", bytes));
    }
    check_kind(kind, &object)
        .map_err(|(found, why)| Status::bad_request(format!("{found} cannot be handled as a {}: {why}", kind.kind)))?;
    complete(kind, &mut object);
    match shape::decode_error(kind, &object) {
        Some(error) => Err(error),
        None => Ok(object),
    }
}

/// Decodes a body that is no stored object; `what` stands in the error.
pub(super) fn decode(what: &str, headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Status> {
    check_json(media_type(headers))?;
    decode_json(bytes).map_err(|why| Status::bad_request(format!("error decoding {what}: {why}")))
}

fn check_json(media_type: &str) -> Result<(), Status> {
    if media_type == "application/json" {
        return Ok(());
    }
    let message = "the body of the request was in an unknown format - \
        accepted media types include: application/json";
    Err(Status::new(415, "UnsupportedMediaType", message))
}

/// Puts in kind, apiVersion and metadata where a client left them out.
pub(super) fn complete(kind: &'static Kind, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.insert("apiVersion".to_owned(), kind.api_version().into());
    fields.insert("kind".to_owned(), kind.kind.into());
    let metadata = fields.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(serde_json::Map::new());
    }
}

/// JSON; a body that ends early is worded as Go words it.
pub(super) fn decode_json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() })
}

/// YAML as Kubernetes reads it, with the booleans of YAML 1.1.
pub(super) fn decode_yaml(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| format!("yaml: {error}"))
}

/// What the object has that its kind has not.
pub(super) fn complaints(kind: &'static Kind, object: &Value) -> Vec<String> {
    shape::unknown_fields(kind, object).into_iter().map(|path| format!("unknown field \"{path}\"")).collect()
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

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn bodies_become_objects() {
        let check = |body: &str, name: &str| {
            let object = decode_object(&kinds::CONFIG_MAP, "application/json", body.as_bytes()).unwrap();
            assert_eq!(object["kind"], "ConfigMap");
            assert_eq!(object["apiVersion"], "v1");
            assert_eq!(object["metadata"]["name"].as_str().unwrap_or_default(), name);
        };
        check("null", "");
        check("{}", "");
        check(r#"{"metadata":{"name":"x"},"data":{"a":"1"}}"#, "x");
    }
}
