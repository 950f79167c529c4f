//! The OpenAPI v3 document. kubectl looks in it for the query parameters of a kind's PATCH
//! (`fieldValidation`, `dryRun`) before it leaves validation to the server, and for nothing else
//! that the commands used here need.

use serde_json::{Map, Value, json};

use crate::kinds::{self, Kind};

/// The document of one group version.
pub fn document(group: &str, version: &str) -> Value {
    let served = kinds::ALL.iter().filter(|kind| kind.group == group && kind.version == version);
    let paths: Map<String, Value> = served.map(|kind| (path(kind), item(kind))).collect();
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1.36"}, "paths": paths})
}

fn path(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "api".to_owned() } else { format!("apis/{}", kind.group) };
    let namespace = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    format!("/{root}/{}/{namespace}{}/{{name}}", kind.version, kind.plural)
}

fn item(kind: &Kind) -> Value {
    let names = ["dryRun", "fieldManager", "fieldValidation", "force"];
    let parameters: Vec<Value> = names
        .iter()
        .map(|name| {
            let kind = if *name == "force" { "boolean" } else { "string" };
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    json!({"patch": {
        "description": format!("partially update the specified {}", kind.kind),
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}, "201": {"description": "Created"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }})
}
