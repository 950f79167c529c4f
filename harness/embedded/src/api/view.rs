//! What a client wants to see of objects, by its `Accept` header: the objects, or a Table.

use std::sync::Arc;

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use crate::api::query::Query;
use crate::kinds::Kind;
use crate::object;
use crate::shape::table::{Include, table};
use crate::status::Status;

/// The form of the objects in an answer, which is JSON always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Objects,
    Table(Include),
}

impl View {
    /// The first form of the client's that is known here.
    pub(super) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        for range in accept.split(',') {
            let parts: Vec<&str> = range.split(';').map(str::trim).collect();
            if !["application/json", "application/*", "*/*"].contains(&parts[0]) {
                continue;
            }
            match parts.iter().find_map(|part| part.strip_prefix("as=")) {
                None => return Ok(Self::Objects),
                Some("Table") if parts.contains(&"g=meta.k8s.io") && parts.contains(&"v=v1") => {
                    return included(query).map(Self::Table);
                }
                Some(_) => {}
            }
        }
        let message = "only the following media types are accepted: application/json, \
            application/json;as=Table;v=v1;g=meta.k8s.io";
        Err(Status { details: json!({}), ..Status::new(406, "NotAcceptable", message) })
    }

    /// One object.
    pub(super) fn one(self, kind: &'static Kind, object: &Arc<Value>) -> Value {
        match self {
            Self::Objects => Value::clone(object),
            Self::Table(include) => table(kind, std::slice::from_ref(object), include, version_of(object)),
        }
    }

    /// A list, as it was at this version.
    pub(super) fn list(self, kind: &'static Kind, objects: &[Arc<Value>], version: u64) -> Value {
        let include = match self {
            Self::Table(include) => include,
            Self::Objects => {
                let items: Vec<Value> = objects.iter().map(|object| item(object)).collect();
                return json!({
                    "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                    "metadata": {"resourceVersion": version.to_string()}, "items": items,
                });
            }
        };
        table(kind, objects, include, version)
    }
}

/// The object's resource version, 0 where it has none.
pub(super) fn version_of(object: &Value) -> u64 {
    object::resource_version(object).parse().unwrap_or_default()
}

/// An object as it stands in a list: without kind and apiVersion.
fn item(object: &Value) -> Value {
    let mut item = object.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

fn included(query: &Query) -> Result<Include, Status> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::Nothing),
        Some("Object") => Ok(Include::Object),
        Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: \"{other}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_range_wins() {
        let check = |accept: &str, expected: Result<View, u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let view = View::negotiate(&headers, &Query::default());
            assert_eq!(view.map_err(|status| status.code), expected, "{accept}");
        };
        check("application/json", Ok(View::Objects));
        check("*/*", Ok(View::Objects));
        check("application/vnd.kubernetes.protobuf,application/json", Ok(View::Objects));
        check("text/html, application/json;q=0.5", Ok(View::Objects));
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Ok(View::Objects));
        let table = Ok(View::Table(Include::Metadata));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", table);
        check("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Err(406));
        check("application/yaml", Err(406));
        check("text/html", Err(406));
        check("application/vnd.kubernetes.protobuf", Err(406));
    }
}
