//! What holds for every object.

use embedded_cluster::kinds::{CONFIG_MAP, DEPLOYMENT};
use embedded_cluster::shape::{self, apply, patch};
use proptest::prelude::*;
use serde_json::{Value, json};

prop_compose! {
    fn container(name: &'static str)(
        image in "[a-z]{1,5}(:[a-z0-9]{1,3})?",
        env in prop::collection::btree_map("[A-E]", "[a-z]{0,3}", 0..4),
        ports in prop::collection::btree_set(1..9_u16, 0..3),
        cpu in prop::option::of(prop::sample::select(vec!["1", "0.5", "250m", "1000m"])),
    ) -> Value {
        let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let ports: Vec<Value> = ports.iter().map(|port| json!({"containerPort": port})).collect();
        let mut container = json!({"name": name, "image": image, "env": env, "ports": ports});
        if let Some(cpu) = cpu {
            container["resources"] = json!({"limits": {"cpu": cpu}});
        }
        container
    }
}

prop_compose! {
    fn deployment()(
        containers in (container("a"), container("b")).prop_flat_map(|(a, b)| {
            prop::sample::subsequence(vec![a, b], 1..=2)
        }),
        labels in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
        replicas in prop::option::of(0..4),
        kind in prop::option::of(prop::sample::select(vec!["Recreate", "RollingUpdate"])),
    ) -> Value {
        let mut spec = json!({"selector": {"matchLabels": {"app": "d"}}, "template": {
            "metadata": {"labels": {"app": "d"}}, "spec": {"containers": containers}}});
        if let Some(replicas) = replicas {
            spec["replicas"] = json!(replicas);
        }
        if let Some(kind) = kind {
            spec["strategy"] = json!({"type": kind});
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": labels}, "spec": spec})
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn filling_in_twice_is_filling_in_once(mut object in deployment()) {
        shape::fill_defaults(&DEPLOYMENT, &mut object);
        let once = object.clone();
        shape::fill_defaults(&DEPLOYMENT, &mut object);
        prop_assert_eq!(object, once);
    }

    #[test]
    fn an_empty_patch_changes_nothing(mut object in deployment()) {
        shape::fill_defaults(&DEPLOYMENT, &mut object);
        prop_assert_eq!(&patch::strategic(&DEPLOYMENT, &object, &json!({})).unwrap(), &object);
        prop_assert_eq!(&patch::merge(&object, &json!({})).unwrap(), &object);
        prop_assert_eq!(&patch::json(&object, &json!([])).unwrap(), &object);
    }

    #[test]
    fn an_object_patched_with_itself_stays(mut object in deployment()) {
        shape::fill_defaults(&DEPLOYMENT, &mut object);
        prop_assert_eq!(&patch::strategic(&DEPLOYMENT, &object, &object).unwrap(), &object);
        prop_assert_eq!(&patch::merge(&object, &object).unwrap(), &object);
    }

    #[test]
    fn applying_twice_changes_nothing(first in deployment(), second in deployment()) {
        let made = apply::apply(&DEPLOYMENT, None, &first, "one", false).unwrap();
        prop_assert_eq!(&apply::apply(&DEPLOYMENT, Some(&made), &first, "one", false).unwrap(), &made);
        let changed = apply::apply(&DEPLOYMENT, Some(&made), &second, "one", false).unwrap();
        prop_assert_eq!(&apply::apply(&DEPLOYMENT, Some(&changed), &second, "one", false).unwrap(), &changed);
    }

    #[test]
    fn the_only_applier_gets_what_it_asks_for_and_nothing_more(first in deployment(), second in deployment()) {
        let made = apply::apply(&DEPLOYMENT, None, &first, "one", false).unwrap();
        let changed = apply::apply(&DEPLOYMENT, Some(&made), &second, "one", false).unwrap();
        let fresh = apply::apply(&DEPLOYMENT, None, &second, "one", false).unwrap();
        prop_assert_eq!(without_strategy(&changed), without_strategy(&fresh));
    }

    #[test]
    fn owned_fields_survive_a_round_through_an_update(object in deployment(), value in "[a-z]{1,3}") {
        let made = apply::apply(&DEPLOYMENT, None, &object, "one", false).unwrap();
        let mut updated = made.clone();
        updated["metadata"]["labels"]["other"] = value.clone().into();
        apply::track_update(&DEPLOYMENT, Some(&made), &mut updated, "two", None);
        let again = apply::apply(&DEPLOYMENT, Some(&updated), &object, "one", false).unwrap();
        prop_assert_eq!(&again["metadata"]["labels"]["other"], &Value::from(value));
        prop_assert_eq!(&again["spec"], &made["spec"]);
    }
}

/// Defaults that an earlier intent brought in belong to nobody, and stay.
fn without_strategy(object: &Value) -> Value {
    let mut object = object.clone();
    object["spec"].as_object_mut().unwrap().remove("strategy");
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    for container in object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
        container.as_object_mut().unwrap().remove("imagePullPolicy");
    }
    object
}

#[test]
fn merge_patches_follow_the_examples_of_the_rfc() {
    for (original, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(patch::merge(&original, &patch), Ok(result), "{original} + {patch}");
    }
    for patch in [json!(["c"]), json!("bar"), json!(null)] {
        assert_eq!(patch::merge(&json!({}), &patch).unwrap_err().code, 400);
    }
}

#[test]
fn values_of_any_type_are_refused_and_never_panic() {
    let wrong = [json!(null), json!(1), json!("x"), json!(true), json!([1, "x", null]), json!({"a": {"b": []}})];
    for kind in embedded_cluster::kinds::ALL {
        for value in &wrong {
            for part in ["metadata", "spec", "status", "data", "subsets", "endpoints", "stringData", "type"] {
                let mut object =
                    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x"}});
                object[part] = value.clone();
                let _ = shape::unknown_fields(kind, &object);
                let _ = shape::warnings(kind, &object);
                let _ = apply::apply(kind, None, &object, "one", false);
                let _ = patch::strategic(kind, &object, &json!({part: {"a": [{"$patch": "delete"}]}}));
                let mut filled = object.clone();
                shape::fill_defaults(kind, &mut filled);
                let is_readable = shape::decode_error(kind, &object).is_none();
                if is_readable {
                    shape::prepare_create(kind, &mut filled);
                }
                let _ = shape::check_create(kind, &filled);
                let _ = shape::check_update(kind, &object, &filled);
                let rows = [std::sync::Arc::new(filled.clone())];
                let _ = shape::table::table(kind, &rows, shape::table::Include::Nothing, 1);
                if !is_readable {
                    let refused = shape::check_create(kind, &filled).map_err(|status| status.code);
                    assert_eq!(refused, Err(400), "{object}");
                }
            }
        }
    }
    assert!(shape::decode_error(&CONFIG_MAP, &json!({"data": "x"})).is_some());
}
