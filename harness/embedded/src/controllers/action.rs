//! What controllers want done, and the one place where it is done.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DeleteOptions, Propagation, deletion, facts};
use crate::events::{self, Occurrence, Severity};
use crate::kinds::{DEPLOYMENT, Kind, NAMESPACE, POD};
use crate::object::{self, Key};
use crate::shape;
use crate::status::Status;
use crate::store::Store;

/// How often a generated name is drawn again before it counts as taken.
const NAME_DRAWS_MAX: usize = 8;

/// One thing a controller wants done.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Adds an object. Without a name it gets one from its `generateName`; `{name}` in the
    /// notes stands for it, `{error}` for what went wrong.
    Create { kind: &'static Kind, object: Value, done: Option<Note>, failed: Option<Note> },
    /// Puts an object in the place of the version it was made from.
    Replace { kind: &'static Kind, object: Value, done: Option<Note> },
    /// Deletes the object of this uid.
    Delete { key: Key, uid: String, propagation: Option<Propagation>, done: Option<Note> },
    /// Looks again at this time.
    WakeAt(Timestamp),
}

impl Action {
    /// Deletes this very object, as its kind is deleted by default.
    pub(crate) fn delete(kind: &'static Kind, object: &Value) -> Self {
        let (key, uid) = (Key::of(kind, object), object::uid(object).to_owned());
        Self::Delete { key, uid, propagation: None, done: None }
    }
}

/// An event to record once something has happened.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) component: &'static str,
    pub(crate) kind: &'static Kind,
    pub(crate) about: Arc<Value>,
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    /// A `Normal` event.
    pub(crate) fn normal(
        component: &'static str,
        kind: &'static Kind,
        about: &Arc<Value>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let (about, severity, message) = (Arc::clone(about), Severity::Normal, message.into());
        Self { component, kind, about, severity, reason, message }
    }

    /// The same as a `Warning`.
    pub(crate) fn warning(
        component: &'static str,
        kind: &'static Kind,
        about: &Arc<Value>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::normal(component, kind, about, reason, message) }
    }

    fn record(&self, store: &Store, name: &str, error: &str, now: Timestamp) {
        let message = self.message.replace("{name}", name).replace("{error}", error);
        let Self { component, severity, reason, .. } = *self;
        let occurrence = Occurrence { component, host: None, field_path: None, severity, reason, message: &message };
        events::record_at(store, self.kind, &self.about, &occurrence, now);
    }
}

/// What came of a list of actions.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// When to look again.
    pub(crate) wake_at: Option<Timestamp>,
    /// Why the list was given up; what came after it was decided on a state that is no more.
    pub(crate) failure: Option<Status>,
}

/// Does what a controller decided, in order, up to the first thing that fails.
pub(crate) fn apply(store: &Store, actions: Vec<Action>, random: &mut fastrand::Rng, now: Timestamp) -> Applied {
    let mut applied = Applied::default();
    for action in actions {
        if let Action::WakeAt(time) = action {
            applied.wake_at = Some(applied.wake_at.map_or(time, |earlier| earlier.min(time)));
        } else if let Err(failure) = carry_out(store, action, random, now) {
            applied.failure = Some(failure);
            break;
        }
    }
    applied
}

fn carry_out(store: &Store, action: Action, random: &mut fastrand::Rng, now: Timestamp) -> Result<(), Status> {
    let done = match action {
        Action::Create { kind, object, done, failed } => match create(store, kind, object, random, now) {
            Ok(created) => done.map(|note| (note, object::name(&created).to_owned())),
            Err(status) => {
                // A namespace that is going away takes its controllers with it: nothing to tell.
                if let Some(note) = failed.filter(|_| !is_namespace_terminating(&status)) {
                    note.record(store, "", &status.message, now);
                }
                return Err(status);
            }
        },
        Action::Replace { kind, object, done } => {
            let key = replace(store, kind, object)?;
            super::finish_deletion(store, &key);
            done.map(|note| (note, key.name))
        }
        Action::Delete { key, uid, propagation, done } => {
            let options = DeleteOptions { propagation, uid: Some(uid), ..DeleteOptions::default() };
            match deletion::delete_at(store, &key, &options, now) {
                Ok(_) => done.map(|note| (note, key.name)),
                // Gone already, or replaced by another of the same name: what was wanted.
                Err(status) if status.code == 404 || status.code == 409 => None,
                Err(status) => return Err(status),
            }
        }
        Action::WakeAt(_) => None,
    };
    if let Some((note, name)) = done {
        note.record(store, &name, "", now);
    }
    Ok(())
}

fn create(
    store: &Store,
    kind: &'static Kind,
    mut object: Value,
    random: &mut fastrand::Rng,
    now: Timestamp,
) -> Result<Arc<Value>, Status> {
    let given = object.get("status").cloned();
    shape::fill_defaults(kind, &mut object);
    shape::prepare_create(kind, &mut object);
    if let Some(status) = given {
        object["status"] = status;
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object["metadata"]["creationTimestamp"] = object::format_timestamp(now).into();
    let prefix = object["metadata"]["generateName"].as_str().map(str::to_owned);
    let given = object["metadata"]["name"].is_string();
    let mut draw = || create_once(store, kind, name_it(&object, prefix.as_deref(), given, random));
    let mut outcome = draw();
    for _ in 1..NAME_DRAWS_MAX {
        if given || !outcome.as_ref().is_err_and(|status| status.reason == "AlreadyExists") {
            break;
        }
        outcome = draw();
    }
    outcome
}

fn name_it(object: &Value, prefix: Option<&str>, given: bool, random: &mut fastrand::Rng) -> Value {
    let mut named = object.clone();
    if let Some(prefix) = prefix.filter(|_| !given) {
        named["metadata"]["name"] = format!("{prefix}{}", facts::suffix(random)).into();
    }
    named
}

fn create_once(store: &Store, kind: &'static Kind, object: Value) -> Result<Arc<Value>, Status> {
    check_namespace_open(store, &Key::of(kind, &object))?;
    shape::check_create(kind, &object)?;
    store.create(kind, object)
}

/// Refuses a new object in a namespace that is being deleted.
///
/// # Errors
/// 403 `Forbidden` with the cause `NamespaceTerminating`.
pub fn check_namespace_open(store: &Store, key: &Key) -> Result<(), Status> {
    let namespace = &key.namespace;
    if !store.get(&Key::new(&NAMESPACE, "", namespace)).is_some_and(|namespace| object::is_terminating(&namespace)) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(key.kind, &key.name, &why);
    status.details["causes"] = json!([{
        "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(status)
}

/// Whether a refusal is the one of [`check_namespace_open`].
pub(crate) fn is_namespace_terminating(status: &Status) -> bool {
    status.details["causes"][0]["reason"] == "NamespaceTerminating"
}

fn replace(store: &Store, kind: &'static Kind, mut object: Value) -> Result<Key, Status> {
    let key = Key::of(kind, &object);
    store.update(&key, |current| {
        if current["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Err(Status::conflict(kind, &key.name, "it has changed since"));
        }
        // A pod's node and a Deployment's revision are not what someone wants of them.
        if kind != &POD && kind != &DEPLOYMENT {
            object::count_generation(kind, current, &mut object);
        }
        *current = object;
        Ok(())
    })?;
    Ok(key)
}
