//! What a client wants to see of objects, by its `Accept` header: the objects, a Table or metadata.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use serde_json::{Value, json};

use crate::api::query::Query;
use crate::api::respond::Encoding;
use crate::kinds::Kind;
use crate::object;
use crate::shape::table::{Include, table};
use crate::status::Status;

/// The form of the objects in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Object,
    Table(Include),
    /// `PartialObjectMetadata`.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
}

/// Form and encoding together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct View {
    pub(super) form: Form,
    pub(super) encoding: Encoding,
}

/// Where a list stands among its pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    pub(super) version: u64,
    pub(super) next: Option<String>,
    pub(super) remaining: Option<usize>,
}

impl View {
    pub(super) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        let mut ranges: Vec<Range> = accept.split(',').map(Range::parse).collect();
        ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let known_type = ranges.iter().any(|range| range.encoding().is_some());
        for range in &ranges {
            let (Some(encoding), Some(form)) = (range.encoding(), range.form(query)?) else {
                continue;
            };
            return Ok(Self { form, encoding: prettify(encoding, headers, query) });
        }
        if known_type {
            let message = "only the following media types are accepted: application/json, application/yaml";
            return Err(Status::new(406, "NotAcceptable", message));
        }
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml";
        Err(Status { details: json!({}), ..Status::new(406, "NotAcceptable", message) })
    }

    /// One object.
    pub(super) fn one(self, kind: &'static Kind, object: &Arc<Value>) -> Result<Value, Status> {
        match self.form {
            Form::Object => Ok(Value::clone(object)),
            Form::Metadata => Ok(metadata(object)),
            Form::Table(include) => Ok(table(kind, std::slice::from_ref(object), include, version_of(object))),
            Form::MetadataList => {
                let message = "you requested PartialObjectMetadataList, but the requested object is not a list";
                Err(Status::new(406, "NotAcceptable", message))
            }
        }
    }

    /// A page of a list.
    pub(super) fn list(self, kind: &'static Kind, objects: &[Arc<Value>], page: &Page) -> Result<Value, Status> {
        let (kind_name, api_version, items) = match self.form {
            Form::Object => {
                let items = objects.iter().map(|object| item(object)).collect();
                (format!("{}List", kind.kind), kind.api_version(), items)
            }
            Form::MetadataList => {
                let items = objects.iter().map(|object| metadata(object)).collect();
                ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned(), items)
            }
            Form::Table(include) => {
                let mut table = table(kind, objects, include, page.version);
                table["metadata"] = page.metadata();
                return Ok(table);
            }
            Form::Metadata => {
                let message = format!(
                    "you requested PartialObjectMetadata, but the requested object is a list (*{}.{}List)",
                    if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() },
                    kind.kind
                );
                return Err(Status::new(406, "NotAcceptable", message));
            }
        };
        let items: Vec<Value> = items;
        Ok(json!({"kind": kind_name, "apiVersion": api_version, "metadata": page.metadata(), "items": items}))
    }
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
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

fn metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn prettify(encoding: Encoding, headers: &HeaderMap, query: &Query) -> Encoding {
    let person = || {
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
    };
    match encoding {
        Encoding::Json if query.flag_given("pretty").unwrap_or_else(person) => Encoding::Pretty,
        other => other,
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
        Self { media_type, parameters, quality: quality.unwrap_or(1.0) }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.media_type {
            "application/json" | "application/*" | "*/*" => Some(Encoding::Json),
            "application/yaml" => Some(Encoding::Yaml),
            _ => None,
        }
    }

    /// `None` for a form that is not known.
    fn form(&self, query: &Query) -> Result<Option<Form>, Status> {
        let Some(wanted) = self.parameter("as") else {
            return Ok(Some(Form::Object));
        };
        if self.parameter("g") != Some("meta.k8s.io") || self.parameter("v") != Some("v1") {
            return Ok(None);
        }
        Ok(match wanted {
            "Table" => Some(Form::Table(included(query)?)),
            "PartialObjectMetadata" => Some(Form::Metadata),
            "PartialObjectMetadataList" => Some(Form::MetadataList),
            _ => None,
        })
    }
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
        let check = |accept: &str, expected: Result<(Form, Encoding), u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let view = View::negotiate(&headers, &Query::default());
            assert_eq!(view.map(|view| (view.form, view.encoding)).map_err(|status| status.code), expected, "{accept}");
        };
        let plain = Ok((Form::Object, Encoding::Json));
        check("application/json", plain);
        check("*/*", plain);
        check("application/vnd.kubernetes.protobuf,application/json", plain);
        check("text/html, application/json;q=0.5", plain);
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", plain);
        check("application/yaml", Ok((Form::Object, Encoding::Yaml)));
        check("application/json;q=0.1, application/yaml", Ok((Form::Object, Encoding::Yaml)));
        let table = Form::Table(Include::Metadata);
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok((table, Encoding::Json)));
        check("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Ok((Form::Metadata, Encoding::Json)));
        check("application/json;as=Foo;v=v1;g=meta.k8s.io", Err(406));
        check("text/html", Err(406));
        check("application/vnd.kubernetes.protobuf", Err(406));
    }
}
