//! Garbage collection: what becomes of objects when their owners go.

use std::sync::Arc;

use serde_json::Value;

use super::action::Action;
use super::deletion::{FOREGROUND, ORPHAN};
use super::{Propagation, adopt, facts};
use crate::kinds::{self, EVENT, Kind};
use crate::object::{self, Key};
use crate::store::Store;

/// How an owner stands, as a reference to it finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is there, or of a kind that is not served here.
    There,
    /// It waits for its dependents to go first.
    Waiting,
    /// There is none of that name and uid.
    Gone,
}

/// What a look at an object sees.
pub(crate) struct View {
    /// Its kind.
    pub(crate) kind: &'static Kind,
    /// The object.
    pub(crate) object: Arc<Value>,
    /// How its owners stand, in the order of its references.
    pub(crate) owners: Vec<Owner>,
    /// Objects that have it as an owner.
    pub(crate) dependents: Vec<(&'static Kind, Arc<Value>)>,
}

/// Reads the view; `None` where the object is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let object = store.get(key)?;
    let owners = facts::owners(&object).iter().map(|reference| stand(store, &key.namespace, reference)).collect();
    let dependents = dependents(store, key.kind, &object);
    Some(View { kind: key.kind, object, owners, dependents })
}

/// Everything that has this object as an owner.
pub(crate) fn dependents(store: &Store, kind: &Kind, owner: &Value) -> Vec<(&'static Kind, Arc<Value>)> {
    let uid = object::uid(owner);
    let namespace = Some(object::namespace(owner)).filter(|_| kind.namespaced);
    let of_kind = |kind: &'static Kind| {
        let (objects, _) = store.list(kind, namespace);
        objects
            .into_iter()
            .filter(|object| facts::owners(object).iter().any(|reference| reference["uid"] == uid))
            .map(move |object| (kind, object))
    };
    kinds::ALL.iter().copied().filter(|kind| *kind != &EVENT).flat_map(of_kind).collect()
}

/// The key that an owner reference points at, if its kind is served.
pub(crate) fn owner_key(namespace: &str, reference: &Value) -> Option<Key> {
    let text = |field: &str| reference[field].as_str();
    Some(Key::new(kinds::by_kind(text("apiVersion")?, text("kind")?)?, namespace, text("name")?))
}

fn stand(store: &Store, namespace: &str, reference: &Value) -> Owner {
    let Some(key) = owner_key(namespace, reference) else { return Owner::There };
    match store.get(&key).filter(|owner| owner["metadata"]["uid"] == reference["uid"]) {
        None => Owner::Gone,
        Some(owner) if waits(&owner) => Owner::Waiting,
        Some(_) => Owner::There,
    }
}

/// Whether the object is being deleted in the foreground.
pub(crate) fn waits(object: &Value) -> bool {
    object::is_terminating(object) && facts::has_finalizer(object, FOREGROUND)
}

/// The next step for an object whose owners, dependents or deletion changed.
#[must_use]
pub(crate) fn reconcile(view: &View) -> Vec<Action> {
    let object = &view.object;
    if object::is_terminating(object) {
        return if facts::has_finalizer(object, ORPHAN) { let_dependents_go(view) } else { end_foreground(view) };
    }
    let (there, left): (Vec<_>, Vec<_>) =
        facts::owners(object).iter().zip(&view.owners).partition(|(_, owner)| **owner == Owner::There);
    if left.is_empty() {
        return Vec::new();
    }
    if !there.is_empty() {
        let mut changed = Value::clone(object);
        changed["metadata"]["ownerReferences"] = there.into_iter().map(|(reference, _)| reference.clone()).collect();
        return vec![Action::Replace { kind: view.kind, object: changed, done: None }];
    }
    let in_foreground = view.owners.contains(&Owner::Waiting) && !view.dependents.is_empty();
    let propagation = in_foreground.then_some(Propagation::Foreground);
    let (key, uid) = (Key::of(view.kind, object), object::uid(object).to_owned());
    vec![Action::Delete { key, uid, propagation, done: None }]
}

fn without_finalizer(view: &View, finalizer: &str) -> Action {
    let mut changed = Value::clone(&view.object);
    if let Some(finalizers) = changed["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|one| one != finalizer);
    }
    Action::Replace { kind: view.kind, object: changed, done: None }
}

fn let_dependents_go(view: &View) -> Vec<Action> {
    let release = |(kind, dependent): &(&'static Kind, Arc<Value>)| Action::Replace {
        kind,
        object: adopt::released(dependent, &view.object),
        done: None,
    };
    let mut actions: Vec<Action> = view.dependents.iter().map(release).collect();
    actions.push(without_finalizer(view, ORPHAN));
    actions
}

/// Ends a foreground deletion once no dependent holds it up any more.
fn end_foreground(view: &View) -> Vec<Action> {
    let uid = object::uid(&view.object);
    let holds = |reference: &Value| reference["uid"] == uid && reference["blockOwnerDeletion"] == true;
    let held = view.dependents.iter().any(|(_, dependent)| facts::owners(dependent).iter().any(holds));
    if held || !waits(&view.object) { Vec::new() } else { vec![without_finalizer(view, FOREGROUND)] }
}
