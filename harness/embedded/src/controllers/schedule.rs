//! Scheduling onto the one node there is.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Note};
use super::facts;
use crate::kinds::{NODE, POD};
use crate::object::{self, Key};
use crate::store::Store;

/// What a look at a pod without a node sees.
pub(crate) struct View {
    /// The pod.
    pub(crate) pod: Arc<Value>,
    /// The name of the node.
    pub(crate) node: String,
}

/// Reads the view; `None` where the pod or the node is not there.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let node = object::name(store.list(&NODE, None).0.first()?).to_owned();
    Some(View { pod: store.get(key)?, node })
}

/// Whether a pod waits for a node.
pub(crate) fn is_waiting(pod: &Value) -> bool {
    let gates = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    !pod["spec"]["nodeName"].is_string() && facts::is_active(pod) && !gates
}

/// Gives a waiting pod its node.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    if !is_waiting(&view.pod) {
        return Vec::new();
    }
    let mut pod = Value::clone(&view.pod);
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "observedGeneration": pod["metadata"]["generation"],
        "lastProbeTime": null, "lastTransitionTime": object::format_timestamp(now),
    });
    pod["spec"]["nodeName"] = view.node.as_str().into();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(scheduled);
    pod["status"]["conditions"] = conditions.into();
    let message = format!("Successfully assigned {}/{} to {}", object::namespace(&pod), object::name(&pod), view.node);
    let done = Some(Note::normal("default-scheduler", &POD, &view.pod, "Scheduled", message));
    vec![Action::Replace { kind: &POD, object: pod, done }]
}
