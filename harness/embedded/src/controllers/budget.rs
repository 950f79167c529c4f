//! PodDisruptionBudgets: how many pods may be evicted right now.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::facts::{self, Round};
use crate::kinds::{DEPLOYMENT, DISRUPTION_BUDGET, Kind, POD, REPLICA_SET, STATEFUL_SET};
use crate::object::{self, Key};
use crate::store::Store;

/// How long an eviction that was granted is waited for before its pod counts again.
const EVICTION_SECONDS: i64 = 120;

/// What a look at a budget sees.
pub(crate) struct View {
    /// The budget.
    pub(crate) budget: Arc<Value>,
    /// The pods it selects.
    pub(crate) pods: Vec<Arc<Value>>,
    /// The replicas that the pods' controllers want together.
    pub(crate) wanted: i64,
}

/// Reads the view; `None` where the budget is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let budget = store.get(key)?;
    let (mut pods, _) = store.list(&POD, Some(&key.namespace));
    pods.retain(|pod| object::selects(&budget["spec"]["selector"], facts::labels(pod)));
    let roots = pods.iter().filter_map(|pod| root_of(store, &key.namespace, pod));
    let scales: BTreeMap<String, i64> =
        roots.map(|root| (object::uid(&root).to_owned(), facts::replicas(&root))).collect();
    Some(View { budget, pods, wanted: scales.into_values().sum() })
}

/// What decides how many pods like this one there are: a StatefulSet, a ReplicaSet, or its Deployment.
fn root_of(store: &Store, namespace: &str, pod: &Value) -> Option<Arc<Value>> {
    let controller = |object: &Value, kind: &'static Kind| {
        let owner = object::controller_of(object).filter(|owner| owner["kind"] == kind.kind)?;
        store.get(&Key::new(kind, namespace, owner["name"].as_str()?))
    };
    let set = controller(pod, &REPLICA_SET).or_else(|| controller(pod, &STATEFUL_SET))?;
    Some(controller(&set, &DEPLOYMENT).unwrap_or(set))
}

/// Brings the status up to date.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    let (budget, spec) = (&view.budget, &view.budget["spec"]);
    let disrupted = granted_evictions(view, now);
    let is_healthy = |pod: &&Arc<Value>| {
        facts::is_ready(pod) && !object::is_terminating(pod) && !disrupted.contains_key(object::name(pod))
    };
    let pods = i64::try_from(view.pods.len()).unwrap_or(i64::MAX);
    let (expected, desired) = match (spec.get("maxUnavailable"), spec.get("minAvailable")) {
        (Some(most), _) => (view.wanted, (view.wanted - facts::share(most, view.wanted, Round::Up)).max(0)),
        (None, Some(Value::String(_))) => (view.wanted, facts::share(&spec["minAvailable"], view.wanted, Round::Up)),
        (None, Some(fewest)) => (pods, facts::int(fewest)),
        (None, None) => (0, 0),
    };
    let healthy = i64::try_from(view.pods.iter().filter(is_healthy).count()).unwrap_or(i64::MAX);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let generation = &budget["metadata"]["generation"];
    let mut status = json!({
        "observedGeneration": generation, "disruptionsAllowed": allowed, "currentHealthy": healthy,
        "desiredHealthy": desired, "expectedPods": expected, "conditions": [condition(budget, allowed > 0, now)],
    });
    let forgotten = disrupted.values().filter_map(facts::time).min();
    if !disrupted.is_empty() {
        status["disruptedPods"] = disrupted.into();
    }
    let wake = forgotten.map(|since| Action::WakeAt(facts::seconds_after(since, EVICTION_SECONDS)));
    let mut actions: Vec<Action> = wake.into_iter().collect();
    if status != budget["status"] {
        let mut changed = Value::clone(budget);
        changed["status"] = status;
        actions.push(Action::Replace { kind: &DISRUPTION_BUDGET, object: changed, done: None });
    }
    actions
}

/// Evictions that were granted, of pods whose deletion has not begun.
fn granted_evictions(view: &View, now: Timestamp) -> Map<String, Value> {
    let Some(granted) = view.budget["status"]["disruptedPods"].as_object() else { return Map::new() };
    let is_awaited = |name: &str, since: &Value| {
        let there = view.pods.iter().any(|pod| object::name(pod) == name && !object::is_terminating(pod));
        there && facts::time(since).is_some_and(|since| facts::seconds_after(since, EVICTION_SECONDS) > now)
    };
    granted
        .iter()
        .filter(|(name, since)| is_awaited(name, since))
        .map(|(name, since)| (name.clone(), since.clone()))
        .collect()
}

fn condition(budget: &Value, allowed: bool, now: Timestamp) -> Value {
    let (status, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let before = facts::condition(budget, "DisruptionAllowed").filter(|before| before["status"] == status);
    let since = before.map_or_else(|| object::format_timestamp(now).into(), |b| b["lastTransitionTime"].clone());
    json!({
        "type": "DisruptionAllowed", "status": status, "observedGeneration": budget["metadata"]["generation"],
        "lastTransitionTime": since, "reason": reason, "message": "",
    })
}
