//! A signal to a container's first process, sent from its node.
//!
//! From inside its own PID namespace, PID 1 cannot be killed or stopped: the kernel
//! drops SIGKILL and SIGSTOP. So the signal goes through the node: on the embedded
//! cluster by the node's own channel, which is not part of the Kubernetes API.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::event::ClusterKind;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// Sends a signal to PID 1 of the first container of the workload's first pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodSignal {
    /// Whose pod.
    pub of: WorkloadRef,
    /// Which signal.
    pub signal: Signal,
}

/// Signals a scenario can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Signal {
    /// The process is gone at once.
    #[serde(rename = "SIGKILL")]
    Kill,
    /// The process stands still; healed by SIGCONT.
    #[serde(rename = "SIGSTOP")]
    Stop,
    /// The process goes on: heals SIGSTOP, and harmless otherwise.
    #[serde(rename = "SIGCONT")]
    Continue,
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
            Self::Continue => "SIGCONT",
        })
    }
}

impl PodSignal {
    /// Finds the pod and its container. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is none, or the cluster gives no way into its node.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        require_node_channel(cluster)?;
        let pod = workload::first_pod(cluster, &self.of).await?;
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|one| one.name.clone());
        Ok(Receipt::PodSignal {
            namespace: cluster.namespace.clone(),
            container_id: workload::first_container_id(&pod).unwrap_or_default(),
            pod: pod.metadata.name.unwrap_or_default(),
            uid: pod.metadata.uid.unwrap_or_default(),
            container: container.unwrap_or_default(),
            signal: self.signal,
            of: self.of.clone(),
        })
    }
}

pub(super) async fn inject(receipt: &Receipt, cluster: &Cluster) -> Result<(), SystemError> {
    let Receipt::PodSignal { signal, .. } = receipt else { unreachable!("dispatched by kind") };
    send(cluster, receipt, *signal).await
}

pub(super) async fn heal(receipt: &Receipt, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
    let Receipt::PodSignal { pod, uid, container_id, signal, .. } = receipt else { unreachable!("dispatched by kind") };
    match signal {
        // A killed process is the kubelet's to restart, and a continued one goes on.
        Signal::Kill | Signal::Continue => Ok(Vec::new()),
        Signal::Stop => {
            let same = workload::pod(cluster, pod).await?.is_some_and(|found| {
                found.metadata.uid.as_ref() == Some(uid)
                    && workload::first_container_id(&found).as_ref() == Some(container_id)
            });
            if !same {
                return Ok(Vec::new());
            }
            match send(cluster, receipt, Signal::Continue).await {
                Ok(()) => Ok(vec![format!("SIGCONT to pod {pod}")]),
                // It ended between the look and the signal: nothing is left stopped.
                Err(error) if error.transient => Err(error),
                Err(error) if workload::pod(cluster, pod).await?.is_some() => Err(error),
                Err(_) => Ok(Vec::new()),
            }
        }
    }
}

async fn send(cluster: &Cluster, receipt: &Receipt, signal: Signal) -> Result<(), SystemError> {
    require_node_channel(cluster)?;
    let Receipt::PodSignal { namespace, pod, container, .. } = receipt else { unreachable!("dispatched by kind") };
    let body = serde_json::json!({ "signal": signal, "container": container });
    let request = http::Request::post(format!("/gameday/v1/namespaces/{namespace}/pods/{pod}/signal"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .expect("names of objects are valid in a path");
    let sent = cluster.client.request_text(request).await;
    sent.map(drop).map_err(|error| SystemError::from_api(&format!("send {signal} to pod `{pod}`"), &error))
}

fn require_node_channel(cluster: &Cluster) -> Result<(), SystemError> {
    match cluster.facts.kind {
        ClusterKind::Embedded => Ok(()),
        ClusterKind::Kind | ClusterKind::Context => Err(SystemError {
            message: format!(
                "signal a process on `{}`: this cluster gives no way into its nodes; run this variant on the embedded cluster",
                cluster.facts.name
            ),
            transient: false,
        }),
    }
}
