//! The objects that contracts make, as JSON.

use serde_json::{Value, json};

use crate::place::Place;

/// A process that does nothing and ends at once when it is told to.
pub(crate) const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
/// A web server on port 8080 that answers with the pod's name.
pub(crate) const WEB: &str = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www";

/// A container with a shell script.
pub(crate) fn container(place: &Place, script: &str) -> Value {
    json!({ "name": "main", "image": place.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script] })
}

/// A pod spec of one container, with a grace of one second.
pub(crate) fn pod_spec(container: Value) -> Value {
    json!({ "terminationGracePeriodSeconds": 1, "containers": [container] })
}

/// A pod.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec })
}

/// A pod of one container with a shell script.
pub(crate) fn script_pod(place: &Place, name: &str, script: &str) -> Value {
    pod(name, pod_spec(container(place, script)))
}

/// A Deployment of pods labelled `app=NAME`.
pub(crate) fn deployment(name: &str, replicas: u32, spec: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
}

/// A StatefulSet of pods labelled `app=NAME`.
pub(crate) fn stateful_set(name: &str, replicas: u32, spec: Value) -> Value {
    let mut object = deployment(name, replicas, spec);
    object["spec"]["serviceName"] = json!(name);
    object
}

/// A Service of pods labelled `app=NAME`, port 80 to 8080.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({ "metadata": { "name": name }, "data": data })
}

/// An object as server-side apply wants it.
pub(crate) fn applied(api_version: &str, kind: &str, mut object: Value) -> Value {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object
}

/// Adds a readiness check that asks for the file `/tmp/ready` once a second.
pub(crate) fn ready_by_file(mut container: Value) -> Value {
    container["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-f", "/tmp/ready"] }, "periodSeconds": 1, "failureThreshold": 1 });
    container
}
