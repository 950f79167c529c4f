//! The rules of deletion: grace for pods, finalizers, propagation, preconditions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts;
use super::{DeleteOptions, Deleted, Propagation};
use crate::kinds::{CLAIM, Kind, NAMESPACE, POD, SERVICE, SERVICE_ACCOUNT};
use crate::object::{self, Key};
use crate::status::Status;
use crate::store::Store;

/// The finalizer that makes an owner wait for its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that makes an owner let go of its dependents.
pub(crate) const ORPHAN: &str = "orphan";
/// Kinds whose deletion answers with the object, even when it is gone.
const ANSWER_WITH_OBJECT: [&Kind; 4] = [&POD, &SERVICE, &CLAIM, &SERVICE_ACCOUNT];

/// What a request to delete does to an object.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// It goes at once, without a trace of a deletion on it.
    Gone,
    /// It stays for now, marked like this (or unchanged, where it was marked before).
    Marked(Value),
}

/// Deletes an object at the given time; otherwise as [`super::delete`].
///
/// # Errors
/// As [`super::delete`].
pub fn delete_at(store: &Store, key: &Key, options: &DeleteOptions, now: Timestamp) -> Result<Deleted, Status> {
    let mut goes = false;
    let object = store.update(key, |object| {
        check_preconditions(key, object, options)?;
        match fate(key.kind, object, options, now) {
            Fate::Gone => goes = true,
            Fate::Marked(marked) => *object = marked,
        }
        Ok(())
    })?;
    if !goes && !is_over(key.kind, &object) {
        return Ok(Deleted::Object(Value::clone(&object)));
    }
    store.remove(key);
    if ANSWER_WITH_OBJECT.contains(&key.kind) {
        return Ok(Deleted::Object(Value::clone(&object)));
    }
    Ok(Deleted::Gone(success(key, &object)))
}

/// Whether nothing holds an object any more whose deletion has begun.
pub(crate) fn is_over(kind: &Kind, object: &Value) -> bool {
    object::is_terminating(object)
        && is_empty(&object["metadata"]["finalizers"])
        && facts::int(&object["metadata"]["deletionGracePeriodSeconds"]) == 0
        && (kind != &NAMESPACE || is_empty(&object["spec"]["finalizers"]))
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn fate(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Fate {
    let mut marked = object.clone();
    let finalizers = finalizers_after(object, options.propagation);
    let held = !finalizers.is_empty() || kind == &NAMESPACE;
    if finalizers.is_empty() {
        marked["metadata"].as_object_mut().map(|metadata| metadata.remove("finalizers"));
    } else {
        marked["metadata"]["finalizers"] = finalizers.into();
    }
    let terminating = object::is_terminating(object);
    match (kind == &POD, terminating) {
        (true, true) => shorten_grace(&mut marked, options.grace_seconds, now),
        (true, false) => begin(&mut marked, Some(grace_of(object, options.grace_seconds)), now),
        // The last finalizer goes with the propagation policy that put it there.
        (false, true) if !held => return Fate::Gone,
        (false, true) => {}
        (false, false) if !held => return Fate::Gone,
        (false, false) => begin(&mut marked, (kind != &NAMESPACE).then_some(0), now),
    }
    if kind == &NAMESPACE && !terminating {
        marked["status"]["phase"] = "Terminating".into();
        // Whoever made it: it is emptied before it goes.
        marked["spec"]["finalizers"] = json!([super::namespace::FINALIZER]);
    }
    Fate::Marked(marked)
}

fn begin(object: &mut Value, grace: Option<i64>, now: Timestamp) {
    let metadata = &mut object["metadata"];
    metadata["deletionTimestamp"] = object::format_timestamp(facts::seconds_after(now, grace.unwrap_or(0))).into();
    if let Some(grace) = grace {
        metadata["deletionGracePeriodSeconds"] = grace.into();
    }
    // Its controllers behave differently from now on, so it counts as a change of what is wanted.
    if let Some(generation) = metadata["generation"].as_i64() {
        metadata["generation"] = (generation + 1).into();
    }
}

/// The grace a pod gets when its deletion begins, in seconds.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    if !pod["spec"]["nodeName"].is_string() || facts::is_finished(pod) {
        return 0;
    }
    let grace = asked.unwrap_or_else(|| facts::int(&pod["spec"]["terminationGracePeriodSeconds"]));
    if grace < 0 { 1 } else { grace }
}

/// A later delete can only shorten the grace that is running.
fn shorten_grace(pod: &mut Value, asked: Option<i64>, now: Timestamp) {
    let running = facts::int(&pod["metadata"]["deletionGracePeriodSeconds"]);
    let Some(grace) = asked.map(|grace| if grace < 0 { 1 } else { grace }).filter(|grace| *grace < running) else {
        return;
    };
    let begun = facts::time(&pod["metadata"]["deletionTimestamp"]).map(|due| facts::seconds_after(due, -running));
    let due = if grace == 0 { now } else { facts::seconds_after(begun.unwrap_or(now), grace) };
    pod["metadata"]["deletionTimestamp"] = object::format_timestamp(due).into();
    pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
}

/// The finalizers an object has once this propagation policy is asked for; none asked for
/// leaves an earlier policy as it is, and means background where there was none.
fn finalizers_after(object: &Value, propagation: Option<Propagation>) -> Vec<Value> {
    let current = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let Some(propagation) = propagation else { return current };
    let mut finalizers: Vec<Value> =
        current.into_iter().filter(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN).collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
    }
    finalizers
}

fn check_preconditions(key: &Key, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let wrong = |what: &str, asked: &str, stored: &str, so: &str| {
        let label = if key.kind.group.is_empty() {
            key.kind.kind.to_owned()
        } else {
            format!("{}.{}", key.kind.kind, key.kind.group)
        };
        let message = format!(
            "Operation cannot be fulfilled on {label} \"{}\": the {what} in the precondition ({asked}) does not match \
             the {what} in record ({stored}). The object might have been {so}",
            key.name
        );
        let mut status = Status::new(409, "Conflict", message);
        status.details = json!({"name": key.name, "kind": key.kind.kind});
        status
    };
    let stored = object::uid(object);
    if let Some(asked) = options.uid.as_deref().filter(|asked| *asked != stored) {
        return Err(wrong("UID", asked, stored, "deleted and then recreated"));
    }
    let stored = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if let Some(asked) = options.resource_version.as_deref().filter(|asked| *asked != stored) {
        return Err(wrong("ResourceVersion", asked, stored, "modified"));
    }
    Ok(())
}

fn success(key: &Key, object: &Value) -> Value {
    let mut details = json!({"name": key.name, "kind": key.kind.plural, "uid": object["metadata"]["uid"]});
    if !key.kind.group.is_empty() {
        details["group"] = key.kind.group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
