//! A pod's `status`, as the kubelet writes it.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::state::{Container, Ended, Outcome, PodState};
use crate::object::format_timestamp;

/// What a status is made of beside the state.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) node_address: Ipv4Addr,
    pub(super) started_at: Timestamp,
    pub(super) image_id: &'a str,
    pub(super) user: Option<(u32, u32)>,
    pub(super) now: Timestamp,
}

/// The status of the pod; times of conditions that did not change are kept.
#[must_use]
pub(super) fn render(pod: &Value, state: &PodState, facts: &Facts<'_>) -> Value {
    let mut status = pod["status"].as_object().cloned().unwrap_or_default();
    let generation = &pod["metadata"]["generation"];
    status.insert("observedGeneration".to_owned(), generation.clone());
    status.insert("phase".to_owned(), phase(state).into());
    status.insert("conditions".to_owned(), conditions(pod, state, facts));
    status.insert("hostIP".to_owned(), facts.node_address.to_string().into());
    status.insert("hostIPs".to_owned(), json!([{"ip": facts.node_address.to_string()}]));
    // The address is not told before something stands or falls with it.
    if let Some(address) = state.address.filter(|_| state.container != Container::Creating) {
        status.insert("podIP".to_owned(), address.to_string().into());
        status.insert("podIPs".to_owned(), json!([{"ip": address.to_string()}]));
    }
    status.insert("startTime".to_owned(), format_timestamp(facts.started_at).into());
    status.insert("containerStatuses".to_owned(), json!([container_status(pod, state, facts)]));
    Value::Object(status)
}

/// A pod is over when its sandbox is; until then it counts as running.
fn phase(state: &PodState) -> &'static str {
    let ran = state.attempts > 0;
    match state.outcome().filter(|_| state.torn_down) {
        Some(Outcome::Succeeded) => "Succeeded",
        Some(Outcome::Failed) => "Failed",
        None if ran => "Running",
        None => "Pending",
    }
}

fn conditions(pod: &Value, state: &PodState, facts: &Facts<'_>) -> Value {
    let known = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = matches!(state.container, Container::Running { ready: true, .. });
    let unready = match state.outcome() {
        Some(Outcome::Succeeded) => ("PodCompleted", String::new()),
        Some(Outcome::Failed) => ("PodFailed", String::new()),
        None => ("ContainersNotReady", format!("containers with unready status: [{}]", container_name(pod))),
    };
    let because = |good: bool| if good { ("", String::new()) } else { unready.clone() };
    let initialized = if state.outcome() == Some(Outcome::Succeeded) { "PodCompleted" } else { "" };
    let rows = [
        ("PodReadyToStartContainers", state.set_up && !state.torn_down, ("", String::new())),
        ("Initialized", true, (initialized, String::new())),
        ("Ready", ready, because(ready)),
        ("ContainersReady", ready, because(ready)),
        ("PodScheduled", true, ("", String::new())),
    ];
    let one = |(kind, good, (reason, message)): (&str, bool, (&str, String))| {
        let text = if good { "True" } else { "False" };
        let before = known.iter().find(|condition| condition["type"] == kind && condition["status"] == text);
        let since = before.and_then(|condition| condition["lastTransitionTime"].as_str());
        let mut condition = json!({
            "type": kind, "observedGeneration": pod["metadata"]["generation"], "status": text, "lastProbeTime": null,
            "lastTransitionTime": since.map_or_else(|| format_timestamp(facts.now), str::to_owned),
        });
        if !reason.is_empty() {
            condition["reason"] = reason.into();
        }
        if !message.is_empty() {
            condition["message"] = message.into();
        }
        condition
    };
    let mut conditions: Vec<Value> = rows.into_iter().map(one).collect();
    // Readiness gates and the like belong to others.
    let ours: Vec<&str> = rows_of(&conditions);
    let others: Vec<Value> = known
        .iter()
        .filter(|condition| !ours.contains(&condition["type"].as_str().unwrap_or_default()))
        .cloned()
        .collect();
    conditions.extend(others);
    Value::Array(conditions)
}

fn rows_of(conditions: &[Value]) -> Vec<&str> {
    conditions.iter().filter_map(|condition| condition["type"].as_str()).collect()
}

fn container_name(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default()
}

fn container_status(pod: &Value, state: &PodState, facts: &Facts<'_>) -> Value {
    let container = &pod["spec"]["containers"][0];
    let (ready, started, id) = match &state.container {
        Container::Running { ready, started, id, .. } => (*ready, *started, Some(id)),
        Container::Ended(ended) => (false, false, Some(&ended.id)),
        _ => (false, false, state.last.as_ref().map(|last| &last.id)),
    };
    let mut status = Map::new();
    let mut set = |key: &str, value: Value| drop(status.insert(key.to_owned(), value));
    set("name", container["name"].clone());
    set("state", container_state(&state.container));
    set("lastState", state.last.as_ref().map_or_else(|| json!({}), |last| json!({"terminated": terminated(last)})));
    set("ready", ready.into());
    set("restartCount", state.restarts().into());
    set("image", container["image"].clone());
    set("imageID", facts.image_id.into());
    set("started", started.into());
    if let Some(id) = id {
        set("containerID", id.as_str().into());
        set("resources", container["resources"].clone());
        if let Some((user, group)) = facts.user {
            set("user", json!({"linux": {"uid": user, "gid": group, "supplementalGroups": [group]}}));
        }
    }
    if let Some(mounts) = container["volumeMounts"].as_array().filter(|mounts| !mounts.is_empty()) {
        set("volumeMounts", mounts.iter().map(mount_status).collect());
    }
    Value::Object(status)
}

fn container_state(container: &Container) -> Value {
    match container {
        Container::Creating => json!({"waiting": {"reason": "ContainerCreating"}}),
        Container::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Container::Running { started_at, .. } => json!({"running": {"startedAt": format_timestamp(*started_at)}}),
        Container::Ended(ended) => json!({"terminated": terminated(ended)}),
    }
}

fn terminated(ended: &Ended) -> Value {
    let mut value = json!({
        "exitCode": ended.code, "reason": ended.reason, "startedAt": format_timestamp(ended.started_at),
        "finishedAt": format_timestamp(ended.finished_at), "containerID": ended.id,
    });
    if !ended.message.is_empty() {
        value["message"] = ended.message.as_str().into();
    }
    value
}

fn mount_status(mount: &Value) -> Value {
    let mut status = json!({"name": mount["name"], "mountPath": mount["mountPath"]});
    if mount["readOnly"] == true {
        status["readOnly"] = true.into();
        status["recursiveReadOnly"] = "Disabled".into();
    }
    status
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
