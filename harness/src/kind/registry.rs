//! The local registry, the way kind documents it: a container on the nodes' network, known to
//! containerd on every node, and documented in the cluster.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use serde_json::json;

use super::{KindError, Tell};
use crate::cluster::{Cluster, reason};
use crate::docker::{Container, DockerError, Engine};
use crate::heal::receipts::FIELD_MANAGER;
use crate::tls;

/// The registry's image where nobody names another.
pub const DEFAULT_IMAGE: &str =
    "registry:3.0.0@sha256:6c5666b861f3505b116bb9aa9b25175e71210414bd010d92035ff64018f9457e";
/// Label on our containers: the cluster that they belong to.
const OF_LABEL: &str = "gameday.dev/kind-cluster";
/// Label on our containers: the directory that says what they belong to.
const STATE_LABEL: &str = "gameday.dev/state";
/// Label on the ConfigMap that documents our registry.
const DOCUMENT_LABEL: &str = "gameday.dev/registry";
/// Where a cluster documents its local registry.
const DOCUMENT: (&str, &str) = ("kube-public", "local-registry-hosting");
/// The port that a registry listens on in its container.
const PORT: u16 = 5000;
/// How often another port is tried where somebody else was faster.
const PORTS_MAX: u32 = 5;
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two tries.
const LOOK: Duration = Duration::from_millis(100);

/// The registry of a cluster of ours, or of one that has none yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registry<'a> {
    pub(super) engine: &'a Engine,
    /// The cluster's name.
    pub(super) cluster: &'a str,
    /// The directory in the state directory that stands for the cluster.
    pub(super) state: &'a str,
}

impl Registry<'_> {
    fn name(&self) -> String {
        format!("{}-registry", self.cluster)
    }

    /// Makes it unless it stands, and waits until it answers: its address as this machine sees it.
    pub(super) async fn stand(&self, network: &str, image: &str, tell: Tell<'_>) -> Result<String, KindError> {
        let name = self.name();
        let found = self.engine.container(&name).await?;
        if found.as_ref().is_some_and(|container| !self.is_ours(container)) {
            return Err(KindError::Taken { container: name });
        }
        // One that cannot be started again, because its port is taken by now, is made anew.
        let restarted = match &found {
            Some(container) => container.running || self.engine.start(&container.id).await.is_ok(),
            None => false,
        };
        if !restarted {
            self.engine.ensure_image(image, tell).await?;
            self.make(network, image).await?;
        }
        let address = self.address().await?.ok_or_else(|| KindError::NotReady {
            what: format!("a port of container `{name}`"),
            seconds: 0,
            last: "it has none".to_owned(),
        })?;
        answers(&address).await?;
        Ok(address)
    }

    async fn make(&self, network: &str, image: &str) -> Result<(), KindError> {
        let name = self.name();
        let mut tries = 0;
        loop {
            self.engine.remove(&name).await?;
            tries += 1;
            match self.engine.run(&name, self.body(network, image, free_port()?)).await {
                Ok(()) => return Ok(()),
                Err(DockerError::Refused { .. }) if tries < PORTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The port stays the same when it is started again: image references have it in them.
    fn body(&self, network: &str, image: &str, port: u16) -> ContainerCreateBody {
        let inside = format!("{PORT}/tcp");
        let outside = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.to_string()) };
        let labels = [(OF_LABEL, self.cluster), (STATE_LABEL, self.state)];
        let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), ..RestartPolicy::default() };
        ContainerCreateBody {
            image: Some(image.to_owned()),
            // It would complain about a collector of traces that is not there.
            env: Some(vec!["OTEL_TRACES_EXPORTER=none".to_owned()]),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            exposed_ports: Some(vec![inside.clone()]),
            host_config: Some(HostConfig {
                network_mode: Some(network.to_owned()),
                port_bindings: Some(HashMap::from([(inside, Some(vec![outside]))])),
                restart_policy: Some(policy),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// The address of the one that we made, if there is one.
    pub(super) async fn address(&self) -> Result<Option<String>, KindError> {
        let found = self.engine.container(&self.name()).await?.filter(|container| self.is_ours(container));
        Ok(found.and_then(|container| container.ports.get(&PORT).map(|port| format!("localhost:{}", port.port()))))
    }

    /// Tells containerd on a node that `localhost:PORT` is the registry's container.
    pub(super) async fn introduce(&self, node: &str, address: &str) -> Result<(), KindError> {
        let directory = hosts_directory(address);
        let text = format!("[host.\"http://{}:{PORT}\"]\n", self.name());
        // Read at each pull, so that containerd needs no restart; whole or not there.
        let script = "mkdir -p \"$1\" && printf %s \"$2\" >\"$1/partial\" && mv \"$1/partial\" \"$1/hosts.toml\"";
        self.engine.exec(node, &["sh", "-c", script, "sh", &directory, &text]).await?;
        Ok(())
    }

    /// Takes that back.
    pub(super) async fn withdraw(&self, node: &str, address: &str) -> Result<(), KindError> {
        self.engine.exec(node, &["rm", "-rf", &hosts_directory(address)]).await?;
        Ok(())
    }

    /// Removes it with everything that was pushed, where it is ours: whether there was one.
    pub(super) async fn remove(&self) -> Result<bool, KindError> {
        let all = self.engine.containers(OF_LABEL, self.cluster).await?;
        let ours: Vec<_> = all.iter().filter(|container| self.is_ours(container)).collect();
        for container in &ours {
            self.engine.remove(&container.id).await?;
        }
        Ok(!ours.is_empty())
    }

    fn is_ours(&self, container: &Container) -> bool {
        let label = |key: &str| container.labels.get(key).map(String::as_str);
        label(OF_LABEL) == Some(self.cluster) && label(STATE_LABEL) == Some(self.state)
    }
}

fn hosts_directory(address: &str) -> String {
    format!("/etc/containerd/certs.d/{address}")
}

fn free_port() -> Result<u16, KindError> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    free().map(|address| address.port()).map_err(|error| KindError::NotReady {
        what: "a free port on 127.0.0.1".to_owned(),
        seconds: 0,
        last: error.to_string(),
    })
}

/// Waits until it answers.
async fn answers(address: &str) -> Result<(), KindError> {
    // Plain HTTP on loopback needs no roots of trust, and no proxy leads there.
    tls::install_provider();
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(ANSWER_WITHIN).build();
    let client = client.expect("nothing about this client depends on the machine");
    let mut last = "nothing".to_owned();
    let asking = async {
        loop {
            match client.get(format!("http://{address}/v2/")).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => last = answer.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::time::timeout(ANSWER_WITHIN, asking).await;
    let what = || format!("an answer of the registry at {address}");
    ended.map_err(|_| KindError::NotReady { what: what(), seconds: ANSWER_WITHIN.as_secs(), last })
}

/// The registry that a cluster documents, where somebody else made it.
pub(super) async fn documented(cluster: &Cluster) -> Result<Option<String>, KindError> {
    let found = documents(cluster).get_opt(DOCUMENT.1).await.map_err(|error| refused(cluster, &error))?;
    let others = found.filter(|document| !is_ours(document));
    Ok(others.and_then(|document| host_in(&document.data.unwrap_or_default())))
}

/// Documents our registry in the cluster.
pub(super) async fn document(cluster: &Cluster, address: &str) -> Result<(), KindError> {
    let labels = BTreeMap::from([(DOCUMENT_LABEL.to_owned(), "true".to_owned())]);
    let text = format!("host: {}\nhelp: \"https://kind.sigs.k8s.io/docs/user/local-registry/\"\n", json!(address));
    let object = ConfigMap {
        metadata: ObjectMeta { name: Some(DOCUMENT.1.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("localRegistryHosting.v1".to_owned(), text)])),
        ..ConfigMap::default()
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = documents(cluster).patch(DOCUMENT.1, &parameters, &Patch::Apply(&object)).await;
    applied.map(drop).map_err(|error| refused(cluster, &error))
}

/// Removes what [`document`] wrote.
pub(super) async fn undocument(cluster: &Cluster) -> Result<(), KindError> {
    let api = documents(cluster);
    let found = api.get_opt(DOCUMENT.1).await.map_err(|error| refused(cluster, &error))?;
    if found.as_ref().is_some_and(is_ours) {
        api.delete(DOCUMENT.1, &DeleteParams::default()).await.map_err(|error| refused(cluster, &error))?;
    }
    Ok(())
}

fn documents(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), DOCUMENT.0)
}

fn is_ours(document: &ConfigMap) -> bool {
    document.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(DOCUMENT_LABEL))
}

fn host_in(data: &BTreeMap<String, String>) -> Option<String> {
    let document: serde_json::Value = serde_saphyr::from_str(data.get("localRegistryHosting.v1")?).ok()?;
    document["host"].as_str().map(str::to_owned)
}

fn refused(cluster: &Cluster, error: &kube::Error) -> KindError {
    KindError::Others {
        name: cluster.facts.name.clone(),
        reason: format!("its ConfigMap `{}`: {}", DOCUMENT.1, reason(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_documented_registry_is_found() {
        let check = |key: &str, text: &str, expect: Option<&str>| {
            let data = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            assert_eq!(host_in(&data).as_deref(), expect, "{text}");
        };
        check("localRegistryHosting.v1", "host: \"localhost:5001\"\nhelp: \"x\"\n", Some("localhost:5001"));
        check("localRegistryHosting.v1", "help: x\n", None);
        check("localRegistryHosting.v1", "[", None);
        check("other", "host: localhost:5001\n", None);
    }
}
