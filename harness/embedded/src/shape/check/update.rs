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
            found.invalid("spec.selector", &new["selector"], IMMUTABLE);
        }
        "StatefulSet" if differ(old, new, &STATEFUL_SET_MAY) => found.forbidden("spec", STATEFUL_SET),
        "Pod" if differ(&settled(old, new), new, &["tolerations"]) => {
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
    let new: Vec<String> = finalizers(after).iter().filter(|one| !old.contains(one)).map(ToString::to_string).collect();
    if before["deletionTimestamp"].is_string() && !new.is_empty() {
        let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
        found.forbidden("metadata.finalizers", &format!("{why} []string{{{}}}", new.join(", ")));
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

/// A pod's spec with the images of another one.
fn settled(spec: &Value, new: &Value) -> Value {
    let mut spec = spec.clone();
    for (index, container) in spec["containers"].as_array_mut().into_iter().flatten().enumerate() {
        if new["containers"][index]["name"] == container["name"] {
            container["image"] = new["containers"][index]["image"].clone();
        }
    }
    spec
}
