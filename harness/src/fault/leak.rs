//! Memory that a pod takes and never gives back, until it is killed at its limit.
//!
//! Nothing can eat memory in the place of a container whose image has nothing but its own
//! program, so the program must have a switch for it: the stand-in's `/debug/leak`.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Lets the workload's first pod leak until it is killed; what remains is healed by telling it to
/// give the memory back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Leak {
    /// Whose pod. Its first container needs a memory limit.
    pub of: WorkloadRef,
    /// The port of its debug switches.
    #[serde(default = "port")]
    pub port: u16,
}

fn port() -> u16 {
    8000
}

/// What healing a leak needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeakReceipt {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Id of its container: a restarted one leaks no more.
    pub container_id: String,
    /// The port of its debug switches.
    pub port: u16,
    /// Who owns the pod.
    pub of: WorkloadRef,
}

impl Leak {
    /// Finds the pod, and makes sure that its limit stops the leak. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is no pod, or no limit.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let pod = workload::first_pod(cluster, &self.of).await?;
        let name = pod.metadata.name.clone().unwrap_or_default();
        if !has_limit(&pod) {
            let message = format!("let pod `{name}` leak: its container has no memory limit, so the node would pay");
            return Err(SystemError { message, transient: false });
        }
        Ok(Receipt::Leak(LeakReceipt {
            namespace: cluster.namespace.clone(),
            container_id: workload::first_container_id(&pod).unwrap_or_default(),
            pod: name,
            port: self.port,
            of: self.of.clone(),
        }))
    }
}

fn has_limit(pod: &Pod) -> bool {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let limits = container.and_then(|container| container.resources.as_ref()?.limits.as_ref());
    limits.is_some_and(|limits| limits.contains_key("memory"))
}

impl LeakReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        self.tell(cluster, Request::post(self.path())).await
    }

    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let same = workload::pod(cluster, &self.pod)
            .await?
            .is_some_and(|found| workload::first_container_id(&found).as_ref() == Some(&self.container_id));
        if !same {
            return Ok(Vec::new());
        }
        match self.tell(cluster, Request::delete(self.path())).await {
            Ok(()) => Ok(vec![format!("pod {} told to give its memory back", self.pod)]),
            // One that is killed between the look and the word leaks no more.
            Err(_) => Err(SystemError {
                message: format!("tell pod `{}` to give its memory back: it does not answer", self.pod),
                transient: true,
            }),
        }
    }

    fn path(&self) -> String {
        format!("{}/leak", switches(&self.namespace, &self.pod, self.port))
    }

    async fn tell(&self, cluster: &Cluster, request: http::request::Builder) -> Result<(), SystemError> {
        let request = request.body(Vec::new()).expect("names of objects are valid in a path");
        let told = cluster.client.request_text(request).await;
        told.map(drop).map_err(|error| SystemError::from_api(&format!("switch the leak of pod `{}`", self.pod), &error))
    }
}

/// The path of a pod's debug switches, through the API server.
fn switches(namespace: &str, pod: &str, port: u16) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/debug")
}

/// How long a leak may take until it meets the limit.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// Whether the pods of a workload have debug switches.
///
/// # Errors
/// [`SystemError`] where the pods cannot be asked.
pub async fn has_switches(cluster: &Cluster, of: &WorkloadRef, port: u16) -> Result<bool, SystemError> {
    let pod = workload::first_pod(cluster, of).await?;
    let path = switches(&cluster.namespace, &pod.metadata.name.unwrap_or_default(), port);
    let request = Request::get(path).body(Vec::new()).expect("names of objects are valid in a path");
    match cluster.client.request_text(request).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(SystemError::from_api(&format!("ask {of} for its debug switches"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_pod_with_a_limit_may_leak() {
        let check = |resources: Value, expect: bool| {
            let pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "c", "resources": resources }] } });
            assert_eq!(has_limit(&serde_json::from_value(pod).unwrap()), expect, "{resources}");
        };
        check(json!({ "limits": { "memory": "1Gi" } }), true);
        check(json!({ "limits": { "cpu": "1" }, "requests": { "memory": "1Gi" } }), false);
        check(json!({}), false);
    }
}
