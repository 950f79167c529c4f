//! Refusals and their bodies.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::objects::{IDLE, config_map, container, deployment, pod_spec, service};
use crate::place::{Outcome, Place, is, refused};

/// What is not there is told by kind and name.
pub(crate) async fn absent_objects_are_not_found(place: Place) -> Outcome {
    let status = refused(place.api::<ConfigMap>().get("none").await, 404, "NotFound")?;
    is("message", status.message.as_str(), "configmaps \"none\" not found")?;
    let about = status.details.map(|details| (details.name, details.kind));
    is("details", about, Some(("none".to_owned(), "configmaps".to_owned())))?;
    let status = refused(place.api::<Deployment>().get("none").await, 404, "NotFound")?;
    is("message", status.message.as_str(), "deployments.apps \"none\" not found")?;
    refused(place.merge::<ConfigMap>("none", json!({ "data": {} })).await, 404, "NotFound")?;
    Ok(())
}

/// A name is taken once.
pub(crate) async fn a_second_create_already_exists(place: Place) -> Outcome {
    let object: ConfigMap = place.make(config_map("one", json!({}))).await?;
    let mut again = object.clone();
    again.metadata.resource_version = None;
    again.metadata.uid = None;
    let status = refused(place.api().create(&PostParams::default(), &again).await, 409, "AlreadyExists")?;
    is("message", status.message.as_str(), "configmaps \"one\" already exists")
}

/// An invalid object is refused with a cause for each field.
pub(crate) async fn an_invalid_object_names_its_fields(place: Place) -> Outcome {
    let mut wrong = deployment("one", 1, pod_spec(container(&place, IDLE)));
    wrong["spec"]["template"]["metadata"]["labels"] = json!({ "app": "another" });
    let wrong: Deployment = serde_json::from_value(wrong)?;
    let status = refused(place.api().create(&PostParams::default(), &wrong).await, 422, "Invalid")?;
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    is("field", causes.first().map(|cause| cause.field.as_str()), Some("spec.template.metadata.labels"))?;
    let bad: ConfigMap = serde_json::from_value(config_map("Not_A_Name", json!({})))?;
    let status = refused(place.api().create(&PostParams::default(), &bad).await, 422, "Invalid")?;
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    is("field", causes.first().map(|cause| cause.field.as_str()), Some("metadata.name"))
}

/// A misspelt field is refused where strictness is asked for, as kubectl asks.
pub(crate) async fn strict_validation_refuses_unknown_fields(place: Place) -> Outcome {
    let uri = format!("/api/v1/namespaces/{}/configmaps?fieldValidation=Strict", place.namespace);
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "dta": {} });
    let request =
        http::Request::post(uri).header("content-type", "application/json").body(body.to_string().into_bytes())?;
    let status = refused(place.client.request::<ConfigMap>(request).await, 400, "BadRequest")?;
    is("the field is named", status.message.contains("unknown field \"dta\""), true)
}

/// What must not change cannot be changed.
pub(crate) async fn immutable_fields_stay(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 0, pod_spec(container(&place, IDLE)))).await?;
    let patch = json!({ "spec": { "selector": { "matchLabels": { "app": "other" } },
        "template": { "metadata": { "labels": { "app": "other" } } } } });
    let status = refused(place.merge::<Deployment>("one", patch).await, 422, "Invalid")?;
    is("it says so", status.message.contains("field is immutable"), true)?;
    let made: Service = place.make(service("one")).await?;
    let address = made.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
    is("the Service has an address", address.is_empty(), false)?;
    let patched = place.merge::<Service>("one", json!({ "spec": { "clusterIP": "10.255.255.254" } })).await;
    refused(patched, 422, "Invalid")?;
    Ok(())
}

/// `generateName` is completed by the server, and each time differently.
pub(crate) async fn names_are_generated(place: Place) -> Outcome {
    let object = json!({ "metadata": { "generateName": "one-" } });
    let first: ConfigMap = place.make(object.clone()).await?;
    let second: ConfigMap = place.make(object).await?;
    for name in [first.name_any(), second.name_any()] {
        is(&name, (name.starts_with("one-"), name.len()), (true, "one-".len() + 5))?;
    }
    is("they differ", first.name_any() != second.name_any(), true)
}

/// Nothing is created in a namespace that is not there.
pub(crate) async fn a_namespace_that_is_not_there_takes_nothing(place: Place) -> Outcome {
    let nowhere = format!("{}-not", place.namespace);
    let api: Api<ConfigMap> = Api::namespaced(place.client.clone(), &nowhere);
    let object: ConfigMap = serde_json::from_value(config_map("one", json!({})))?;
    let status = refused(api.create(&PostParams::default(), &object).await, 404, "NotFound")?;
    is("message", status.message, format!("namespaces \"{nowhere}\" not found"))?;
    let listed = api.list(&kube::api::ListParams::default()).await?;
    is("a list there is empty", listed.items.len(), 0)
}
