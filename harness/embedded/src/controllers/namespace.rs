//! Namespaces that are being deleted: their pods end first, then everything else goes, then they do.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::Action;
use crate::kinds::{self, Kind, NAMESPACE, POD};
use crate::object::{self, Key};
use crate::store::Store;

/// What keeps a namespace until it is empty, in `spec.finalizers`.
pub(crate) const FINALIZER: &str = "kubernetes";

/// What a look at a namespace sees.
pub(crate) struct View {
    /// The namespace.
    pub(crate) namespace: Arc<Value>,
    /// Everything in it.
    pub(crate) contents: Vec<(&'static Kind, Arc<Value>)>,
}

/// Reads the view; `None` where the namespace is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let namespace = store.get(key)?;
    let in_namespace = |kind: &'static Kind| store.list(kind, Some(&key.name)).0.into_iter().map(move |o| (kind, o));
    let contents = kinds::ALL.iter().filter(|kind| kind.namespaced).flat_map(|kind| in_namespace(kind)).collect();
    Some(View { namespace, contents })
}

/// The next step of a namespace that is being deleted.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    if !object::is_terminating(&view.namespace) {
        return Vec::new();
    }
    if view.contents.is_empty() {
        return vec![let_go(&view.namespace)];
    }
    let pods_first = view.contents.iter().any(|(kind, _)| *kind == &POD);
    let due =
        view.contents.iter().filter(|(kind, object)| !object::is_terminating(object) && (!pods_first || *kind == &POD));
    let mut actions: Vec<Action> = due
        .map(|(kind, object)| {
            let (key, uid) = (Key::of(kind, object), object::uid(object).to_owned());
            Action::Delete { key, uid, propagation: None, done: None }
        })
        .collect();
    actions.extend(write_conditions(view, now));
    actions
}

fn let_go(namespace: &Value) -> Action {
    let mut released = namespace.clone();
    if let Some(finalizers) = released["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    Action::Replace { kind: &NAMESPACE, object: released, done: None }
}

/// Says what holds a namespace that does not go.
fn write_conditions(view: &View, now: Timestamp) -> Option<Action> {
    let held: Vec<_> = view.contents.iter().filter(|(_, object)| object::is_terminating(object)).collect();
    if held.is_empty() {
        return None;
    }
    let plurals: BTreeSet<String> = held.iter().map(|(kind, _)| kind.qualified()).collect();
    let remaining: Vec<String> = plurals
        .iter()
        .map(|plural| {
            let instances = held.iter().filter(|(kind, _)| kind.qualified() == *plural).count();
            format!("{plural} has {instances} resource instances")
        })
        .collect();
    let names = held.iter().flat_map(|(_, object)| object["metadata"]["finalizers"].as_array().into_iter().flatten());
    let names: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
    let mut conditions = vec![(
        "NamespaceContentRemaining",
        "SomeResourcesRemain",
        format!("Some resources are remaining: {}", remaining.join(", ")),
    )];
    if !names.is_empty() {
        let holds = |name: &str| held.iter().filter(|(_, object)| super::facts::has_finalizer(object, name)).count();
        let each: Vec<String> =
            names.iter().map(|name| format!("{name} in {} resource instances", holds(name))).collect();
        let message = format!("Some content in the namespace has finalizers remaining: {}", each.join(", "));
        conditions.push(("NamespaceFinalizersRemaining", "SomeFinalizersRemain", message));
    }
    let mut changed = Value::clone(&view.namespace);
    changed["status"]["conditions"] = conditions
        .into_iter()
        .map(|(kind, reason, message)| {
            let before = super::facts::condition(&view.namespace, kind);
            let since = before
                .map_or_else(|| object::format_timestamp(now).into(), |before| before["lastTransitionTime"].clone());
            json!({"type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message})
        })
        .collect();
    (changed != *view.namespace).then_some(Action::Replace { kind: &NAMESPACE, object: changed, done: None })
}
