//! Namespaces that are being deleted: their pods end first, then everything else goes, then they do.

use std::sync::Arc;

use serde_json::Value;

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
pub(crate) fn reconcile(view: &View) -> Vec<Action> {
    if !object::is_terminating(&view.namespace) {
        return Vec::new();
    }
    if view.contents.is_empty() {
        return vec![let_go(&view.namespace)];
    }
    let pods_first = view.contents.iter().any(|(kind, _)| *kind == &POD);
    let due =
        view.contents.iter().filter(|(kind, object)| !object::is_terminating(object) && (!pods_first || *kind == &POD));
    due.map(|(kind, object)| Action::delete(kind, object)).collect()
}

fn let_go(namespace: &Value) -> Action {
    let mut released = namespace.clone();
    if let Some(finalizers) = released["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    Action::Replace { kind: &NAMESPACE, object: released, done: None }
}
