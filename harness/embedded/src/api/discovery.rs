//! What is served: versions, groups and resources, plain and aggregated.

use http::HeaderMap;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::respond::{self, Answer, Encoding};
use crate::kinds::{self, Kind};
use crate::shape;

/// Verbs of a stored kind.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The media type of aggregated discovery, as kubectl asks for it.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Kinds that are answered and not stored: group, version, kind, plural.
const REVIEWS: &[(&str, &str, &str, &str)] = &[
    ("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews"),
    ("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
];

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
pub(super) fn core_versions(address: &str, headers: &HeaderMap) -> Answer {
    if wants_aggregated(headers) {
        return aggregated(&[""], headers);
    }
    let body = json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    });
    respond::object(200, Encoding::Json, &body)
}

/// `GET /apis`.
pub(super) fn groups(headers: &HeaderMap) -> Answer {
    let names = group_names();
    if wants_aggregated(headers) {
        return aggregated(&names, headers);
    }
    let groups: Vec<Value> = names.iter().map(|name| group_fields(name)).collect();
    respond::object(200, Encoding::Json, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
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
    let reviews = REVIEWS.iter().filter(|review| (review.0, review.1) == (group, version));
    let mut resources: Vec<Value> = kinds.iter().flat_map(|kind| plain(kind)).collect();
    resources.extend(reviews.map(|(_, _, kind, plural)| {
        json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind,
            "verbs": ["create"]})
    }));
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

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|range| {
        let has = |parameter: &str| range.split(';').any(|part| part.trim() == parameter);
        has("application/json") && has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    })
}

fn aggregated(groups: &[&str], headers: &HeaderMap) -> Answer {
    let items: Vec<Value> = groups.iter().map(|group| aggregated_group(group)).collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let text = Encoding::Json.write(&body);
    let tag = HeaderValue::from_str(&format!("\"{}\"", hash(&text))).expect("a hash is plain text");
    let mut answer = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        respond::no_content(304)
    } else {
        respond::with_body(200, AGGREGATED, respond::full(text))
    };
    let answered = answer.headers_mut();
    answered.insert(ETAG, tag);
    answered.insert(VARY, HeaderValue::from_static("Accept"));
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    answer
}

fn aggregated_group(group: &str) -> Value {
    let kinds = of_version(group, "v1");
    let mut resources: Vec<Value> = kinds.iter().map(|kind| aggregated_kind(kind)).collect();
    resources.extend(REVIEWS.iter().filter(|review| review.0 == group).map(|(_, _, kind, plural)| {
        json!({"resource": plural, "responseKind": response_kind("", "", kind), "scope": "Cluster",
            "singularResource": kind.to_lowercase(), "verbs": ["create"]})
    }));
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    json!({"metadata": metadata, "versions": [{"version": "v1", "resources": resources, "freshness": "Current"}]})
}

fn aggregated_kind(kind: &Kind) -> Value {
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response_kind("", "", kind.kind), "scope": scope,
        "singularResource": kind.kind.to_lowercase(), "verbs": verbs(kind),
    });
    annotate(&mut resource, kind);
    if !kind.subresources.is_empty() {
        let subresources = sorted(kind.subresources).into_iter().map(|name| {
            let (group, version, answers, verbs) = subresource(kind, name);
            json!({"subresource": name, "responseKind": response_kind(group, version, &answers), "verbs": verbs})
        });
        resource["subresources"] = subresources.collect();
    }
    resource
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// The resource and its subresources, as unaggregated discovery lists them.
fn plain(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": verbs(kind),
    });
    annotate(&mut resource, kind);
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

fn annotate(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.into();
    }
    if kind.in_all {
        resource["categories"] = json!(["all"]);
    }
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
    let stored = kinds::ALL.iter().map(|kind| kind.group);
    let mut names: Vec<_> =
        stored.chain(REVIEWS.iter().map(|review| review.0)).filter(|name| !name.is_empty()).collect();
    names.sort_by_key(|name| (*name != "apps", *name));
    names.dedup();
    names
}

fn group_fields(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn sorted(names: &[&'static str]) -> Vec<&'static str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
