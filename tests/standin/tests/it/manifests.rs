//! The manifests in `kind-config` are what Kubernetes understands, whole, and fit the stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::support::shipped_catalog;

fn documents(directory: &str) -> Vec<Value> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../kind-config").join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            documents
        })
        .collect()
}

fn manifest(kind: &str, name: &str) -> Value {
    let mut found =
        documents("manifests").into_iter().filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Reads the manifest as its type and writes it again: a misspelt field would be lost.
fn check<T: DeserializeOwned + Serialize>(manifest: &Value) {
    let typed: T = serde_json::from_value(manifest.clone()).unwrap_or_else(|error| panic!("{error}: {manifest:#}"));
    assert_eq!(&serde_json::to_value(typed).unwrap(), manifest, "a field was not understood");
}

#[test]
fn every_manifest_is_understood_whole() {
    for manifest in documents("manifests") {
        match (manifest["apiVersion"].as_str().unwrap(), manifest["kind"].as_str().unwrap()) {
            ("v1", "Namespace") => check::<Namespace>(&manifest),
            ("v1", "ConfigMap") => check::<ConfigMap>(&manifest),
            ("v1", "Service") => check::<Service>(&manifest),
            ("policy/v1", "PodDisruptionBudget") => check::<PodDisruptionBudget>(&manifest),
            ("networking.k8s.io/v1", "Ingress") => check::<Ingress>(&manifest),
            ("apps/v1", "Deployment") => check::<Deployment>(&manifest),
            ("apps/v1", "StatefulSet") => check::<StatefulSet>(&manifest),
            other => panic!("unexpected {other:?}"),
        }
        let namespaced = manifest["kind"] != "Namespace";
        assert_eq!(manifest["metadata"]["namespace"] == "hsc-jit", namespaced, "{}", manifest["metadata"]);
    }
}

#[test]
fn the_namespace_does_not_allow_rehearsals_by_itself() {
    assert_eq!(manifest("Namespace", "hsc-jit")["metadata"]["labels"], Value::Null);
}

#[test]
fn images_are_repositories_without_a_tag() {
    let images: BTreeSet<String> = documents("manifests")
        .iter()
        .filter_map(|manifest| manifest["spec"]["template"]["spec"]["containers"].as_array().cloned())
        .map(|containers| {
            assert_eq!(containers.len(), 1);
            containers[0]["image"].as_str().unwrap().to_owned()
        })
        .collect();
    let expect = ["hsc-jit-backend", "hsc-jit-frontend", "hsc-jit-outside", "redis"];
    assert_eq!(images, expect.map(str::to_owned).into());
}

#[test]
fn the_catalog_in_the_cluster_is_the_one_that_is_tested() {
    let in_cluster: BTreeMap<String, String> =
        serde_json::from_value(manifest("ConfigMap", "catalog")["data"].take()).unwrap();
    assert_eq!(in_cluster, shipped_catalog().into_iter().collect());
}

#[test]
fn selectors_find_their_pods() {
    let manifests = documents("manifests");
    let labels: Vec<&Value> = manifests.iter().map(|it| &it["spec"]["template"]["metadata"]["labels"]["app"]).collect();
    for it in &manifests {
        let selected = match it["kind"].as_str().unwrap() {
            "Service" => &it["spec"]["selector"]["app"],
            "Deployment" | "StatefulSet" | "PodDisruptionBudget" => &it["spec"]["selector"]["matchLabels"]["app"],
            _ => continue,
        };
        assert!(selected.is_string() && labels.contains(&selected), "{}", it["metadata"]);
    }
}

#[test]
fn the_profile_changes_only_what_is_there() {
    for change in documents("profiles") {
        let manifest = manifest(change["kind"].as_str().unwrap(), change["metadata"]["name"].as_str().unwrap());
        let mut places = Vec::new();
        unknown_places(&change, &manifest, "", &mut places);
        // The one field that the manifests leave to its default.
        places.retain(|place| place != "/spec/progressDeadlineSeconds");
        assert_eq!(places, Vec::<String>::new(), "{}", change["metadata"]);
        let changed = unequal(&change, &manifest);
        assert!(changed >= 3, "{}: {changed} changes", change["metadata"]);
    }
}

/// Where `change` has something that `original` has not.
fn unknown_places(change: &Value, original: &Value, at: &str, places: &mut Vec<String>) {
    match change {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}/{name}");
                match original.get(name) {
                    Some(original) => unknown_places(field, original, &at, places),
                    None => places.push(at),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match named(original, &item["name"]) {
                    Some(original) => unknown_places(item, original, &format!("{at}[{}]", item["name"]), places),
                    None => places.push(format!("{at}[{}]", item["name"])),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How many values of `change` differ from those in `original`.
fn unequal(change: &Value, original: &Value) -> usize {
    match change {
        Value::Object(fields) => fields.iter().map(|(name, field)| unequal(field, &original[name])).sum(),
        Value::Array(items) => {
            items.iter().map(|item| named(original, &item["name"]).map_or(1, |original| unequal(item, original))).sum()
        }
        value => usize::from(value != original),
    }
}

fn named<'a>(list: &'a Value, name: &Value) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == *name)
}
