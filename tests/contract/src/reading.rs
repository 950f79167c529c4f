//! Getting and listing.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::objects::{IDLE, config_map, script_pod};
use crate::place::{Outcome, Place, is};

async fn names(place: &Place, parameters: ListParams) -> anyhow::Result<Vec<String>> {
    let listed = place.api::<ConfigMap>().list(&parameters).await?;
    // Clusters put ConfigMaps of their own into each namespace.
    let mut names: Vec<_> = listed.iter().map(ResourceExt::name_any).filter(|name| name.starts_with("my-")).collect();
    names.sort();
    Ok(names)
}

/// Labels choose by equality, by sets and by presence.
pub(crate) async fn label_selectors_choose(place: Place) -> Outcome {
    for (name, labels) in [("my-a", json!({ "x": "1" })), ("my-b", json!({ "x": "2" })), ("my-c", json!({ "y": "1" }))]
    {
        place.make::<ConfigMap>(json!({ "metadata": { "name": name, "labels": labels } })).await?;
    }
    for (selector, expected) in [
        ("x=1", vec!["my-a"]),
        ("x==2", vec!["my-b"]),
        ("x in (1,2)", vec!["my-a", "my-b"]),
        ("x", vec!["my-a", "my-b"]),
        ("x,x!=1", vec!["my-b"]),
        ("x=1,y=1", vec![]),
    ] {
        let found = names(&place, ListParams::default().labels(selector)).await?;
        is(selector, found, expected.into_iter().map(str::to_owned).collect())?;
    }
    let absent = names(&place, ListParams::default().labels("!x")).await?;
    is("!x", absent, vec!["my-c".to_owned()])
}

/// Fields choose by name, and pods by phase.
pub(crate) async fn field_selectors_choose(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("my-a", json!({}))).await?;
    place.make::<ConfigMap>(config_map("my-b", json!({}))).await?;
    let found = names(&place, ListParams::default().fields("metadata.name=my-b")).await?;
    is("by name", found, vec!["my-b".to_owned()])?;
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    let pods = place.api::<Pod>();
    for (phase, count) in [("Running", 1), ("Failed", 0)] {
        let listed = pods.list(&ListParams::default().fields(&format!("status.phase={phase}"))).await?;
        is(phase, listed.items.len(), count)?;
    }
    Ok(())
}

/// A limited list goes on where its token says.
pub(crate) async fn lists_come_in_pages(place: Place) -> Outcome {
    for index in 0..5 {
        let labels = json!({ "of": "mine" });
        place.make::<ConfigMap>(json!({ "metadata": { "name": format!("my-{index}"), "labels": labels } })).await?;
    }
    let mut seen = Vec::new();
    let mut parameters = ListParams::default().labels("of=mine").limit(2);
    for page in [2, 2, 1] {
        let listed = place.api::<ConfigMap>().list(&parameters).await?;
        is("objects on a page", listed.items.len(), page)?;
        seen.extend(listed.iter().map(ResourceExt::name_any));
        let token = listed.metadata.continue_.unwrap_or_default();
        is("there is more", !token.is_empty(), page == 2)?;
        parameters = ListParams::default().labels("of=mine").limit(2).continue_token(&token);
    }
    is("all of them", seen, (0..5).map(|index| format!("my-{index}")).collect())
}

/// Each write has a later version, and an object keeps its uid.
pub(crate) async fn versions_grow(place: Place) -> Outcome {
    let first: ConfigMap = place.make(config_map("one", json!({ "a": "1" }))).await?;
    let second: ConfigMap = place.merge("one", json!({ "data": { "a": "2" } })).await?;
    is("uid", second.uid(), first.uid())?;
    is("versions differ", second.resource_version() != first.resource_version(), true)?;
    place.api::<ConfigMap>().delete("one", &kube::api::DeleteParams::default()).await?;
    place.gone::<ConfigMap>("one").await?;
    let again: ConfigMap = place.make(config_map("one", json!({}))).await?;
    is("a new object has a new uid", again.uid() != first.uid(), true)
}

/// The columns of `kubectl get` come from the server.
pub(crate) async fn tables_are_made_by_the_server(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    let request = http::Request::get(format!("/api/v1/namespaces/{}/pods", place.namespace))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(Vec::new())?;
    let table: Value = place.client.request(request).await?;
    is("kind", table["kind"].clone(), json!("Table"))?;
    let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let wide = |column: &&Value| column["priority"] == 0;
    let names: Vec<_> = columns.iter().filter(wide).map(|column| column["name"].clone()).collect();
    is("columns", json!(names), json!(["Name", "Ready", "Status", "Restarts", "Age"]))?;
    let cells = table["rows"][0]["cells"].as_array().cloned().unwrap_or_default();
    is("cells", json!(cells.get(..3)), json!(["one", "1/1", "Running"]))
}

/// A list says from which version a watch goes on.
pub(crate) async fn a_list_has_a_version_to_watch_from(place: Place) -> Outcome {
    let made: ConfigMap = place.make(config_map("my-a", json!({}))).await?;
    let listed = place.api::<ConfigMap>().list(&ListParams::default()).await?;
    let of_list: u64 = listed.metadata.resource_version.unwrap_or_default().parse()?;
    let of_object: u64 = made.resource_version().unwrap_or_default().parse()?;
    is("the list is not older than what it shows", of_list >= of_object, true)
}

/// Texts of a Secret are stored as bytes and read in base64.
pub(crate) async fn secrets_are_base64(place: Place) -> Outcome {
    let object = json!({ "metadata": { "name": "one" }, "stringData": { "key": "value" } });
    let made: Secret = place.make(object).await?;
    is("type", made.type_.as_deref(), Some("Opaque"))?;
    let raw: Value = place
        .client
        .request(http::Request::get(format!("/api/v1/namespaces/{}/secrets/one", place.namespace)).body(Vec::new())?)
        .await?;
    is("data", raw["data"].clone(), json!({ "key": "dmFsdWU=" }))?;
    is("no text is kept", raw.get("stringData").is_none(), true)
}
