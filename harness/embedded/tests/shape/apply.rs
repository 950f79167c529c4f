//! Server-side apply: cases 304, 305 and 306.

use embedded_cluster::kinds::{CONFIG_MAP, DEPLOYMENT, Kind, POD};
use embedded_cluster::shape::{self, apply, patch};
use embedded_cluster::status::Status;
use serde_json::{Value, json};

use crate::{recorded, timeless};

#[test]
fn creating_updating_and_giving_up_fields_goes_as_recorded() {
    replay("304-apply.json", &DEPLOYMENT);
}

#[test]
fn conflicts_and_shared_fields_go_as_recorded() {
    replay("305-conflict.json", &CONFIG_MAP);
}

#[test]
fn lists_go_as_recorded() {
    replay("306-lists.json", &DEPLOYMENT);
}

/// Takes every step in turn; an answer with the resource version of the step before must
/// leave the object as it was, in every byte.
fn replay(name: &str, kind: &'static Kind) {
    let mut current: Option<Value> = None;
    for (index, row) in recorded(name).into_iter().enumerate() {
        let place = format!("{name} step {index} {}", row["note"]);
        let new = match step(kind, current.as_ref(), &row) {
            Ok(new) => new,
            Err(status) => {
                assert_eq!(row["code"], status.code, "{place}: {}", status.message);
                assert_eq!(row["message"], status.message, "{place}");
                if row["causes"].is_array() {
                    assert_eq!(row["causes"], status.details["causes"], "{place}");
                }
                continue;
            }
        };
        assert!([200, 201].contains(&row["code"].as_u64().unwrap()), "{place}: wanted {}", row["message"]);
        assert_eq!(timeless(&new["metadata"]["managedFields"]), managers(&row), "{place}");
        for part in ["spec", "data"] {
            if !row[part].is_null() {
                assert_eq!(new[part], row[part], "{place}");
            }
        }
        let mut new = new;
        if let Some(before) = &current {
            let is_noop = before["metadata"]["resourceVersion"] == row["version"];
            assert_eq!(is_noop, new == *before, "{place}");
        }
        new["metadata"]["resourceVersion"] = row["version"].clone();
        current = Some(new);
    }
}

fn managers(row: &Value) -> Value {
    match row["managers"].as_array() {
        Some(entries) if !entries.is_empty() => row["managers"].clone(),
        _ => Value::Null,
    }
}

fn step(kind: &'static Kind, current: Option<&Value>, row: &Value) -> Result<Value, Status> {
    let manager = row["manager"].as_str().unwrap();
    let body = &row["body"];
    let mut subresource = None;
    let (before, mut after) = match row["how"].as_str().unwrap() {
        "apply" => return apply::apply(kind, current, body, manager, row["force"] == true),
        "post" => (None, body.clone()),
        "put" => (current, body.clone()),
        "merge" => (current, patch::merge(current.unwrap(), body)?),
        "controller" => {
            subresource = Some("status");
            (current, patch::merge(current.unwrap(), body)?)
        }
        other => panic!("unknown step {other}"),
    };
    if let Some(before) = before {
        shape::carry_over(kind, before, &mut after);
    }
    shape::fill_defaults(kind, &mut after);
    apply::track_update(kind, before, &mut after, manager, subresource);
    Ok(after)
}

#[test]
fn a_status_writer_gets_an_entry_of_its_own() {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    shape::fill_defaults(&POD, &mut pod);
    apply::track_update(&POD, None, &mut pod, "maker", None);
    let owned = pod["metadata"]["managedFields"][0]["fieldsV1"].clone();
    shape::prepare_create(&POD, &mut pod);

    let before = pod.clone();
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastProbeTime": null}]);
    pod["status"]["podIPs"] = json!([{"ip": "10.244.0.84"}]);
    apply::track_update(&POD, Some(&before), &mut pod, "kubelet", Some("status"));

    let wanted = json!([
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
         "subresource": "status", "fieldsV1": {"f:status": {
            "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {
                ".": {}, "f:lastProbeTime": {}, "f:status": {}, "f:type": {}}},
            "f:podIPs": {".": {}, "k:{\"ip\":\"10.244.0.84\"}": {".": {}, "f:ip": {}}}}}},
        {"manager": "maker", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": owned},
    ]);
    assert_eq!(timeless(&pod["metadata"]["managedFields"]), wanted);
}

#[test]
fn an_object_made_without_managers_belongs_to_before_first_apply() {
    let current = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}});
    let intent =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let other = apply::apply(&CONFIG_MAP, Some(&current), &intent(json!({"a": "2"})), "one", false).unwrap_err();
    let wanted = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a";
    assert_eq!((other.code, other.message.as_str()), (409, wanted));

    let same = apply::apply(&CONFIG_MAP, Some(&current), &intent(json!({"a": "1"})), "one", false).unwrap();
    let names: Vec<_> =
        same["metadata"]["managedFields"].as_array().unwrap().iter().map(|one| &one["manager"]).collect();
    assert_eq!(names, ["one", "before-first-apply"]);
}

#[test]
fn an_update_of_an_object_without_managers_adds_none() {
    let before = json!({"metadata": {"name": "a"}, "data": {"a": "1"}});
    let mut after = json!({"metadata": {"name": "a"}, "data": {"a": "2"}});
    apply::track_update(&CONFIG_MAP, Some(&before), &mut after, "rec", None);
    assert!(after["metadata"].get("managedFields").is_none());
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut current = json!({"metadata": {"name": "a"}, "data": {"a": "1", "b": "1"}});
    shape::fill_defaults(&CONFIG_MAP, &mut current);
    apply::track_update(&CONFIG_MAP, None, &mut current, "maker", None);
    let mut intent = current.clone();
    intent["metadata"] = json!({"name": "a"});
    intent["data"] = json!({"a": "2", "b": "2"});
    let status = apply::apply(&CONFIG_MAP, Some(&current), &intent, "one", false).unwrap_err();
    let wanted = "Apply failed with 2 conflicts: conflicts with \"maker\" using v1:\n- .data.a\n- .data.b";
    assert_eq!(status.message, wanted);
    assert_eq!(status.details["causes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn quantities_written_differently_are_no_change() {
    let intent = |cpu: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu, "memory": "1024Mi"}}}]}})
    };
    let current = apply::apply(&POD, None, &intent(json!("500m")), "one", false).unwrap();
    assert_eq!(current["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(apply::apply(&POD, Some(&current), &intent(json!(0.5)), "one", false).unwrap(), current);
}

#[test]
fn intents_that_make_no_sense_are_refused() {
    let apply = |intent: Value| apply::apply(&DEPLOYMENT, None, &intent, "one", false).unwrap_err();
    let with =
        |spec: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
    let frame = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): ";
    let containers = |list: Value| with(json!({"template": {"spec": {"containers": list}}}));
    for (intent, code, message) in [
        (
            with(json!({"a": 1, "b": 2})),
            500,
            format!("{frame}errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema"),
        ),
        (
            containers(json!([{"image": "x"}])),
            500,
            format!(
                "{frame}.spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
            ),
        ),
        (
            with(json!({"replicas": "x"})),
            500,
            format!(
                "{frame}json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
            ),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "d"}}),
            400,
            "invalid object type: /v1, Kind=Pod".to_owned(),
        ),
    ] {
        let status = apply(intent);
        assert_eq!((status.code, status.message), (code, message));
    }
}
