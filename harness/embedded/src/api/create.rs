//! Create.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use crate::api::Api;
use crate::api::body;
use crate::api::options::WriteOptions;
use crate::api::place::Place;
use crate::api::respond::{self, Answer};
use crate::api::services;
use crate::api::view::View;
use crate::controllers;
use crate::kinds::{self, Kind};
use crate::object::{self, Key};
use crate::shape;
use crate::shape::apply::track_update;
use crate::status::{Cause, Status};
use crate::store::Store;

/// The longest part of `generateName` that stays.
const PREFIX_MAX: usize = 58;

/// How often a generated name may be taken before the client hears of it.
const NAME_ATTEMPTS: usize = 8;

/// `POST` to a collection.
pub(super) async fn create(
    api: &Api,
    place: &Place,
    headers: &HeaderMap,
    options: &WriteOptions,
    view: View,
    bytes: &[u8],
) -> Result<Answer, Status> {
    let kind = place.kind;
    let object = body::decode_object(kind, body::media_type(headers), bytes)?;
    let complaints = body::complaints(kind, &object);
    let mut warnings = options.validation.judge(complaints, |problems| shape::strict_error(kind, problems))?;
    if object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Status::internal("resourceVersion should not be set on objects to be created"));
    }
    let created = create_object(api, place, object, options, Ownership::Track).await?;
    warnings.extend(shape::warnings(kind, &created));
    let mut answer = respond::object(201, &view.one(kind, &created));
    respond::warn(answer.headers_mut(), &warnings);
    Ok(answer)
}

/// Where a new object's `managedFields` come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The manager of the options owns what it wrote.
    Track,
    /// They are right as they are: the object came out of an apply.
    Keep,
}

/// Adds an object by all rules of a create; under a dry run it is only computed.
pub(super) async fn create_object(
    api: &Api,
    place: &Place,
    mut object: Value,
    options: &WriteOptions,
    ownership: Ownership,
) -> Result<Arc<Value>, Status> {
    settle_namespace(&api.store, place, &mut object)?;
    let generated = object::name(&object).is_empty();
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    if generated && prefix.is_empty() {
        let message = "Required value: name or generateName is required".to_owned();
        let cause = Cause { reason: "FieldValueRequired", message, field: "metadata.name".to_owned() };
        return Err(Status::invalid(place.kind, "", &[cause]));
    }
    let mut attempts = if generated { NAME_ATTEMPTS } else { 1 };
    loop {
        let mut candidate = object.clone();
        if generated {
            candidate["metadata"]["name"] = generate_name(api, &prefix).into();
        }
        attempts -= 1;
        match add(api, place.kind, candidate, options, ownership).await {
            Err(status) if status.reason == "AlreadyExists" && attempts > 0 => {}
            result => return result,
        }
    }
}

async fn add(
    api: &Api,
    kind: &'static Kind,
    mut object: Value,
    options: &WriteOptions,
    ownership: Ownership,
) -> Result<Arc<Value>, Status> {
    let store = if options.dry_run { &api.store.fork() } else { &api.store };
    begin(kind, &mut object, ownership);
    shape::fill_defaults(kind, &mut object);
    // The name is checked again when the object is added; here it saves a port from being reserved in vain.
    let key = Key::of(kind, &object);
    if let Some(existing) = store.get(&key) {
        return Err(taken(&key, &existing));
    }
    if ownership == Ownership::Track {
        track_update(kind, None, &mut object, &options.manager, None);
    }
    shape::prepare_create(kind, &mut object);
    shape::check_create(kind, &object)?;
    let _turn = if *kind == kinds::SERVICE { Some(api.services.lock().await) } else { None };
    if *kind == kinds::SERVICE {
        services::allocate(api, None, &mut object, options.dry_run).await?;
    }
    let created = store.create(kind, object)?;
    if !options.dry_run {
        return Ok(created);
    }
    let mut created = Value::clone(&created);
    if let Some(metadata) = created["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Arc::new(created))
}

fn taken(key: &Key, existing: &Value) -> Status {
    let mut status = Status::already_exists(key.kind, &key.name);
    if object::is_terminating(existing) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Takes out what only the server sets.
fn begin(kind: &'static Kind, object: &mut Value, ownership: Ownership) {
    // A node reports its own status in the very request that adds it.
    if kind.subresources.contains(&"status")
        && *kind != kinds::NODE
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let set_here = [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
            "resourceVersion",
        ];
        metadata.retain(|name, _| {
            !set_here.contains(&name.as_str()) && (name != "managedFields" || ownership == Ownership::Keep)
        });
    }
    if *kind == kinds::NAMESPACE {
        let name = object::name(object).to_owned();
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    }
}

/// Puts the namespace of the path into the object, and sees that it exists and stays.
fn settle_namespace(store: &Store, place: &Place, object: &mut Value) -> Result<(), Status> {
    let Some(namespace) = &place.namespace else {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        return Ok(());
    };
    check_namespace(namespace, object)?;
    object["metadata"]["namespace"] = namespace.as_str().into();
    if store.get(&Key::new(&kinds::NAMESPACE, "", namespace)).is_none() {
        return Err(Status::not_found(&kinds::NAMESPACE, namespace));
    }
    controllers::check_namespace_open(store, &Key::of(place.kind, object))
}

/// 400 where the object names another namespace than the path.
pub(super) fn check_namespace(namespace: &str, object: &Value) -> Result<(), Status> {
    if ["", namespace].contains(&object::namespace(object)) {
        return Ok(());
    }
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    Err(Status::bad_request(message))
}

fn generate_name(api: &Api, prefix: &str) -> String {
    let mut name: String = prefix.chars().take(PREFIX_MAX).collect();
    name.push_str(&api.with_random(controllers::name_suffix));
    name
}
