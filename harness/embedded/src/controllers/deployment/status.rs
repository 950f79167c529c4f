//! The status of a Deployment: counts, and the conditions `Available`, `Progressing`, `ReplicaFailure`. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::rollout::Limits;
use crate::controllers::facts;
use crate::object;

/// `progressDeadlineSeconds` that means none.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// A condition about to be set.
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// `Progressing` with this status, reason and message.
pub(crate) fn progressing(status: &'static str, reason: &'static str, message: impl Into<String>) -> Condition {
    Condition { kind: "Progressing", status, reason, message: message.into() }
}

/// The deadline for progress, in seconds.
pub(crate) fn deadline_seconds(deployment: &Value) -> Option<i64> {
    deployment["spec"]["progressDeadlineSeconds"].as_i64().filter(|seconds| *seconds != NO_DEADLINE)
}

/// The reason of the `Progressing` condition.
pub(crate) fn progress_reason(deployment: &Value) -> Option<&str> {
    facts::condition(deployment, "Progressing")?["reason"].as_str()
}

/// Sets a condition. With status and reason as before nothing changes; with the same status
/// the time of transition stays. A set condition moves to the end.
pub(crate) fn set_condition(status: &mut Value, condition: Condition, now: Timestamp) {
    let wrapped = json!({"status": status});
    let before = facts::condition(&wrapped, condition.kind);
    if before.is_some_and(|before| before["status"] == condition.status && before["reason"] == condition.reason) {
        return;
    }
    let now = Value::from(object::format_timestamp(now));
    let since = before.filter(|before| before["status"] == condition.status);
    let since = since.map_or_else(|| now.clone(), |before| before["lastTransitionTime"].clone());
    push_condition(
        status,
        json!({
            "type": condition.kind, "status": condition.status, "lastUpdateTime": now, "lastTransitionTime": since,
            "reason": condition.reason, "message": condition.message,
        }),
    );
}

fn push_condition(status: &mut Value, condition: Value) {
    remove_condition(status, condition["type"].as_str().unwrap_or_default());
    match status["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => status["conditions"] = json!([condition]),
    }
}

fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != kind);
    }
}

/// Counts over ReplicaSets, and whether enough is available.
pub(crate) fn counted(deployment: &Value, new: Option<&Arc<Value>>, old: &[Arc<Value>], now: Timestamp) -> Value {
    let all = || old.iter().chain(new);
    let sum = |field: &str| all().map(|set| facts::int(&set["status"][field])).sum::<i64>();
    let (available, wanted) = (sum("availableReplicas"), all().map(|set| facts::replicas(set)).sum::<i64>());
    let counts = [
        ("observedGeneration", facts::int(&deployment["metadata"]["generation"])),
        ("replicas", sum("replicas")),
        ("updatedReplicas", new.map_or(0, |set| facts::int(&set["status"]["replicas"]))),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
    ];
    let mut status = Value::Object(facts::counts(1, &counts));
    // A ReplicaSet that was never looked at does not know yet how many are ending.
    if all().all(|set| set["status"]["terminatingReplicas"].is_i64()) {
        status["terminatingReplicas"] = sum("terminatingReplicas").into();
    }
    for kept in ["collisionCount", "conditions"] {
        if let Some(value) = deployment["status"].get(kept) {
            status[kept] = value.clone();
        }
    }
    let enough = available >= Limits::of(deployment).fewest_available();
    let (status_word, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let available = Condition { kind: "Available", status: status_word, reason, message: message.to_owned() };
    set_condition(&mut status, available, now);
    status
}

/// Counts and conditions in a rollout: complete, getting on, or out of time.
pub(crate) fn rolled_out(deployment: &Value, new: Option<&Arc<Value>>, old: &[Arc<Value>], now: Timestamp) -> Value {
    let mut status = counted(deployment, new, old, now);
    if let Some(deadline) = deadline_seconds(deployment) {
        note_progress(deployment, new, &mut status, deadline, now);
    } else {
        remove_condition(&mut status, "Progressing");
    }
    match replica_failure(new, old) {
        Some(failure) => push_failure(&mut status, failure),
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    status
}

fn note_progress(deployment: &Value, new: Option<&Arc<Value>>, status: &mut Value, deadline: i64, now: Timestamp) {
    let settled = facts::int(&status["replicas"]) == facts::int(&status["updatedReplicas"])
        && progress_reason(deployment) == Some("NewReplicaSetAvailable");
    if settled {
        return;
    }
    let subject = new.map_or_else(
        || format!("Deployment \"{}\"", object::name(deployment)),
        |new| format!("ReplicaSet \"{}\"", object::name(new)),
    );
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(status, progressing("True", "NewReplicaSetAvailable", message), now);
    } else if is_getting_on(&deployment["status"], status) {
        // The same reason again moves the time of the last update: that is what the deadline counts from.
        let before = facts::condition(deployment, "Progressing").filter(|before| before["status"] == "True");
        let time = Value::from(object::format_timestamp(now));
        let since = before.map_or_else(|| time.clone(), |before| before["lastTransitionTime"].clone());
        push_condition(
            status,
            json!({
                "type": "Progressing", "status": "True", "lastUpdateTime": time, "lastTransitionTime": since,
                "reason": "ReplicaSetUpdated", "message": format!("{subject} is progressing."),
            }),
        );
    } else if progress_due(deployment, deadline).is_some_and(|due| now > due) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(status, progressing("False", "ProgressDeadlineExceeded", message), now);
    }
}

/// Whether everything wanted is new and available, and nothing else is left.
pub(crate) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let desired = facts::replicas(deployment);
    ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|field| facts::int(&status[field]) == desired)
        && facts::int(&status["observedGeneration"]) >= facts::int(&deployment["metadata"]["generation"])
}

fn is_getting_on(before: &Value, after: &Value) -> bool {
    let grows = |field: &str| facts::int(&after[field]) > facts::int(&before[field]);
    let old = |status: &Value| facts::int(&status["replicas"]) - facts::int(&status["updatedReplicas"]);
    grows("updatedReplicas") || old(after) < old(before) || grows("readyReplicas") || grows("availableReplicas")
}

/// When the deadline for progress passes; `None` where nothing is awaited.
pub(crate) fn progress_due(deployment: &Value, deadline: i64) -> Option<Timestamp> {
    let condition = facts::condition(deployment, "Progressing")?;
    let over = matches!(condition["reason"].as_str(), Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded"));
    if over {
        return None;
    }
    facts::time(&condition["lastUpdateTime"]).map(|last| facts::seconds_after(last, deadline))
}

fn replica_failure<'a>(new: Option<&'a Arc<Value>>, old: &'a [Arc<Value>]) -> Option<&'a Value> {
    new.into_iter().chain(old).find_map(|set| facts::condition(set, "ReplicaFailure"))
}

fn push_failure(status: &mut Value, failure: &Value) {
    let wrapped = json!({"status": status});
    let before = facts::condition(&wrapped, "ReplicaFailure");
    if before.is_some_and(|before| before["reason"] == failure["reason"] && before["status"] == failure["status"]) {
        return;
    }
    let mut condition = failure.clone();
    condition["lastUpdateTime"] = failure["lastTransitionTime"].clone();
    push_condition(status, condition);
}
