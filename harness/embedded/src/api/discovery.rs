//! What is served: versions, groups and resources. Aggregated discovery is not served; clients then ask for each group.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kinds::{self, Kind};
use crate::shape;

/// Verbs of a stored kind.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `GET /version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2+gameday", "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean", "buildDate": "2026-11-23T00:00:00Z",
        "goVersion": "rust", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// `GET /api`.
pub(super) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `GET /apis`.
pub(super) fn groups() -> Value {
    let groups: Vec<Value> = group_names().iter().map(|name| group_fields(name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/GROUP`, if it is served.
pub(super) fn group(name: &str) -> Option<Value> {
    group_names().contains(&name).then(|| {
        let mut group = group_fields(name);
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        group
    })
}

/// `GET /api/v1` or `GET /apis/GROUP/VERSION`, if it is served.
pub(super) fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds = of_version(group, version);
    let mut resources: Vec<Value> = kinds.iter().flat_map(|kind| plain(kind)).collect();
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources});
    (!resources.is_empty()).then_some(list)
}

/// `GET /openapi/v3`: where the documents are; the hash changes with their content.
pub(super) fn openapi_index() -> Value {
    let mut paths = serde_json::Map::new();
    for (group, version) in stored_versions() {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let document = shape::openapi_v3(group, version);
        let hash = hash(document.to_string().as_bytes());
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `GET /openapi/v3/…`, if it is served.
pub(super) fn openapi_document(path: &str) -> Option<Value> {
    let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let known = stored_versions().into_iter().any(|one| one == (group, version));
    known.then(|| shape::openapi_v3(group, version))
}

/// `GET /openapi/v2`: only that there is nothing in it.
pub(super) fn openapi_v2() -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "1.36"}, "paths": {}, "definitions": {}})
}

/// The resource and its subresources, as unaggregated discovery lists them.
fn plain(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.into();
    }
    if kind.in_all {
        resource["categories"] = json!(["all"]);
    }
    let subresources = kind.subresources.iter().map(|name| {
        let (group, version, answers, verbs) = subresource(kind, name);
        let mut entry = json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": answers, "verbs": verbs,
        });
        if !group.is_empty() {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entry
    });
    std::iter::once(resource).chain(subresources).collect()
}

fn verbs(kind: &Kind) -> Vec<&'static str> {
    let all = VERBS.iter().copied();
    all.filter(|verb| *verb != "deletecollection" || *kind != kinds::NAMESPACE).collect()
}

/// Group, version and kind of what a subresource answers, and its verbs.
fn subresource(kind: &Kind, name: &str) -> (&'static str, &'static str, String, &'static [&'static str]) {
    let options = |what: &str| format!("{}{what}Options", kind.kind);
    match name {
        "scale" => ("autoscaling", "v1", "Scale".to_owned(), &["get", "patch", "update"]),
        "eviction" => ("policy", "v1", "Eviction".to_owned(), &["create"]),
        "log" => ("", "", kind.kind.to_owned(), &["get"]),
        "exec" => ("", "", options("Exec"), &["create", "get"]),
        "portforward" => ("", "", options("PortForward"), &["create", "get"]),
        "proxy" => ("", "", options("Proxy"), &["create", "delete", "get", "patch", "update"]),
        "finalize" => ("", "", kind.kind.to_owned(), &["update"]),
        _ => ("", "", kind.kind.to_owned(), &["get", "patch", "update"]),
    }
}

fn of_version(group: &str, version: &str) -> Vec<&'static Kind> {
    let mut kinds: Vec<_> =
        kinds::ALL.iter().copied().filter(|kind| (kind.group, kind.version) == (group, version)).collect();
    kinds.sort_by_key(|kind| kind.plural);
    kinds
}

fn stored_versions() -> Vec<(&'static str, &'static str)> {
    let mut versions: Vec<_> = kinds::ALL.iter().map(|kind| (kind.group, kind.version)).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

/// The named groups, those with workloads first, as Kubernetes ranks them.
fn group_names() -> Vec<&'static str> {
    let mut names: Vec<_> = kinds::ALL.iter().map(|kind| kind.group).filter(|name| !name.is_empty()).collect();
    names.sort_by_key(|name| (*name != "apps", *name));
    names.dedup();
    names
}

fn group_fields(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
