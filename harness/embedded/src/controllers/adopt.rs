//! Which children a controller owns: adoption of those that match, release of those that no longer do. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::action::Action;
use super::facts;
use crate::kinds::Kind;
use crate::object;

/// A controller's children, and what must be written before they are right.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// Children whose controller is this owner and whose labels match.
    pub(crate) children: Vec<Arc<Value>>,
    /// Adoptions and releases.
    pub(crate) actions: Vec<Action>,
}

/// Sorts out who belongs to `owner`. An owner that is being deleted adopts and releases nobody.
pub(crate) fn family(
    kind: &'static Kind,
    owner: &Value,
    child_kind: &'static Kind,
    candidates: &[Arc<Value>],
    may_adopt: impl Fn(&Value) -> bool,
) -> Family {
    let mut family = Family::default();
    for child in candidates {
        let matches = object::selects(&owner["spec"]["selector"], facts::labels(child));
        let owned = facts::is_controlled_by(child, owner);
        if owned && matches {
            family.children.push(Arc::clone(child));
            continue;
        }
        if object::is_terminating(owner) || object::is_terminating(child) {
            continue;
        }
        let changed = if owned {
            released(child, owner)
        } else if matches && object::controller_of(child).is_none() && may_adopt(child) {
            adopted(child, kind, owner)
        } else {
            continue;
        };
        family.actions.push(Action::Replace { kind: child_kind, object: changed, done: None });
    }
    family
}

/// The object without its reference to this owner.
pub(crate) fn released(child: &Value, owner: &Value) -> Value {
    let mut released = child.clone();
    let uid = object::uid(owner);
    let left: Vec<Value> = facts::owners(child).iter().filter(|reference| reference["uid"] != uid).cloned().collect();
    if left.is_empty() {
        released["metadata"].as_object_mut().map(|metadata| metadata.remove("ownerReferences"));
    } else {
        released["metadata"]["ownerReferences"] = left.into();
    }
    released
}

fn adopted(child: &Value, kind: &Kind, owner: &Value) -> Value {
    let mut adopted = child.clone();
    let mut references = facts::owners(child).to_vec();
    references.push(facts::controller_reference(kind, owner));
    adopted["metadata"]["ownerReferences"] = references.into();
    adopted
}
