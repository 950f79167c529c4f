//! ControllerRevisions: what a StatefulSet's template was, by number. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::Action;
use super::facts;
use crate::kinds::{CONTROLLER_REVISION, STATEFUL_SET};
use crate::object;

const HASH: &str = "controller.kubernetes.io/hash";

/// The revisions of a StatefulSet, and which two of them matter now.
#[derive(Debug)]
pub(crate) struct Revisions {
    /// The one that pods had before the update that is under way.
    pub(crate) current: Arc<Value>,
    /// The one that the template of now has.
    pub(crate) update: Arc<Value>,
    /// All of them, lowest number first.
    all: Vec<Arc<Value>>,
}

impl Revisions {
    /// Tells a StatefulSet's own revisions apart; `taken` are those whose names are not free.
    ///
    /// # Errors
    /// What must be written first: a revision for a new template, or a new number for an old one
    /// that is wanted again.
    pub(crate) fn of(set: &Value, mut all: Vec<Arc<Value>>, taken: &[Arc<Value>]) -> Result<Self, Box<Action>> {
        all.sort_by_key(|revision| (number(revision), object::name(revision).to_owned()));
        let data = data_of(set);
        let newest = all.last().map_or(0, |revision| number(revision));
        let Some(update) = all.iter().rfind(|revision| revision["data"] == data) else {
            let revision = new_revision(set, taken, data, newest + 1);
            let kind = &CONTROLLER_REVISION;
            return Err(Box::new(Action::Create { kind, object: revision, done: None, failed: None }));
        };
        if number(update) < newest {
            let mut renumbered = Value::clone(update);
            renumbered["revision"] = (newest + 1).into();
            return Err(Box::new(Action::Replace { kind: &CONTROLLER_REVISION, object: renumbered, done: None }));
        }
        let update = Arc::clone(update);
        let current = all.iter().find(|revision| set["status"]["currentRevision"] == object::name(revision));
        let current = current.map_or_else(|| Arc::clone(&update), Arc::clone);
        Ok(Self { current, update, all })
    }

    /// Deletes revisions beyond the limit that nothing uses any more, lowest numbers first.
    pub(crate) fn truncate(&self, set: &Value, pods: &[Arc<Value>]) -> Vec<Action> {
        let limit = set["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
        let in_use = |revision: &&Arc<Value>| {
            let name = object::name(revision);
            name == object::name(&self.current)
                || name == object::name(&self.update)
                || pods.iter().any(|pod| revision_of(pod) == name)
        };
        let history: Vec<_> = self.all.iter().filter(|revision| !in_use(revision)).collect();
        let surplus = history.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        history[..surplus].iter().map(|revision| Action::delete(&CONTROLLER_REVISION, revision)).collect()
    }
}

/// The name of the revision that a pod was made from.
pub(crate) fn revision_of(pod: &Value) -> &str {
    facts::labels(pod)["controller-revision-hash"].as_str().unwrap_or_default()
}

/// The pod template as it was at a revision.
pub(crate) fn template_of(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    template.as_object_mut().map(|fields| fields.remove("$patch"));
    template
}

fn number(revision: &Value) -> i64 {
    facts::int(&revision["revision"])
}

/// What a revision keeps: a strategic merge patch that puts the template back.
fn data_of(set: &Value) -> Value {
    let mut template = facts::bare_template(&set["spec"]["template"]);
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

fn new_revision(set: &Value, taken: &[Arc<Value>], data: Value, number: i64) -> Value {
    let template = &set["spec"]["template"];
    let named = |collisions| {
        let hash = facts::template_hash(template, collisions);
        (format!("{}-{hash}", object::name(set)), hash)
    };
    let mut collisions = 0;
    let (mut name, mut hash) = named(collisions);
    while taken.iter().any(|revision| object::name(revision) == name) {
        collisions += 1;
        (name, hash) = named(collisions);
    }
    let mut labels = template["metadata"]["labels"].clone();
    labels[HASH] = hash.into();
    json!({
        "metadata": {
            "name": name, "namespace": object::namespace(set), "labels": labels,
            "ownerReferences": [facts::controller_reference(&STATEFUL_SET, set)],
        },
        "data": data, "revision": number,
    })
}
