//! Changes of one object: update, patch, server-side apply; of the object or of its status.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::api::Api;
use crate::api::body;
use crate::api::create::{Ownership, check_namespace, create_object};
use crate::api::options::{WriteOptions, invalid};
use crate::api::place::Place;
use crate::api::respond::{self, Answer};
use crate::api::services;
use crate::api::view::View;
use crate::controllers;
use crate::kinds::{self, Kind};
use crate::object::{self, Key};
use crate::shape::{self, apply, patch};
use crate::status::{Cause, Status};

/// How often a change is computed again because somebody else was faster.
const ATTEMPTS_MAX: usize = 64;

/// A change as the client sent it.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// `PUT`: this is the object.
    Replace(Value),
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
    Strategic(Value),
    Apply(Value),
}

/// `PUT` and `PATCH` of an object, or of its status.
pub(super) async fn write(
    api: &Api,
    place: &Place,
    options: &WriteOptions,
    view: View,
    edit: &Edit,
) -> Result<Answer, Status> {
    let written = change(api, place, options, edit).await?;
    let code = if written.created { 201 } else { 200 };
    let mut answer = respond::object(code, &view.one(place.kind, &written.object));
    respond::warn(answer.headers_mut(), &written.warnings);
    Ok(answer)
}

/// Reads a `PUT`'s body.
pub(super) fn replacement(kind: &'static Kind, headers: &HeaderMap, bytes: &[u8]) -> Result<Edit, Status> {
    body::decode_object(kind, body::media_type(headers), bytes).map(Edit::Replace)
}

/// Reads a `PATCH`'s body by its media type.
pub(super) fn patch_of(headers: &HeaderMap, options: &WriteOptions, bytes: &Bytes) -> Result<Edit, Status> {
    let media_type = body::media_type(headers);
    let json = || body::decode_json(bytes).map_err(|why| Status::bad_request(format!("error decoding patch: {why}")));
    let edit = match media_type {
        "application/merge-patch+json" => Edit::Merge(json()?),
        "application/json-patch+json" => Edit::Json(json()?),
        "application/strategic-merge-patch+json" => Edit::Strategic(json()?),
        "application/apply-patch+yaml" => {
            let intent = body::decode_yaml(bytes);
            Edit::Apply(intent.map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?)
        }
        _ => {
            let details = serde_json::json!({});
            let status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            return Err(Status { details, ..status });
        }
    };
    let wrong = |found: &str, wanted: &str| {
        let message = format!("error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}");
        Err(Status::bad_request(message))
    };
    let option = |reason, field, message: &str| Err(invalid("PatchOptions", reason, field, message));
    match &edit {
        Edit::Merge(value) | Edit::Strategic(value) if value.is_array() => wrong("array", "map[string]interface {}"),
        Edit::Merge(value) | Edit::Strategic(value) if !value.is_object() => wrong("value", "map[string]interface {}"),
        Edit::Json(value) if value.is_object() => wrong("object", "[]handlers.jsonPatchOp"),
        Edit::Json(value) if !value.is_array() => wrong("value", "[]handlers.jsonPatchOp"),
        Edit::Apply(_) if !options.manager_given => {
            option("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
        }
        Edit::Apply(_) => Ok(edit),
        _ if options.force.is_some() => {
            option("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch")
        }
        _ => Ok(edit),
    }
}

/// What a change led to.
pub(super) struct Written {
    pub(super) object: Arc<Value>,
    pub(super) created: bool,
    pub(super) warnings: Vec<String>,
}

/// Computes the change on the newest object and stores it, again if another writer was faster.
pub(super) async fn change(api: &Api, place: &Place, options: &WriteOptions, edit: &Edit) -> Result<Written, Status> {
    let key = place.key();
    let _turn = if *key.kind == kinds::SERVICE { Some(api.services.lock().await) } else { None };
    for _ in 0..ATTEMPTS_MAX {
        let Some(before) = api.store.get(&key) else {
            match edit {
                Edit::Apply(intent) if place.subresource.is_none() => {
                    drop(_turn);
                    return create_applied(api, place, options, intent).await;
                }
                _ => return Err(Status::not_found(key.kind, &key.name)),
            }
        };
        let Changed { mut after, warnings } = compute(place, options, edit, &before)?;
        if *key.kind == kinds::SERVICE && place.subresource.is_none() {
            services::allocate(api, Some(&before), &mut after, options.dry_run).await?;
        }
        if options.dry_run {
            return Ok(Written { object: Arc::new(after), created: false, warnings });
        }
        if let Some(object) = commit(api, &key, &before, after)? {
            controllers::finish_deletion(&api.store, &key);
            return Ok(Written { object, created: false, warnings });
        }
    }
    Err(stale(&key))
}

/// Stores the object, or nothing where it is no longer what the change was computed from.
fn commit(api: &Api, key: &Key, before: &Value, after: Value) -> Result<Option<Arc<Value>>, Status> {
    let mut current = true;
    let stored = api.store.update(key, |now| {
        current = object::resource_version(now) == object::resource_version(before)
            && object::uid(now) == object::uid(before);
        if current {
            *now = after;
        }
        Ok(())
    });
    match stored {
        Ok(object) if current => Ok(Some(object)),
        Ok(_) => Ok(None),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

async fn create_applied(api: &Api, place: &Place, options: &WriteOptions, intent: &Value) -> Result<Written, Status> {
    let key = place.key();
    let intent = check_intent(place, intent)?;
    let object = apply::apply(key.kind, None, &intent, &options.manager, options.force.unwrap_or(false))?;
    let object = create_object(api, place, object, options, Ownership::Keep).await?;
    let warnings = shape::warnings(key.kind, &object);
    Ok(Written { object, created: true, warnings })
}

/// An object as a change leaves it.
#[derive(Debug)]
struct Changed {
    after: Value,
    warnings: Vec<String>,
}

/// The change, as a pure function of the object before it.
fn compute(place: &Place, options: &WriteOptions, edit: &Edit, before: &Value) -> Result<Changed, Status> {
    let kind = place.kind;
    let mut applied = false;
    let mut after = match edit {
        Edit::Replace(object) => object.clone(),
        Edit::Merge(patch) => patch::merge(before, patch)?,
        Edit::Json(patch) => patch::json(before, patch)?,
        Edit::Strategic(patch) => patch::strategic(kind, before, patch)?,
        Edit::Apply(intent) => {
            applied = true;
            let intent = check_intent(place, intent)?;
            apply::apply(kind, Some(before), &intent, &options.manager, options.force.unwrap_or(false))?
        }
    };
    let unfit = |after: &Value, why: &str| match edit {
        // A strategic merge is decoded while it is applied, so it is the patch that is shown.
        Edit::Strategic(patch) => shape::patched_error(patch, why),
        _ => shape::patched_error(after, why),
    };
    body::check_kind(kind, &after).map_err(|(_, why)| unfit(&after, &why))?;
    body::complete(kind, &mut after);
    if let Some(why) = shape::type_mismatch(kind, &after) {
        return Err(unfit(&after, &why));
    }
    check_identity(place, edit, before, &after)?;
    let complaints = body::complaints(kind, &after);
    let mut warnings = options.validation.judge(complaints, |problems| match edit {
        Edit::Replace(_) => shape::strict_error(kind, problems),
        _ => unfit(&after, &format!("strict decoding error: {}", problems.join(", "))),
    })?;
    let after = settle(place, options, before, after, applied)?;
    warnings.extend(shape::warnings(kind, &after));
    Ok(Changed { after, warnings })
}

/// Checks names and versions that the change states against the object.
fn check_identity(place: &Place, edit: &Edit, before: &Value, after: &Value) -> Result<(), Status> {
    let key = place.key();
    let name = object::name(after);
    let given = |text: &str| !text.is_empty();
    if given(name) && name != key.name {
        return Err(misnamed(name, &key.name));
    }
    if place.namespace.is_some() {
        check_namespace(&key.namespace, after)?;
    }
    let (uid, had) = (object::uid(after), object::uid(before));
    if given(uid) && uid != had {
        return Err(match edit {
            Edit::Replace(_) => {
                let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {had}");
                Status::conflict(key.kind, &key.name, &why)
            }
            _ => {
                let message = format!("Invalid value: \"{uid}\": field is immutable");
                let cause = Cause { reason: "FieldValueInvalid", message, field: "metadata.uid".to_owned() };
                Status::invalid(key.kind, &key.name, &[cause])
            }
        });
    }
    let version = object::resource_version(after);
    if given(version) && version != object::resource_version(before) {
        return Err(stale(&key));
    }
    Ok(())
}

/// Keeps what a client cannot change, fills in defaults, checks, counts the generation and the owners.
fn settle(place: &Place, options: &WriteOptions, before: &Value, after: Value, applied: bool) -> Result<Value, Status> {
    let kind = place.kind;
    let mut after = match place.subresource.as_deref() {
        None | Some("scale") => whole(kind, before, after, applied),
        Some("finalize") => part(before, after, "spec"),
        Some(_) => part(before, after, "status"),
    };
    if is_whole(place) {
        shape::carry_over(kind, before, &mut after);
        shape::fill_defaults(kind, &mut after);
        if *kind == kinds::SERVICE {
            services::release_ports(before, &mut after);
        }
        shape::check_update(kind, before, &after)?;
        object::count_generation(kind, before, &mut after);
    }
    if applied || after == *before {
        return Ok(after);
    }
    apply::track_update(kind, Some(before), &mut after, &options.manager, place.subresource.as_deref());
    Ok(after)
}

/// Whether a change is one of the object itself: scaling is, too, only by another path.
fn is_whole(place: &Place) -> bool {
    matches!(place.subresource.as_deref(), None | Some("scale"))
}

/// The whole object, but with the server's own metadata and, where it is a subresource, the status of before.
fn whole(kind: &Kind, before: &Value, mut after: Value, applied: bool) -> Value {
    let kept = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
    ];
    // A single empty entry takes the owners out.
    let disowns = after["metadata"]["managedFields"] == serde_json::json!([{}]);
    let kept = kept.into_iter().chain((!applied && !disowns).then_some("managedFields"));
    for name in kept {
        match &before["metadata"][name] {
            Value::Null => take_metadata(&mut after, name),
            value => after["metadata"][name] = value.clone(),
        }
    }
    if kind.subresources.contains(&"status") {
        match &before["status"] {
            Value::Null => _ = after.as_object_mut().and_then(|fields| fields.remove("status")),
            status => after["status"] = status.clone(),
        }
    }
    after
}

/// The object of before with one part taken over.
fn part(before: &Value, mut after: Value, part: &str) -> Value {
    let mut object = before.clone();
    match after[part].take() {
        Value::Null => _ = object.as_object_mut().and_then(|fields| fields.remove(part)),
        value => object[part] = value,
    }
    object
}

/// What a client applies, with the name of the path.
fn check_intent(place: &Place, intent: &Value) -> Result<Value, Status> {
    let key = place.key();
    let name = object::name(intent);
    if !["", key.name.as_str()].contains(&name) {
        return Err(misnamed(name, &key.name));
    }
    if place.namespace.is_some() {
        check_namespace(&key.namespace, intent)?;
    }
    let mut intent = intent.clone();
    if !intent["metadata"].is_object() {
        intent["metadata"] = Value::Object(serde_json::Map::new());
    }
    intent["metadata"]["name"] = key.name.as_str().into();
    Ok(intent)
}

fn take_metadata(object: &mut Value, name: &str) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove(name);
    }
}

fn misnamed(name: &str, expected: &str) -> Status {
    Status::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({expected})"))
}

fn stale(key: &Key) -> Status {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    Status::conflict(key.kind, &key.name, why)
}
