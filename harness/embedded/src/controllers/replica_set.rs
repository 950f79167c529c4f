//! ReplicaSets: as many pods as wanted, and counts of how they are.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Note};
use super::{adopt, facts};
use crate::kinds::{POD, REPLICA_SET};
use crate::object::{self, Key};
use crate::store::Store;

const COMPONENT: &str = "replicaset-controller";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What a look at a ReplicaSet sees.
pub(crate) struct View {
    /// The ReplicaSet.
    pub(crate) set: Arc<Value>,
    /// Every pod of its namespace.
    pub(crate) pods: Vec<Arc<Value>>,
}

/// Reads the view; `None` where the ReplicaSet is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    Some(View { set: store.get(key)?, pods: store.list(&POD, Some(&key.namespace)).0 })
}

/// The next step of a ReplicaSet: adoption and release, else its status and the pods it has too few or too many.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    let set = &view.set;
    let unfinished: Vec<Arc<Value>> = view.pods.iter().filter(|pod| !facts::is_finished(pod)).cloned().collect();
    let family = adopt::family(&REPLICA_SET, set, &POD, &unfinished, |_| true);
    if !family.actions.is_empty() {
        return family.actions;
    }
    let (ending, active): (Vec<_>, Vec<_>) = family.children.into_iter().partition(|pod| object::is_terminating(pod));
    let missing = if object::is_terminating(set) { 0 } else { facts::replicas(set) - count(active.len()) };
    let mut actions = write_status(set, &active, ending.len(), missing <= 0, now);
    actions.extend((0..missing).map(|_| create_pod(set)));
    let surplus = usize::try_from(-missing).unwrap_or(0);
    actions.extend(in_order_of_deletion(active).iter().take(surplus).map(|pod| delete_pod(set, pod)));
    actions
}

/// Marks a ReplicaSet whose pod could not be made; the mark goes once it has enough pods.
pub(crate) fn creation_failed(store: &Store, key: &Key, why: &str, now: Timestamp) {
    // A ReplicaSet that is gone needs no mark.
    let _ = store.update(key, |set| {
        if facts::condition(set, "ReplicaFailure").is_none() {
            set["status"]["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "lastTransitionTime": object::format_timestamp(now),
                "reason": "FailedCreate", "message": why,
            }]);
        }
        Ok(())
    });
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn write_status(set: &Value, active: &[Arc<Value>], ending: usize, enough: bool, now: Timestamp) -> Vec<Action> {
    let min_ready = facts::int(&set["spec"]["minReadySeconds"]);
    let wanted_labels = &set["spec"]["template"]["metadata"]["labels"];
    let ready: Vec<_> = active.iter().filter_map(|pod| facts::available_at(pod, min_ready)).collect();
    let labeled = active.iter().filter(|pod| object::has_labels(wanted_labels, facts::labels(pod)));
    let mut status = Value::Object(facts::counts(
        3,
        &[
            ("replicas", count(active.len())),
            ("terminatingReplicas", count(ending)),
            ("observedGeneration", facts::int(&set["metadata"]["generation"])),
            ("fullyLabeledReplicas", count(labeled.count())),
            ("readyReplicas", count(ready.len())),
            ("availableReplicas", count(ready.iter().filter(|since| **since <= now).count())),
        ],
    ));
    if let Some(conditions) = set["status"].get("conditions").filter(|_| !enough) {
        status["conditions"] = conditions.clone();
    }
    let wake = ready.iter().filter(|since| **since > now).min().map(|since| Action::WakeAt(*since));
    let mut actions: Vec<Action> = wake.into_iter().collect();
    if status != set["status"] {
        let mut changed = set.clone();
        changed["status"] = status;
        actions.push(Action::Replace { kind: &REPLICA_SET, object: changed, done: None });
    }
    actions
}

fn create_pod(set: &Arc<Value>) -> Action {
    let note = |note: fn(_, _, &Arc<Value>, _, &'static str) -> Note, reason, message| {
        Some(note(COMPONENT, &REPLICA_SET, set, reason, message))
    };
    Action::Create {
        kind: &POD,
        object: pod_from(set),
        done: note(Note::normal, "SuccessfulCreate", "Created pod: {name}"),
        failed: note(Note::warning, "FailedCreate", "Error creating: {error}"),
    }
}

fn pod_from(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut pod = json!({
        "metadata": {
            "generateName": format!("{}-", object::name(set)), "namespace": object::namespace(set),
            "ownerReferences": [facts::controller_reference(&REPLICA_SET, set)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            pod["metadata"][field] = value.clone();
        }
    }
    pod
}

fn delete_pod(set: &Arc<Value>, pod: &Value) -> Action {
    let note = Note::normal(COMPONENT, &REPLICA_SET, set, "SuccessfulDelete", "Deleted pod: {name}");
    let (key, uid) = (Key::of(&POD, pod), object::uid(pod).to_owned());
    Action::Delete { key, uid, propagation: None, done: Some(note) }
}

/// Pods in the order in which surplus ones go: without a node, pending, not ready, cheap to
/// delete, ready for a shorter time, restarted more often, younger.
fn in_order_of_deletion(mut pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    pods.sort_by_cached_key(|pod| {
        let cost = pod["metadata"]["annotations"][DELETION_COST].as_str().and_then(|cost| cost.parse::<i64>().ok());
        let ready = facts::condition(pod, "Ready").filter(|_| facts::is_ready(pod));
        let restarts = pod["status"]["containerStatuses"].as_array().map_or(0, |containers| {
            containers.iter().map(|container| facts::int(&container["restartCount"])).max().unwrap_or(0)
        });
        let phase = match pod["status"]["phase"].as_str() {
            Some("Running") => 2,
            Some("Unknown") => 1,
            _ => 0,
        };
        (
            pod["spec"]["nodeName"].is_string(),
            phase,
            ready.is_some(),
            cost.unwrap_or(0),
            Reverse(ready.and_then(|ready| facts::time(&ready["lastTransitionTime"]))),
            Reverse(restarts),
            Reverse(facts::time(&pod["metadata"]["creationTimestamp"])),
            object::name(pod).to_owned(),
        )
    });
    pods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Value> {
        let mut pod = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T12:00:00Z"}, "spec": {"nodeName": "node"},
            "status": {
                "phase": "Running", "containerStatuses": [{"restartCount": 0}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T12:00:05Z"}],
            },
        });
        change(&mut pod);
        Arc::new(pod)
    }

    /// 50-deployments/522: the mark of a pod that could not be made stays until there are enough.
    #[test]
    fn a_failed_creation_is_marked() {
        let store = Store::new();
        let set = json!({
            "metadata": {"name": "web", "namespace": "n"}, "status": {"replicas": 0},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {}}},
        });
        let key = Key::of(&REPLICA_SET, &store.create(&REPLICA_SET, set).unwrap());
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        creation_failed(&store, &key, "no", now);
        let failed = json!([{
            "type": "ReplicaFailure", "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z",
            "reason": "FailedCreate", "message": "no",
        }]);
        creation_failed(&store, &key, "still no", facts::seconds_after(now, 1));
        assert_eq!(store.get(&key).unwrap()["status"]["conditions"], failed, "the first refusal stands");
        let conditions = |pods: &[Arc<Value>]| {
            let view = View { set: store.get(&key).unwrap(), pods: pods.to_vec() };
            let written = reconcile(&view, now).into_iter().find_map(|action| match action {
                Action::Replace { object, .. } => Some(object["status"]["conditions"].clone()),
                _ => None,
            });
            written.unwrap()
        };
        assert_eq!(conditions(&[]), failed);
        let child = pod("web-1", |pod| {
            pod["metadata"]["labels"] = json!({"app": "web"});
            pod["metadata"]["ownerReferences"] =
                json!([facts::controller_reference(&REPLICA_SET, &store.get(&key).unwrap())]);
        });
        assert_eq!(conditions(&[child]), Value::Null);
    }

    #[test]
    fn surplus_pods_go_in_order() {
        let pods = vec![
            pod("old", |_| {}),
            pod("younger", |pod| pod["metadata"]["creationTimestamp"] = "2026-01-01T12:00:01Z".into()),
            pod("restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] = 3.into()),
            pod("just-ready", |pod| {
                pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T12:00:09Z".into();
            }),
            pod("dear", |pod| pod["metadata"]["annotations"] = json!({DELETION_COST: "5"})),
            pod("cheap", |pod| pod["metadata"]["annotations"] = json!({DELETION_COST: "-10"})),
            pod("not-ready", |pod| pod["status"]["conditions"][0]["status"] = "False".into()),
            pod("pending", |pod| pod["status"] = json!({"phase": "Pending"})),
            pod("unassigned", |pod| {
                pod["spec"] = json!({});
                pod["status"] = json!({"phase": "Pending"});
            }),
        ];
        let order = in_order_of_deletion(pods);
        let names: Vec<&str> = order.iter().map(|pod| object::name(pod)).collect();
        let expect =
            ["unassigned", "pending", "not-ready", "cheap", "just-ready", "restarted", "younger", "old", "dear"];
        assert_eq!(names, expect);
    }
}
