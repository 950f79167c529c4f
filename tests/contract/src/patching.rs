//! Patches and updates.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, config_map, container, deployment, pod_spec, script_pod};
use crate::place::{Outcome, Place, is, manager, refused};

fn data(map: &ConfigMap) -> Value {
    json!(map.data)
}

/// A null in a merge patch removes its key and leaves the others.
pub(crate) async fn merge_patch_removes_a_null(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("one", json!({ "a": "1", "b": "2" }))).await?;
    let patched: ConfigMap = place.merge("one", json!({ "data": { "a": null, "c": "3" } })).await?;
    is("data", data(&patched), json!({ "b": "2", "c": "3" }))
}

/// A list in a merge patch replaces the whole list.
pub(crate) async fn merge_patch_replaces_lists(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 0, pod_spec(container(&place, IDLE)))).await?;
    let other = json!([{ "name": "other", "image": place.image }]);
    let patch = json!({ "spec": { "template": { "spec": { "containers": other } } } });
    let patched: Deployment = place.merge("one", patch).await?;
    is("containers", container_names(&patched), vec!["other".to_owned()])
}

/// A strategic merge patch finds containers by their name, and leaves the rest of them alone.
pub(crate) async fn strategic_patch_merges_containers_by_name(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["env"] = json!([{ "name": "A", "value": "1" }]);
    place.make::<Deployment>(deployment("one", 0, pod_spec(main))).await?;
    let env = json!([{ "name": "B", "value": "2" }]);
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "env": env }] } } } });
    let patched: Deployment = place.strategic("one", patch).await?;
    is("containers", container_names(&patched), vec!["main".to_owned()])?;
    let main = serde_json::to_value(&patched)?["spec"]["template"]["spec"]["containers"][0].clone();
    is("the image that nobody patched", main["image"].clone(), json!(place.image))?;
    let mut names: Vec<_> = main["env"].as_array().into_iter().flatten().map(|one| one["name"].to_string()).collect();
    names.sort();
    is("variables", names, vec!["\"A\"".to_owned(), "\"B\"".to_owned()])
}

/// `$patch: delete` removes the entry with that key.
pub(crate) async fn strategic_patch_deletes_by_directive(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["env"] = json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }]);
    place.make::<Deployment>(deployment("one", 0, pod_spec(main))).await?;
    let patch = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "main", "env": [{ "name": "A", "$patch": "delete" }] },
    ] } } } });
    let patched: Deployment = place.strategic("one", patch).await?;
    let env = serde_json::to_value(&patched)?["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    is("environment", env, json!([{ "name": "B", "value": "2" }]))
}

/// A JSON patch adds, replaces and removes at paths.
pub(crate) async fn json_patch_adds_replaces_and_removes(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("one", json!({ "a": "1", "b": "2" }))).await?;
    let patched = json_patch(
        &place,
        "one",
        json!([
            { "op": "test", "path": "/data/a", "value": "1" },
            { "op": "replace", "path": "/data/a", "value": "3" },
            { "op": "remove", "path": "/data/b" },
            { "op": "add", "path": "/data/c", "value": "4" },
        ]),
    )
    .await?;
    is("data", data(&patched), json!({ "a": "3", "c": "4" }))
}

/// A JSON patch is carried out wholly or not at all.
pub(crate) async fn json_patch_whose_test_fails_changes_nothing(place: Place) -> Outcome {
    let made: ConfigMap = place.make(config_map("one", json!({ "a": "1" }))).await?;
    let patch = json!([
        { "op": "replace", "path": "/data/a", "value": "3" },
        { "op": "test", "path": "/data/a", "value": "1" },
    ]);
    refused(json_patch(&place, "one", patch).await, 422, "Invalid")?;
    let now: ConfigMap = place.api().get("one").await?;
    is("version", now.resource_version(), made.resource_version())?;
    is("data", data(&now), json!({ "a": "1" }))
}

/// A write that changes nothing keeps the resourceVersion.
pub(crate) async fn a_write_without_a_change_keeps_the_version(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("one", json!({ "a": "1" }))).await?;
    let once: ConfigMap = place.merge("one", json!({ "data": { "a": "2" } })).await?;
    let twice: ConfigMap = place.merge("one", json!({ "data": { "a": "2" } })).await?;
    is("version", twice.resource_version(), once.resource_version())
}

/// A write that names an old resourceVersion conflicts, as an update and as a patch.
pub(crate) async fn a_stale_version_conflicts(place: Place) -> Outcome {
    let mut old: ConfigMap = place.make(config_map("one", json!({ "a": "1" }))).await?;
    place.merge::<ConfigMap>("one", json!({ "data": { "a": "2" } })).await?;
    old.metadata.managed_fields = None;
    let stale = json!({ "metadata": { "resourceVersion": old.resource_version() }, "data": { "a": "3" } });
    refused(place.merge::<ConfigMap>("one", stale).await, 409, "Conflict")?;
    refused(place.api().replace("one", &PostParams::default(), &old).await, 409, "Conflict")?;
    Ok(())
}

/// A dry run answers with what would be, and stores nothing.
pub(crate) async fn dry_run_changes_nothing(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("one", json!({ "a": "1" }))).await?;
    let dry = PatchParams { dry_run: true, ..manager("contract") };
    let patch = Patch::Merge(json!({ "data": { "a": "2" } }));
    let answered: ConfigMap = place.api().patch("one", &dry, &patch).await?;
    is("the answer", data(&answered), json!({ "a": "2" }))?;
    let stored: ConfigMap = place.api().get("one").await?;
    is("what is stored", data(&stored), json!({ "a": "1" }))
}

/// Replicas are read and set through `scale`.
pub(crate) async fn scale_goes_through_its_subresource(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(container(&place, IDLE)))).await?;
    let api = place.api::<Deployment>();
    let patch = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    let scale = api.patch_scale("one", &PatchParams::default(), &patch).await?;
    is("the scale", scale.spec.and_then(|spec| spec.replicas), Some(2))?;
    let now = api.get("one").await?;
    is("the object", now.spec.and_then(|spec| spec.replicas), Some(2))?;
    let selector = api.get_scale("one").await?.status.and_then(|status| status.selector);
    is("the selector", selector, Some("app=one".to_owned()))
}

/// A status in a write of the object is ignored.
pub(crate) async fn status_is_not_written_through_the_object(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    let patch = json!({ "metadata": { "labels": { "seen": "yes" } }, "status": { "phase": "Failed" } });
    let patched: Pod = place.merge("one", patch).await?;
    is("the label", patched.labels().get("seen").map(String::as_str), Some("yes"))?;
    is("the phase", patched.status.and_then(|status| status.phase), Some("Running".to_owned()))
}

/// An annotation of a Deployment counts its generation up, a label does not.
pub(crate) async fn annotations_count_as_a_generation_of_a_deployment(place: Place) -> Outcome {
    let made: Deployment = place.make(deployment("one", 0, pod_spec(container(&place, IDLE)))).await?;
    let generation = made.metadata.generation.unwrap_or_default();
    let labelled: Deployment = place.merge("one", json!({ "metadata": { "labels": { "x": "1" } } })).await?;
    is("after a label", labelled.metadata.generation, Some(generation))?;
    let annotated: Deployment = place.merge("one", json!({ "metadata": { "annotations": { "x": "1" } } })).await?;
    is("after an annotation", annotated.metadata.generation, Some(generation + 1))
}

async fn json_patch(place: &Place, name: &str, operations: Value) -> Result<ConfigMap, kube::Error> {
    // The client's own patch type would need its library; the body is the same JSON.
    let uri = format!("/api/v1/namespaces/{}/configmaps/{name}?fieldManager=contract", place.namespace);
    let request = http::Request::patch(uri)
        .header("content-type", "application/json-patch+json")
        .body(operations.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    place.client.request(request).await
}

fn container_names(deployment: &Deployment) -> Vec<String> {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    template.iter().flat_map(|spec| &spec.containers).map(|container| container.name.clone()).collect()
}
