//! The API server away for a while: its manifest is moved aside, so that the kubelet ends it, and
//! moved back by the node itself.
//!
//! Whatever becomes of this program, the node brings it back after the time that was asked for.
//! Healing moves the manifest at once, and needs no API server for it.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, node_container};
use crate::cluster::Cluster;
use crate::duration;
use crate::system::SystemError;

/// Where the kubelet reads what it is to run.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// The label of nodes of the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// How long an API server that was brought back may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Takes the API server away for a while; it comes back by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ApiServer {
    /// How long its manifest is away; ending and starting add to it.
    #[serde(rename = "for", with = "crate::duration")]
    #[schemars(with = "String")]
    pub lasts: Duration,
}

/// What healing an API server needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ApiServerReceipt {
    /// The nodes of the control plane, and the ids of their containers.
    pub nodes: Vec<(String, String)>,
    /// Where the manifest lies meanwhile: where the kubelet does not look. A name of its own, so
    /// that a timer of an earlier outage does not end this one.
    pub aside: String,
    /// How long it is away.
    #[serde(with = "crate::duration")]
    pub lasts: Duration,
}

impl ApiServer {
    /// Finds the control plane. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where its nodes are no containers here.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        node_container::require_kind(cluster, "take the API server away")?;
        let engine = node_container::engine().await?;
        let listed = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default().labels(CONTROL_PLANE)).await;
        let listed = listed.map_err(|error| SystemError::from_api("list nodes of the control plane", &error))?;
        let mut nodes = Vec::new();
        for name in listed.items.into_iter().filter_map(|node| node.metadata.name) {
            let container = node_container::verified(&engine, cluster, &name).await?;
            nodes.push((name, container));
        }
        if nodes.is_empty() {
            let message = format!("find the control plane: no node has the label {CONTROL_PLANE}");
            return Err(SystemError { message, transient: false });
        }
        let aside = format!("/etc/kubernetes/gameday-kube-apiserver-{:08x}.yaml", fastrand::u32(..));
        Ok(Receipt::ApiServer(ApiServerReceipt { nodes, aside, lasts: self.lasts }))
    }
}

impl ApiServerReceipt {
    pub(super) async fn inject(&self) -> Result<(), SystemError> {
        let engine = node_container::engine().await?;
        for (_, container) in &self.nodes {
            let timer = format!("sleep {}; {}", self.lasts.as_secs_f64(), back(&self.aside));
            node_container::start_detached(&engine, container, &["sh", "-c", &timer]).await?;
            node_container::run(&engine, container, &["sh", "-c", &aside(&self.aside)]).await?;
        }
        Ok(())
    }

    /// Moves the manifest back where it is still away.
    pub(super) async fn heal_below(&self) -> Result<Vec<String>, SystemError> {
        let engine = node_container::engine().await?;
        let mut undone = Vec::new();
        for (node, container) in &self.nodes {
            if node_container::state(&engine, container).await?.is_none() {
                continue;
            }
            let said = node_container::run(&engine, container, &["sh", "-c", &back(&self.aside)]).await?;
            if said.trim() == BACK {
                undone.push(format!("API server of node {node} brought back"));
            }
        }
        Ok(undone)
    }

    /// Waits until it is ready.
    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let mut last = String::from("nothing");
        let looking = async {
            loop {
                let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
                match cluster.client.request_text(request).await {
                    Ok(_) => return,
                    Err(error) => last = error.to_string(),
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let ready = tokio::time::timeout(READY_WITHIN, looking).await;
        ready.map(|()| Vec::new()).map_err(|_| SystemError {
            message: format!("see the API server ready within {} s; last seen: {last}", READY_WITHIN.as_secs()),
            transient: false,
        })
    }
}

/// What the script that moves it back prints where there was something to move.
const BACK: &str = "back";

/// The script that moves the manifest aside; safe to repeat.
fn aside(aside: &str) -> String {
    format!("[ -e {aside} ] || mv {MANIFEST} {aside}")
}

/// The script that moves it back; safe to repeat, and beside another one that does.
fn back(aside: &str) -> String {
    format!("if mv {aside} {MANIFEST} 2>/dev/null; then echo {BACK}; else [ -e {MANIFEST} ]; fi")
}

impl fmt::Display for ApiServerReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "API server away for {}", duration::text(self.lasts))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const ASIDE: &str = "/etc/kubernetes/gameday-kube-apiserver-1.yaml";

    /// Runs a script with the two paths in a directory of the test's own; what it said, where it ended well.
    fn run(script: &str, root: &Path) -> Option<String> {
        let script = script.replace("/etc/kubernetes", &root.display().to_string());
        let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
        ran.status.success().then(|| String::from_utf8(ran.stdout).unwrap().trim().to_owned())
    }

    #[test]
    fn the_manifest_goes_and_comes_back_however_often_it_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let place = |path: &str| root.path().join(path.strip_prefix("/etc/kubernetes/").unwrap());
        std::fs::create_dir(root.path().join("manifests")).unwrap();
        std::fs::write(place(MANIFEST), "kind: Pod").unwrap();
        let is_there = || (place(MANIFEST).exists(), place(ASIDE).exists());

        assert_eq!(run(&back(ASIDE), root.path()).as_deref(), Some(""), "nothing was broken");
        for _ in 0..2 {
            assert!(run(&aside(ASIDE), root.path()).is_some());
            assert_eq!(is_there(), (false, true));
        }
        assert_eq!(run(&back(ASIDE), root.path()).as_deref(), Some(BACK));
        assert_eq!(run(&back(ASIDE), root.path()).as_deref(), Some(""));
        assert_eq!(is_there(), (true, false));
        assert_eq!(std::fs::read_to_string(place(MANIFEST)).unwrap(), "kind: Pod");
        std::fs::remove_file(place(MANIFEST)).unwrap();
        assert_eq!(run(&back(ASIDE), root.path()), None, "neither is there: that must be told");
    }
}
