//! What the API server fills in: defaults of the table and those that depend on other
//! fields, what a new object gets beside them, and what an update carries over.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::decode;
use super::fields::{self, Type};
use super::quantity::Quantity;
use crate::kinds::{self, Kind};

/// Fills in what the API server fills in on create and update, drops unknown fields, nulls
/// and zero values, and writes quantities in canonical form. An object with a value of a wrong
/// type stays as it is: the check that follows names the value. Filling in twice changes nothing.
pub fn fill(kind: &'static Kind, object: &mut Value) {
    if !object.is_object() || decode::type_error(kind, object).is_some() {
        return;
    }
    decode::normalize(kind, object);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    let root = fields::of_kind(kind);
    from_table(root, object);
    dependent(kind, object);
    // Objects that the second step made have defaults of their own.
    from_table(root, object);
}

/// The status of a new object, `None` for kinds without one.
pub fn initial_status(kind: &'static Kind, object: &Value) -> Option<Value> {
    let mut status = decode::zero_object(kind).get("status")?.clone();
    match kind.kind {
        "Pod" => {
            status["phase"] = "Pending".into();
            status["qosClass"] = qos_class(&object["spec"]).into();
        }
        "PersistentVolumeClaim" => status["phase"] = "Pending".into(),
        "Namespace" => status["phase"] = "Active".into(),
        // A node reports its own status in the very request that adds it.
        "Node" => return Some(object["status"].clone()),
        _ => {}
    }
    Some(status)
}

/// Adds what a new object gets beside its defaults and what nobody owns as a field manager:
/// initial status, a pod's tolerations and priority, a namespace's finalizer, IP families.
pub fn prepare(kind: &'static Kind, object: &mut Value) {
    if let Some(status) = initial_status(kind, object) {
        object["status"] = status;
    }
    match kind.kind {
        "Pod" => prepare_pod(&mut object["spec"]),
        "Service" => {
            fill_absent(&mut object["spec"], "ipFamilies", || json!(["IPv4"]));
            fill_absent(&mut object["spec"], "ipFamilyPolicy", || json!("SingleStack"));
        }
        "Namespace" => fill_absent(&mut object["spec"], "finalizers", || json!(["kubernetes"])),
        _ => {}
    }
}

/// Brings back what an update may leave out: identity, times, cluster IPs, node ports.
/// Status and generation are the caller's.
pub fn carry_over(kind: &'static Kind, before: &Value, after: &mut Value) {
    let kept = ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for name in ["selfLink", "namespace", "resourceVersion"].iter().chain(&kept) {
        if let Some(value) = before["metadata"].get(name).filter(|value| !value.is_null()) {
            fill_absent(&mut after["metadata"], name, || value.clone());
        }
    }
    // The server alone writes these, whatever an update says.
    for name in kept.iter().skip(1) {
        match before["metadata"].get(name) {
            Some(value) => after["metadata"][*name] = value.clone(),
            None => drop_member(&mut after["metadata"], name),
        }
    }
    if *kind != kinds::SERVICE {
        return;
    }
    for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(value) = before["spec"].get(name) {
            fill_absent(&mut after["spec"], name, || value.clone());
        }
    }
    if after["spec"]["type"] == "NodePort" {
        carry_node_ports(&before["spec"]["ports"], after["spec"].get_mut("ports"));
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    let amount = |container: &Value, of: &str, resource: &str| {
        container["resources"][of][resource].as_str().and_then(Quantity::parse).filter(|q| q.units() > 0)
    };
    let containers: Vec<&Value> = spec["containers"].as_array().into_iter().flatten().collect();
    let resources = ["cpu", "memory"];
    let any = containers.iter().any(|one| {
        resources.iter().any(|name| amount(one, "limits", name).or(amount(one, "requests", name)).is_some())
    });
    let all = containers.iter().all(|one| {
        resources.iter().all(|name| {
            let limit = amount(one, "limits", name);
            limit.is_some() && amount(one, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    });
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn from_table(kind: &'static Type, object: &mut Value) {
    let Some(members) = object.as_object_mut() else { return };
    for field in &kind.fields {
        if let Some(default) = &field.default {
            members.entry(field.name).or_insert_with(|| default.clone());
        }
        if let Some(value) = members.get_mut(field.name) {
            decode::each_object(&field.shape, value, from_table);
        }
    }
}

fn dependent(kind: &'static Kind, object: &mut Value) {
    match kind.kind {
        "Pod" => {
            pod_spec(&mut object["spec"]);
            fill_absent(&mut object["spec"], "enableServiceLinks", || json!(true));
            for container in items(object["spec"].get_mut("containers")) {
                requests_from_limits(&mut container["resources"]);
            }
        }
        "Deployment" => {
            rolling_update(&mut object["spec"]["strategy"]);
            pod_spec(&mut object["spec"]["template"]["spec"]);
        }
        "ReplicaSet" => pod_spec(&mut object["spec"]["template"]["spec"]),
        "StatefulSet" => {
            rolling_update(&mut object["spec"]["updateStrategy"]);
            pod_spec(&mut object["spec"]["template"]["spec"]);
            for claim in items(object["spec"].get_mut("volumeClaimTemplates")) {
                fill(&kinds::CLAIM, claim);
                fill_absent(&mut claim["status"], "phase", || json!("Pending"));
            }
        }
        "Service" => service(&mut object["spec"]),
        "Namespace" => {
            if let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) {
                fill_absent(&mut object["metadata"], "labels", || json!({}));
                fill_absent(&mut object["metadata"]["labels"], "kubernetes.io/metadata.name", || json!(name));
            }
        }
        "Secret" => secret(object),
        _ => {}
    }
}

fn pod_spec(spec: &mut Value) {
    // The older name of the field is kept in step with the newer one.
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        if let Some(name) = spec.get(from).cloned() {
            fill_absent(spec, to, || name);
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    for container in items(spec.get_mut("containers")) {
        let policy = pull_policy(container["image"].as_str().unwrap_or_default());
        fill_absent(container, "imagePullPolicy", || json!(policy));
    }
}

/// `Always` for the tag `latest`, which is also the tag of an image that names none.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let is_latest = !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if is_latest && !image.contains(char::is_whitespace) { "Always" } else { "IfNotPresent" }
}

fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources["limits"].as_object().filter(|limits| !limits.is_empty()).cloned() else { return };
    fill_absent(resources, "requests", || json!({}));
    for (name, limit) in limits {
        fill_absent(&mut resources["requests"], &name, || limit);
    }
}

fn rolling_update(strategy: &mut Value) {
    if strategy["type"] == "RollingUpdate" {
        fill_absent(strategy, "rollingUpdate", || json!({}));
    }
}

fn service(spec: &mut Value) {
    if spec["type"] == "NodePort" {
        fill_absent(spec, "externalTrafficPolicy", || json!("Cluster"));
    }
    for port in items(spec.get_mut("ports")) {
        if port["targetPort"] == "" || port["targetPort"] == 0 {
            drop_member(port, "targetPort");
        }
        let number = port["port"].clone();
        fill_absent(port, "targetPort", || number);
    }
}

fn secret(object: &mut Value) {
    let Some(Value::Object(plain)) = object.get("stringData").cloned() else { return };
    if !plain.values().all(Value::is_string) {
        return;
    }
    drop_member(object, "stringData");
    fill_absent(object, "data", || json!({}));
    for (key, text) in plain {
        let bytes = ByteString(text.as_str().unwrap_or_default().as_bytes().to_vec());
        object["data"][key] = serde_json::to_value(bytes).expect("bytes become base64");
    }
}

fn prepare_pod(spec: &mut Value) {
    for name in ["serviceAccountName", "serviceAccount"] {
        fill_absent(spec, name, || json!("default"));
    }
    fill_absent(spec, "priority", || json!(0));
    fill_absent(spec, "preemptionPolicy", || json!("PreemptLowerPriority"));
    fill_absent(spec, "tolerations", || json!([]));
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let Some(tolerations) = spec["tolerations"].as_array_mut() else { return };
        if tolerations.iter().all(|one| one["key"] != key) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn carry_node_ports(before: &Value, after: Option<&mut Value>) {
    for port in items(after) {
        let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
        let old = before.as_array().into_iter().flatten().find(same).and_then(|old| old.get("nodePort")).cloned();
        if let Some(number) = old {
            fill_absent(port, "nodePort", || number);
        }
    }
}

fn fill_absent(object: &mut Value, name: &str, value: impl FnOnce() -> Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(members) = object.as_object_mut()
        && members.get(name).is_none_or(Value::is_null)
    {
        members.insert(name.to_owned(), value());
    }
}

fn drop_member(object: &mut Value, name: &str) {
    if let Some(members) = object.as_object_mut() {
        members.remove(name);
    }
}

fn items(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter(|item| item.is_object())
}
