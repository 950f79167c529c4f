//! Deployments, ReplicaSets, StatefulSets and disruption budgets.

use serde_json::{Value, json};

use super::{Found, formats, pod};
use crate::kinds::Kind;
use crate::object;

/// Checks the spec of a workload.
pub(super) fn spec(kind: &Kind, spec: &Value, found: &mut Found) {
    let template = &spec["template"];
    selector(kind, spec, found);
    found.labels(&template["metadata"]["labels"], "spec.template.metadata.labels", true);
    pod::spec(&with_claims(spec), "spec.template.spec", found);
    let policy = &template["spec"]["restartPolicy"];
    if ["OnFailure", "Never"].iter().any(|other| policy == other) {
        found.unsupported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if kind.kind == "Deployment" {
        strategy(&spec["strategy"], found);
        deadline(spec, found);
    }
}

/// Checks the spec of a disruption budget.
pub(super) fn budget(spec: &Value, found: &mut Found) {
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        // Go's names, in Go's order.
        found.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
}

/// The template's pod with the volumes that claims of a StatefulSet become.
fn with_claims(spec: &Value) -> Value {
    let mut pod = spec["template"]["spec"].clone();
    let mut volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
    for claim in spec["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        volumes.retain(|volume| volume["name"] != *name);
        volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    }
    if let (Some(pod), false) = (pod.as_object_mut(), volumes.is_empty()) {
        pod.insert("volumes".to_owned(), volumes.into());
    }
    pod
}

fn selector(kind: &Kind, spec: &Value, found: &mut Found) {
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    let is_blank = |part: &str| selector[part].is_null() || selector[part] == json!({}) || selector[part] == json!([]);
    if selector.is_object() && is_blank("matchLabels") && is_blank("matchExpressions") {
        let of = if kind.kind == "StatefulSet" { "statefulset" } else { "deployment" };
        found.invalid("spec.selector", "{}", &format!("empty selector is invalid for {of}"));
    } else if !object::selects(selector, labels) {
        let labels = if labels.is_null() { &json!({}) } else { labels };
        found.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`");
    }
}

fn strategy(strategy: &Value, found: &mut Found) {
    let path = "spec.strategy.rollingUpdate";
    let rolling = &strategy["rollingUpdate"];
    let is_zero = |value: &Value| *value == 0 || formats::percentage(value) == Some(0);
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        found.forbidden(path, "may not be specified when strategy `type` is 'Recreate'");
    }
    if strategy["type"] == "RollingUpdate" && is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        let why = "may not be 0 when `maxSurge` is 0";
        found.invalid(&format!("{path}.maxUnavailable"), &rolling["maxUnavailable"], why);
    }
}

fn deadline(spec: &Value, found: &mut Found) {
    let ready = spec["minReadySeconds"].as_i64().unwrap_or_default();
    let deadline = &spec["progressDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|seconds| seconds <= ready) {
        found.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
    }
}
