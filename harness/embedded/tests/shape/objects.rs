//! Defaults, validation and unknown fields: cases 202, 208, 209 and 210.

use embedded_cluster::shape::{self, apply};
use serde_json::{Value, json};

use crate::{kind_at, kind_of, outcome, recorded, timeless};

#[test]
fn new_objects_are_filled_in_as_recorded() {
    for row in recorded("202-defaults.json") {
        let kind = kind_of(&row["given"]);
        let mut object = row["given"].clone();
        assert_eq!(shape::unknown_fields(kind, &object), Vec::<String>::new());
        shape::fill_defaults(kind, &mut object);
        apply::track_update(kind, None, &mut object, "rec", None);
        shape::prepare_create(kind, &mut object);
        let mut stored = row["stored"].clone();
        object["metadata"]["managedFields"] = timeless(&object["metadata"]["managedFields"]);
        assert_eq!(pretty(&object), pretty(&stored), "{}", kind.kind);

        // Filling in again, and taking the stored object for the given one, change nothing.
        shape::fill_defaults(kind, &mut stored);
        assert_eq!(object, stored, "{}", kind.kind);
        assert_eq!(shape::check_create(kind, &stored), Ok(()), "{}", kind.kind);
    }
}

#[test]
fn invalid_objects_are_refused_as_recorded() {
    for row in recorded("208-errors.json") {
        let kind = kind_of(&row["given"]);
        let mut object = row["given"].clone();
        shape::fill_defaults(kind, &mut object);
        let checked = shape::check_create(kind, &object);
        let causes = checked.as_ref().err().map_or(Value::Null, |status| status.details["causes"].clone());
        let (code, message) = outcome(checked);
        match row["note"].as_str().unwrap() {
            // The allocator of addresses says so, not the shape.
            "IP outside of the range" => continue,
            "duplicate container names" => {
                let recorded = &row["causes"][0];
                let ours = json!({"reason": "FieldValueForbidden", "field": "spec.template.spec.containers", "message":
                    "Forbidden: not supported by the embedded cluster: the embedded cluster runs one container a pod"});
                assert_eq!(causes, json!([recorded, ours]));
                continue;
            }
            _ => {}
        }
        let wanted = if row["code"] == 201 { 200 } else { row["code"].as_u64().unwrap() };
        assert_eq!((code, message.as_str()), (wanted, row["message"].as_str().unwrap_or_default()), "{}", row["note"]);
        assert_eq!(causes, row["causes"], "{}", row["note"]);
    }
}

#[test]
fn immutable_fields_stay_as_recorded() {
    for row in recorded("209-immutable.json") {
        let kind = kind_at(row["of"].as_str().unwrap());
        let before = stored(row["of"].as_str().unwrap());
        let mut after = match &row["patch"] {
            list @ Value::Array(_) => shape::patch::json(&before, list).unwrap(),
            object => shape::patch::merge(&before, object).unwrap(),
        };
        shape::carry_over(kind, &before, &mut after);
        shape::fill_defaults(kind, &mut after);
        let (code, message) = outcome(shape::check_update(kind, &before, &after));
        let wanted = (row["code"].as_u64().unwrap(), row["message"].as_str().unwrap_or_default());
        assert_eq!((code, message.as_str()), wanted, "{} {}", row["of"], row["patch"]);
        if row["result"].is_object() {
            assert_eq!(after["spec"], row["result"]);
        }
    }
}

#[test]
fn unknown_fields_are_named_as_recorded() {
    for row in recorded("210-unknown-fields.json") {
        let kind = kind_of(&row["given"]);
        let problems: Vec<String> =
            shape::unknown_fields(kind, &row["given"]).iter().map(|path| format!("unknown field \"{path}\"")).collect();
        match &row["warnings"] {
            Value::Array(warnings) => {
                let as_header = |text: &String| Value::from(format!("299 - \"{}\"", text.replace('"', "\\\"")));
                assert_eq!(problems.iter().map(as_header).collect::<Vec<_>>(), *warnings);
            }
            _ if row["code"] == 400 => {
                assert_eq!(row["message"], shape::strict_error(kind, &problems).message);
            }
            _ => assert!(!problems.is_empty()),
        }
    }
}

#[test]
fn unknown_fields_do_not_reach_the_store() {
    let row = &recorded("210-unknown-fields.json")[0];
    let mut object = row["given"].clone();
    shape::fill_defaults(kind_of(&object), &mut object);
    assert_eq!(shape::unknown_fields(kind_of(&object), &object), Vec::<String>::new());
    assert!(object["spec"].get("bogus").is_none());
}

#[test]
fn a_patched_object_that_cannot_be_read_is_answered_with_422() {
    let kind = &embedded_cluster::kinds::CONFIG_MAP;
    let patched = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"n": 5}});
    let why = shape::type_mismatch(kind, &patched).unwrap();
    assert_eq!(why, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string");
    let status = shape::patched_error(&patched, &why);
    assert_eq!(status.code, 422);
    assert!(status.message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\""), "{}", status.message);
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// The objects that case 209 made before its first step.
fn stored(of: &str) -> Value {
    let template = |image: &str| json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "web", "image": image}]}});
    let mut object = match of {
        "deployments/d" => {
            json!({"spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template("demo/web:v1")}})
        }
        "statefulsets/s" => {
            json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"app": "d"}}, "template": template("i")}})
        }
        "pods/p" => json!({"spec": {"nodeName": "n", "containers": [
            {"name": "c", "image": "demo/bb:1", "command": ["/bin/sh", "-c", "sleep 1000"]}]}}),
        "services/v" => json!({"spec": {
            "selector": {"app": "v"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            "clusterIP": "10.96.65.232", "clusterIPs": ["10.96.65.232"]}}),
        "configmaps/m" => json!({"immutable": true, "data": {"a": "1"}}),
        "secrets/x" => json!({"data": {"a": "MQ=="}}),
        other => panic!("{other} is not part of the case"),
    };
    let (kind, name) = (kind_at(of), of.split('/').nth(1).unwrap());
    object["metadata"] = json!({"name": name, "namespace": "ns", "uid": "27e53850"});
    shape::fill_defaults(kind, &mut object);
    shape::prepare_create(kind, &mut object);
    object
}
