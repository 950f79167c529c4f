//! What `kind` is told to make: `kind-config/cluster.yaml`, with a mark on each node that says whose it is.

use serde_json::{Value, json};

/// The cluster as it stands in the project.
const CLUSTER: &str = include_str!("../../../kind-config/cluster.yaml");
/// Where a node that we made has a directory of ours mounted; where that directory lies says which
/// state directory it belongs to.
pub(super) const MARK: &str = "/etc/gameday.dev";

/// The nodes' image, which stands in `kind-config/cluster.yaml` alone.
#[must_use]
pub fn node_image() -> String {
    let config = parsed();
    config["nodes"][0]["image"].as_str().expect("kind-config/cluster.yaml names a node image").to_owned()
}

/// How many nodes the cluster has.
pub(super) fn nodes() -> usize {
    parsed()["nodes"].as_array().map_or(0, Vec::len)
}

/// The configuration for `kind create cluster`, as JSON, which is YAML as well. Each node gets the
/// mark: kind puts no labels of ours on containers.
pub(super) fn rendered(node_image: &str, mark: &str) -> String {
    let mut config = parsed();
    for node in config["nodes"].as_array_mut().into_iter().flatten() {
        node["image"] = json!(node_image);
        node["extraMounts"] = json!([{ "hostPath": mark, "containerPath": MARK, "readOnly": true }]);
    }
    serde_json::to_string_pretty(&config).expect("a JSON value has string keys only")
}

fn parsed() -> Value {
    serde_saphyr::from_str(CLUSTER).expect("kind-config/cluster.yaml is YAML, and a test reads it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_pinned_by_digest_runs_on_one_control_plane_and_two_workers() {
        let image = node_image();
        let (name, digest) = image.split_once("@sha256:").unwrap();
        assert!(name.starts_with("kindest/node:v1.3") && digest.len() == 64, "{image}");
        assert_eq!(CLUSTER.matches("sha256:").count(), 1, "the image stands in one place");
        let config = parsed();
        let of_node = |part: &str| -> Vec<String> {
            config["nodes"].as_array().unwrap().iter().map(|node| node[part].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(of_node("role"), ["control-plane", "worker", "worker"]);
        assert_eq!(of_node("image"), [image.clone(), image.clone(), image]);
        assert_eq!(nodes(), 3);
    }

    #[test]
    fn every_node_port_that_the_api_server_gives_leads_to_the_loopback() {
        let config = parsed();
        let mappings = config["nodes"][0]["extraPortMappings"].as_array().unwrap();
        let mapped: Vec<u64> = mappings.iter().map(|one| one["containerPort"].as_u64().unwrap()).collect();
        let (first, last) = (mapped[0], *mapped.last().unwrap());
        assert_eq!(mapped, (first..=last).collect::<Vec<_>>());
        for mapping in mappings {
            assert_eq!(mapping["listenAddress"], "127.0.0.1", "{mapping}");
            assert_eq!(mapping["hostPort"], Value::Null, "kind chooses a free one");
        }
        let range = format!("{first}-{last}");
        let patches = config["kubeadmConfigPatchesJSON6902"].as_array().unwrap();
        let versions: Vec<&str> = patches.iter().map(|patch| patch["version"].as_str().unwrap()).collect();
        assert_eq!(versions, ["v1beta3", "v1beta4"]);
        for patch in patches {
            let operations: Value = serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
            let value = &operations[0]["value"];
            assert_eq!(value.get("value").unwrap_or(value), &json!(range), "{patch}");
        }
    }

    #[test]
    fn nodes_are_marked_and_take_another_image() {
        let rendered: Value = serde_json::from_str(&rendered("kindest/node:mine", "/state/kind/a/mark")).unwrap();
        for node in rendered["nodes"].as_array().unwrap() {
            assert_eq!(node["image"], "kindest/node:mine");
            let mount = json!([{ "hostPath": "/state/kind/a/mark", "containerPath": MARK, "readOnly": true }]);
            assert_eq!(node["extraMounts"], mount);
        }
        assert_eq!(rendered["containerdConfigPatches"], parsed()["containerdConfigPatches"]);
    }
}
