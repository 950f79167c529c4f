//! The local registry of a kind cluster away while a workload is rolled out.

use std::fmt;
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use kube::Api;
use kube::api::{Patch, PatchParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Receipt, node_container, workload};
use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Where a cluster tells of its local registry, by a convention of its own (KEP-1755).
const HOSTING_NAMESPACE: &str = "kube-public";
const HOSTING: &str = "local-registry-hosting";
const HOSTING_KEY: &str = "localRegistryHosting.v1";
/// What makes a node ask the registry for an image that it has.
const ALWAYS: &str = "Always";
/// How long a rollout may take to its end once the registry is back: nodes wait longer and longer
/// between two pulls.
const ROLLED_OUT_WITHIN: Duration = Duration::from_secs(150);

/// Stops the registry and restarts a workload's rollout, in which every pod pulls its image as if
/// it were a new one; healed by starting the registry and by taking that back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryDown {
    /// What is rolled out meanwhile.
    pub during: WorkloadRef,
    /// How long it is away at least before somebody brings it back.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub lasts: Duration,
}

/// What healing needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryReceipt {
    /// Where the registry is.
    pub address: String,
    /// Its container's id.
    pub container: String,
    /// Namespace of what is rolled out.
    pub namespace: String,
    /// What is rolled out.
    pub during: WorkloadRef,
    /// Its containers, and when each pulled its image before.
    pub policies: Vec<(String, Option<String>)>,
}

/// The registry that the cluster tells of, as this machine sees it: `localhost:5001`.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub async fn address(cluster: &Cluster) -> Result<Option<String>, SystemError> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), HOSTING_NAMESPACE);
    let found = maps.get_opt(HOSTING).await;
    let found = found.map_err(|error| SystemError::from_api(&format!("read configmap `{HOSTING}`"), &error))?;
    Ok(found.and_then(|map| host(map.data.as_ref()?.get(HOSTING_KEY)?)))
}

/// The line `host: "…"` of what the cluster tells.
pub(crate) fn host(told: &str) -> Option<String> {
    let line = told.lines().find_map(|line| line.trim().strip_prefix("host:"))?;
    let host = line.trim().trim_matches(['"', '\'']);
    (!host.is_empty()).then(|| host.to_owned())
}

/// The container behind the registry's port on this machine, whether it runs or not.
async fn container(address: &str) -> Result<String, SystemError> {
    let none =
        |why: String| SystemError { message: format!("find the registry at {address}: {why}"), transient: false };
    let port = address.rsplit_once(':').map(|(_, port)| port).filter(|port| port.parse::<u16>().is_ok());
    let port = port.ok_or_else(|| none("it has no port".to_owned()))?;
    let engine = node_container::engine().await?;
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let listed = engine.client().list_containers(Some(all)).await.map_err(|error| none(error.to_string()))?;
    for id in listed.into_iter().filter_map(|container| container.id) {
        // One that ended meanwhile is not it.
        let Ok(found) = engine.client().inspect_container(&id, None::<InspectContainerOptions>).await else { continue };
        let bindings = found.host_config.and_then(|config| config.port_bindings).unwrap_or_default();
        if bindings.into_values().flatten().flatten().any(|binding| binding.host_port.as_deref() == Some(port)) {
            return Ok(id);
        }
    }
    Err(none(format!("no container on this machine publishes port {port}")))
}

/// Starts the registry that the cluster tells of, where it does not run: what somebody does about
/// a registry that is down.
///
/// # Errors
/// [`SystemError`] where there is none.
pub(crate) async fn answers_again(cluster: &Cluster) -> Result<(), SystemError> {
    node_container::require_kind(cluster, "bring the registry back")?;
    let address = address(cluster).await?.ok_or_else(|| no_registry(cluster))?;
    let engine = node_container::engine().await?;
    node_container::bring_back(&engine, &container(&address).await?, "registry").await.map(drop)
}

fn no_registry(cluster: &Cluster) -> SystemError {
    SystemError {
        message: format!("find the registry of `{}`: it tells of none in configmap `{HOSTING}`", cluster.facts.name),
        transient: false,
    }
}

impl RegistryDown {
    /// Finds the registry, and when the workload's containers pull. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where one of them is not there.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        node_container::require_kind(cluster, "stop the registry")?;
        let address = address(cluster).await?.ok_or_else(|| no_registry(cluster))?;
        Ok(Receipt::Registry(RegistryReceipt {
            container: container(&address).await?,
            address,
            namespace: cluster.namespace.clone(),
            policies: policies(&template(cluster, &self.during).await?),
            during: self.during.clone(),
        }))
    }
}

/// Each container of a template, and when it pulls its image.
fn policies(template: &PodTemplateSpec) -> Vec<(String, Option<String>)> {
    let containers = template.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.iter().map(|one| (one.name.clone(), one.image_pull_policy.clone())).collect()
}

async fn template(cluster: &Cluster, of: &WorkloadRef) -> Result<PodTemplateSpec, SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &of.name);
    let template = match of.kind {
        WorkloadKind::Deployment => {
            let found = Api::<Deployment>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.template))
        }
        WorkloadKind::StatefulSet => {
            let found = Api::<StatefulSet>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.template))
        }
    };
    let template = template.map_err(|error| SystemError::from_api(&format!("read {of}"), &error))?;
    Ok(template.unwrap_or_default())
}

impl RegistryReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        let engine = node_container::engine().await?;
        node_container::stop(&engine, &self.container).await?;
        let always = self.policies.iter().map(|(name, _)| (name.as_str(), Some(ALWAYS)));
        self.pull(cluster, always).await?;
        workload::restart(cluster, &self.during).await.map(drop)
    }

    /// Sets when containers pull; one that did not say gets what Kubernetes fills in.
    async fn pull<'a>(
        &self,
        cluster: &Cluster,
        policies: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<(), SystemError> {
        let containers: Vec<Value> =
            policies.map(|(name, policy)| json!({ "name": name, "imagePullPolicy": policy })).collect();
        let patch = Patch::Strategic(json!({ "spec": { "template": { "spec": { "containers": containers } } } }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let (client, namespace, name) = (cluster.client.clone(), &self.namespace, &self.during.name);
        let patched = match self.during.kind {
            WorkloadKind::Deployment => {
                let api = Api::<Deployment>::namespaced(client, namespace);
                api.patch(name, &parameters, &patch).await.map(drop)
            }
            WorkloadKind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(client, namespace);
                api.patch(name, &parameters, &patch).await.map(drop)
            }
        };
        patched.map_err(|error| SystemError::from_api(&format!("set the pull policy of {}", self.during), &error))
    }

    /// Starts the registry, which needs no API server.
    pub(super) async fn heal_below(&self) -> Result<Vec<String>, SystemError> {
        let engine = node_container::engine().await?;
        node_container::bring_back(&engine, &self.container, &format!("registry {}", self.address)).await
    }

    /// Lets nodes use the images that they have again, and waits for the rollout's end.
    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let there = cluster.lane(&self.namespace);
        let now = policies(&template(&there, &self.during).await?);
        let ours = changed_back(&self.policies, &now);
        let mut undone = Vec::new();
        if !ours.is_empty() {
            self.pull(&there, ours.into_iter()).await?;
            undone.push(format!("pull policy of {} as before", self.during));
        }
        workload::wait_until_ready_within(&there, &self.during, ROLLED_OUT_WITHIN).await?;
        Ok(undone)
    }
}

/// The containers whose policy is still the fault's, and what it was before. Any other value is
/// somebody's decision since then.
fn changed_back<'a>(
    before: &'a [(String, Option<String>)],
    now: &[(String, Option<String>)],
) -> Vec<(&'a str, Option<&'a str>)> {
    let is_the_faults = |name: &str| now.iter().any(|(one, policy)| one == name && policy.as_deref() == Some(ALWAYS));
    let changed = before.iter().filter(|(name, policy)| policy.as_deref() != Some(ALWAYS) && is_the_faults(name));
    changed.map(|(name, policy)| (name.as_str(), policy.as_deref())).collect()
}

impl fmt::Display for RegistryReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "registry {} stopped while {} is rolled out", self.address, self.during)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_address_stands_where_the_convention_says() {
        for (told, expected) in [
            ("host: \"localhost:5001\"\nhelp: \"https://kind.sigs.k8s.io/\"\n", Some("localhost:5001")),
            ("  host: localhost:5000\n", Some("localhost:5000")),
            ("hostFromContainerRuntime: \"x:1\"\n", None),
            ("host: \"\"\n", None),
            ("", None),
        ] {
            assert_eq!(host(told).as_deref(), expected, "{told}");
        }
    }

    #[test]
    fn only_what_the_fault_changed_is_changed_back() {
        let list = |pairs: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
            pairs.iter().map(|(name, policy)| ((*name).to_owned(), policy.map(str::to_owned))).collect()
        };
        let before = list(&[("a", Some("IfNotPresent")), ("b", Some("Always")), ("c", None), ("d", Some("Never"))]);
        let now = list(&[("a", Some("Always")), ("b", Some("Always")), ("c", Some("Always")), ("d", Some("Never"))]);
        assert_eq!(changed_back(&before, &now), [("a", Some("IfNotPresent")), ("c", None)]);
        assert_eq!(changed_back(&before, &before), [], "safe to repeat");
    }
}
