//! A pod's row: the STATUS column is a story told by containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use super::rows::{or_none, text};

/// The cells of a pod.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let none = Vec::new();
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let containers = status["containerStatuses"].as_array().unwrap_or(&none);
    let is_up = |one: &&Value| one["ready"] == true && one["state"]["running"].is_object();
    let ready = containers.iter().filter(is_up).count();
    let wanted = spec["containers"].as_array().map_or(0, Vec::len);
    let gates = spec["readinessGates"].as_array().map_or(0, Vec::len);
    vec![
        json!(text(&pod["metadata"]["name"])),
        json!(format!("{ready}/{wanted}")),
        json!(reason(pod, containers, ready > 0)),
        json!(restarts(containers, now)),
        json!(since(&pod["metadata"]["creationTimestamp"], now)),
        json!(or_none(text(&status["podIP"]))),
        json!(or_none(text(&spec["nodeName"]))),
        json!(or_none(text(&status["nominatedNodeName"]))),
        json!(if gates == 0 { "<none>".to_owned() } else { format!("0/{gates}") }),
    ]
}

fn reason(pod: &Value, containers: &[Value], has_running: bool) -> String {
    let (phase, status) = (text(&pod["status"]["phase"]), &pod["status"]);
    let mut reason = if text(&status["reason"]).is_empty() { phase } else { text(&status["reason"]) }.to_owned();
    // The first container has the last word.
    if let Some(last_word) = containers.iter().filter_map(|one| state(&one["state"])).next() {
        reason = last_word;
    }
    if reason == "Completed" && has_running {
        let is_ready = crate::object::condition_is_true(pod, "Ready");
        reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
    }
    if crate::object::is_terminating(pod) {
        if text(&status["reason"]) == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !["Succeeded", "Failed"].contains(&phase) {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// What a container's state says about the pod; nothing when it runs.
fn state(state: &Value) -> Option<String> {
    let waiting = text(&state["waiting"]["reason"]);
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let ended = state.get("terminated").filter(|ended| ended.is_object())?;
    Some(match (text(&ended["reason"]), ended["signal"].as_i64().unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", ended["exitCode"].as_i64().unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

fn restarts(containers: &[Value], now: Timestamp) -> String {
    let count: i64 = containers.iter().filter_map(|one| one["restartCount"].as_i64()).sum();
    let ends = containers.iter().map(|one| &one["lastState"]["terminated"]["finishedAt"]);
    match ends.filter(|time| time.is_string()).max_by_key(|time| text(time)) {
        Some(last) if count != 0 => format!("{count} ({} ago)", since(last, now)),
        _ => count.to_string(),
    }
}
