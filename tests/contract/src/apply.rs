//! Server-side apply.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, applied, config_map, container, deployment, pod_spec};
use crate::place::{Outcome, Place, is, manager, refused};

fn map(data: Value) -> Value {
    applied("v1", "ConfigMap", config_map("one", data))
}

/// Applying makes what is not there, and the same again changes nothing.
pub(crate) async fn apply_creates_and_is_idempotent(place: Place) -> Outcome {
    let once: ConfigMap = place.apply("one", "first", map(json!({ "a": "1" }))).await?;
    let twice: ConfigMap = place.apply("one", "first", map(json!({ "a": "1" }))).await?;
    is("version", twice.resource_version(), once.resource_version())?;
    let managers: Vec<_> = twice.managed_fields().iter().map(|entry| (&entry.manager, &entry.operation)).collect();
    is("managers", managers, vec![(&Some("first".to_owned()), &Some("Apply".to_owned()))])
}

/// Another manager's value is a conflict that names both.
pub(crate) async fn a_conflict_names_manager_and_field(place: Place) -> Outcome {
    place.apply::<ConfigMap>("one", "first", map(json!({ "a": "1" }))).await?;
    let status = refused(place.apply::<ConfigMap>("one", "second", map(json!({ "a": "2" }))).await, 409, "Conflict")?;
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let told: Vec<_> = causes.iter().map(|cause| (cause.reason.as_str(), cause.field.as_str())).collect();
    is("causes", told, vec![("FieldManagerConflict", ".data.a")])?;
    is("the manager is named", causes[0].message.contains("\"first\""), true)?;
    let now: ConfigMap = place.api().get("one").await?;
    is("data", json!(now.data), json!({ "a": "1" }))
}

/// With force the field changes hands, and the first manager's next apply conflicts.
pub(crate) async fn force_takes_ownership(place: Place) -> Outcome {
    place.apply::<ConfigMap>("one", "first", map(json!({ "a": "1" }))).await?;
    let force = PatchParams::apply("second").force();
    let taken: ConfigMap = place.api().patch("one", &force, &Patch::Apply(map(json!({ "a": "2" })))).await?;
    is("data", json!(taken.data), json!({ "a": "2" }))?;
    refused(place.apply::<ConfigMap>("one", "first", map(json!({ "a": "1" }))).await, 409, "Conflict")?;
    Ok(())
}

/// What its only manager applies no longer is removed.
pub(crate) async fn a_field_no_longer_applied_goes(place: Place) -> Outcome {
    place.apply::<ConfigMap>("one", "first", map(json!({ "a": "1", "b": "2" }))).await?;
    let less: ConfigMap = place.apply("one", "first", map(json!({ "a": "1" }))).await?;
    is("data", json!(less.data), json!({ "a": "1" }))
}

/// Two managers may hold the same value; it goes when the last of them lets go.
pub(crate) async fn the_same_value_is_shared(place: Place) -> Outcome {
    place.apply::<ConfigMap>("one", "first", map(json!({ "a": "1", "b": "2" }))).await?;
    place.apply::<ConfigMap>("one", "second", map(json!({ "a": "1" }))).await?;
    let held: ConfigMap = place.apply("one", "first", map(json!({ "b": "2" }))).await?;
    is("still held by the second", json!(held.data), json!({ "a": "1", "b": "2" }))?;
    let free: ConfigMap = place.apply("one", "second", map(json!({}))).await?;
    is("held by nobody", json!(free.data), json!({ "b": "2" }))
}

/// Entries of keyed lists belong to whoever applied them.
pub(crate) async fn lists_are_merged_by_key(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["env"] = json!([{ "name": "A", "value": "1" }]);
    let whole = applied("apps/v1", "Deployment", deployment("one", 0, pod_spec(main)));
    place.apply::<Deployment>("one", "first", whole).await?;
    let part = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "spec": { "template": { "spec": { "containers": [
            { "name": "main", "env": [{ "name": "B", "value": "2" }] },
        ] } } },
    });
    let both: Deployment = place.apply("one", "second", part).await?;
    is("variables of both", env_names(&both)?, vec!["A".to_owned(), "B".to_owned()])?;
    let nothing = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "spec": { "template": { "spec": { "containers": [{ "name": "main" }] } } },
    });
    let one: Deployment = place.apply("one", "second", nothing).await?;
    is("variables of the first", env_names(&one)?, vec!["A".to_owned()])
}

/// Without a manager nothing is applied, and force is for apply alone.
pub(crate) async fn apply_needs_a_manager(place: Place) -> Outcome {
    let uri = format!("/api/v1/namespaces/{}/configmaps/one", place.namespace);
    let request = http::Request::patch(uri)
        .header("content-type", "application/apply-patch+yaml")
        .body(map(json!({ "a": "1" })).to_string().into_bytes())?;
    let status = place.client.request::<ConfigMap>(request).await;
    is("the code without a manager", code(&status), Some(422))?;
    place.make::<ConfigMap>(config_map("two", json!({ "a": "1" }))).await?;
    let uri = format!("/api/v1/namespaces/{}/configmaps/two?force=true", place.namespace);
    let request = http::Request::patch(uri)
        .header("content-type", "application/merge-patch+json")
        .body(json!({ "data": { "a": "2" } }).to_string().into_bytes())?;
    let status = place.client.request::<ConfigMap>(request).await;
    is("the code of a forced merge patch", code(&status), Some(422))?;
    let _: ConfigMap = place.api().patch("two", &manager("third"), &Patch::Merge(json!({ "data": {} }))).await?;
    Ok(())
}

fn code<T>(result: &Result<T, kube::Error>) -> Option<u16> {
    match result {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

fn env_names(deployment: &Deployment) -> anyhow::Result<Vec<String>> {
    let value = serde_json::to_value(deployment)?;
    let env = value["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<_> = env.iter().filter_map(|one| one["name"].as_str()).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}
