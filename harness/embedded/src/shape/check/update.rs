//! What an update may not change.

use serde_json::{Value, json};

use super::Found;
use crate::kinds::Kind;
use crate::status::Cause;

const STATEFUL_SET: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
    forbidden";
const POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
    bound claims";
const IMMUTABLE: &str = "field is immutable";

/// Everything in `after` that may not differ from `before`.
pub(in crate::shape) fn check(kind: &'static Kind, before: &Value, after: &Value) -> Vec<Cause> {
    let mut found = Found::default();
    metadata(&before["metadata"], &after["metadata"], &mut found);
    let (old, new) = (&before["spec"], &after["spec"]);
    match kind.kind {
        "Deployment" | "ReplicaSet" if old["selector"] != new["selector"] => {
            found.invalid("spec.selector", shown(&new["selector"]), IMMUTABLE);
        }
        "StatefulSet" if differ(old, new, &STATEFUL_SET_MAY) => found.forbidden("spec", STATEFUL_SET),
        "Pod" if differ(&settled(old, new), &settled(new, new), &["activeDeadlineSeconds"]) => {
            found.forbidden("spec", POD);
        }
        "PersistentVolumeClaim" if differ(old, new, &["resources", "volumeAttributesClassName", "volumeName"]) => {
            found.forbidden("spec", CLAIM);
        }
        "Service" => {
            let (was, is) = (old["clusterIP"].as_str().unwrap_or_default(), &new["clusterIP"]);
            if !was.is_empty() && is != was {
                found.invalid("spec.clusterIPs[0]", json!([is]), "may not change once set");
            }
        }
        "EndpointSlice" if before["addressType"] != after["addressType"] => {
            found.invalid("addressType", &after["addressType"], IMMUTABLE);
        }
        "ConfigMap" => sealed(before, after, &["immutable", "data", "binaryData"], &mut found),
        "Secret" => {
            if before["type"] != after["type"] {
                found.invalid("type", &after["type"], IMMUTABLE);
            }
            sealed(before, after, &["immutable", "data"], &mut found);
        }
        _ => {}
    }
    found.causes
}

const STATEFUL_SET_MAY: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn metadata(before: &Value, after: &Value, found: &mut Found) {
    for name in ["name", "namespace", "uid"] {
        if !before[name].is_null() && before[name] != after[name] {
            found.invalid(&format!("metadata.{name}"), &after[name], IMMUTABLE);
        }
    }
    let finalizers = |metadata: &Value| metadata["finalizers"].as_array().cloned().unwrap_or_default();
    let old = finalizers(before);
    let added: Vec<String> =
        finalizers(after).iter().filter(|one| !old.contains(one)).map(ToString::to_string).collect();
    if before["deletionTimestamp"].is_string() && !added.is_empty() {
        let listed = added.join(", ");
        let why = "no new finalizers can be added if the object is being deleted, found new finalizers []string";
        found.forbidden("metadata.finalizers", &format!("{why}{{{listed}}}"));
    }
}

/// An object marked immutable stays so, with what it holds.
fn sealed(before: &Value, after: &Value, names: &[&str], found: &mut Found) {
    if before["immutable"] != true {
        return;
    }
    for name in names.iter().filter(|name| before[**name] != after[**name]) {
        found.forbidden(name, "field is immutable when `immutable` is set");
    }
}

fn differ(old: &Value, new: &Value, may: &[&str]) -> bool {
    let fixed = |spec: &Value| {
        let mut members = spec.as_object().cloned().unwrap_or_default();
        members.retain(|name, value| !may.contains(&name.as_str()) && !value.is_null());
        members
    };
    fixed(old) != fixed(new)
}

/// A pod's spec with everything that may change set as in `new`.
fn settled(spec: &Value, new: &Value) -> Value {
    let mut spec = spec.clone();
    let count = |spec: &Value| spec["containers"].as_array().map_or(0, Vec::len);
    if count(&spec) == count(new) {
        for (index, container) in spec["containers"].as_array_mut().into_iter().flatten().enumerate() {
            if new["containers"][index]["name"] == container["name"] {
                container["image"] = new["containers"][index]["image"].clone();
            }
        }
    }
    let tolerations = |spec: &Value| spec["tolerations"].as_array().cloned().unwrap_or_default();
    let kept = tolerations(new);
    if tolerations(&spec).iter().all(|old| kept.contains(old)) {
        spec["tolerations"] = new["tolerations"].clone();
    }
    let was_negative = spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0);
    if was_negative && new["terminationGracePeriodSeconds"] == 1 {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    spec
}

/// An empty selector as Go writes it.
fn shown(selector: &Value) -> Value {
    match selector {
        Value::Object(map) if map.values().all(|part| *part == json!({})) => json!({}),
        _ => selector.clone(),
    }
}
