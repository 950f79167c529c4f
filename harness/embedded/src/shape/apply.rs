//! Server-side apply and `managedFields`.
//!
//! The steps and their order are those of Kubernetes' structured-merge-diff: merge the intent
//! into the live object, prune what this manager no longer claims and nobody else does, then
//! compare with the live object to find conflicts and to move ownership.

mod compare;
mod managers;
mod merge;
mod paths;

use serde_json::{Value, json};

use super::fields;
use super::{decode, fill_defaults};
use crate::kinds::Kind;
use crate::object;
use crate::status::Status;
use compare::Comparison;
use managers::{Manager, Managers};
use paths::Paths;

/// Metadata that nobody owns.
const UNOWNED: [&str; 8] =
    ["name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"];

/// The result of applying `intent` as `manager`, defaults filled in; `current` is absent on
/// create. When nothing changes, the result equals `current` in every byte.
///
/// # Errors
/// 409 with one `FieldManagerConflict` cause a field, unless `force`; 409 for another
/// `metadata.resourceVersion`; 500 for unknown fields and repeated list items, as Kubernetes
/// answers them; 400 for an intent without kind or with `managedFields`.
pub fn apply(
    kind: &'static Kind,
    current: Option<&Value>,
    intent: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Status> {
    let intent = prepared(kind, current, intent)?;
    let root = fields::of_kind(kind);
    let claimed = paths::of_object(root, &intent);
    let nothing = json!({});
    let live = without_bookkeeping(current.unwrap_or(&nothing));
    let mut managers = current.map_or_else(Managers::default, |current| known_managers(kind, current));
    let before = managers.clone();
    let applier = Manager::applier(manager);
    let last = managers.set(&applier, claimed);

    let merged = merge::objects(root, &live, &intent);
    let mut new = merge::prune(root, merged, &last, &managers.union());
    let changes = compare::objects(root, &live, &new);
    let conflicts = managers.conflicts(&applier, &changes);
    if !force && !conflicts.is_empty() {
        return Err(managers::conflict_error(&conflicts));
    }
    managers.give_up(Some(&applier), &changes);
    managers.strip(is_unowned);

    fill_defaults(kind, &mut new);
    let is_same = current.is_some() && {
        let mut live = live.clone();
        fill_defaults(kind, &mut live);
        live == new
    };
    if let (true, Some(current)) = (is_same && managers.same_fields(&before), current) {
        return Ok(current.clone());
    }
    managers.stamp(&applier, &before, !is_same, kind, &object::timestamp());
    if let Some(version) = current.and_then(|current| current["metadata"].get("resourceVersion")) {
        new["metadata"]["resourceVersion"] = version.clone();
    }
    managers.write(&mut new);
    Ok(new)
}

/// Records in `after` that `manager` wrote by update (or through `subresource`) what differs
/// from `before`; `before` is absent on create. An object that was stored without
/// `managedFields` stays without them. A single empty entry in `after` clears them.
pub fn track_update(
    kind: &'static Kind,
    before: Option<&Value>,
    after: &mut Value,
    manager: &str,
    subresource: Option<&str>,
) {
    let given = after["metadata"].get("managedFields").cloned().unwrap_or(Value::Null);
    if given == json!([{}]) {
        return Managers::default().write(after);
    }
    let mut managers = Managers::read(&given);
    if let (true, Some(before)) = (managers.is_empty() || subresource.is_some(), before) {
        managers = Managers::read(&before["metadata"]["managedFields"]);
    }
    if before.is_some() && managers.is_empty() {
        return;
    }
    let changes = changes(kind, before, after, subresource);
    managers.give_up(None, &changes);
    let changed: Paths = changes.added.union(&changes.modified).cloned().collect();
    if !changed.is_empty() {
        let updater = Manager::updater(manager, &kind.api_version(), subresource);
        managers.add(&updater, changed, &object::timestamp());
    }
    managers.write(after);
}

/// The intent in canonical form, without what an apply does not write.
fn prepared(kind: &'static Kind, current: Option<&Value>, intent: &Value) -> Result<Value, Status> {
    let (version, name) = (intent["apiVersion"].as_str(), intent["kind"].as_str());
    if version != Some(kind.api_version().as_str()) || name != Some(kind.kind) {
        let (group, version) =
            version.unwrap_or_default().rsplit_once('/').unwrap_or(("", version.unwrap_or_default()));
        let name = name.unwrap_or_default();
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={name}")));
    }
    if intent["metadata"].get("managedFields").is_some_and(|given| !given.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut problems = paths::problems(fields::of_kind(kind), intent);
    if problems.is_empty() {
        problems.extend(decode::type_error(kind, intent));
    }
    if !problems.is_empty() {
        let problems = match problems.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let place = format!(
            "{}/{}; {}, Kind={}",
            object::namespace(intent),
            object::name(intent),
            kind.api_version(),
            kind.kind
        );
        return Err(Status::new(500, "", format!("failed to create typed patch object ({place}): {problems}")));
    }
    let wanted = intent["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty());
    if let Some(wanted) = wanted
        && current.is_none_or(|current| current["metadata"]["resourceVersion"] != wanted)
    {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Status::conflict(kind, object::name(intent), why));
    }
    let mut intent = intent.clone();
    decode::canonical(kind, &mut intent);
    if let Some(metadata) = intent["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if kind.subresources.contains(&"status")
        && let Some(members) = intent.as_object_mut()
    {
        members.remove("status");
    }
    Ok(intent)
}

/// The managers of an object; one that was made without any belongs to `before-first-apply`.
fn known_managers(kind: &'static Kind, current: &Value) -> Managers {
    let mut managers = Managers::read(&current["metadata"]["managedFields"]);
    if managers.is_empty() {
        let changes = changes(kind, None, current, None);
        let owned = changes.added.union(&changes.modified).cloned().collect();
        let first = Manager::updater("before-first-apply", &kind.api_version(), None);
        managers.add(&first, owned, &object::timestamp());
    }
    managers
}

fn changes(kind: &'static Kind, before: Option<&Value>, after: &Value, subresource: Option<&str>) -> Comparison {
    let zero = decode::zero_object(kind);
    let ownable = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|name, _| !UNOWNED.contains(&name.as_str()));
        }
        if let Some(members) = object.as_object_mut() {
            let is_elsewhere = subresource.is_none() && kind.subresources.contains(&"status");
            members.retain(|name, _| {
                let is_identity = name == "apiVersion" || name == "kind";
                !is_identity && (name != "status" || !is_elsewhere)
            });
        }
        object
    };
    compare::objects(fields::of_kind(kind), &ownable(before.unwrap_or(&zero)), &ownable(after))
}

fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    object
}

fn is_unowned(path: &[String]) -> bool {
    match path {
        [one] => ["f:apiVersion", "f:kind", "f:metadata"].contains(&one.as_str()),
        [first, second] => {
            first == "f:metadata" && second.strip_prefix("f:").is_some_and(|name| UNOWNED.contains(&name))
        }
        _ => false,
    }
}
