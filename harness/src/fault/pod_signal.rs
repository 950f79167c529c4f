//! A signal to a container's first process, sent from its node.
//!
//! From inside its own PID namespace, PID 1 cannot be killed or stopped: the kernel
//! drops SIGKILL and SIGSTOP. So the signal goes through the node: on the embedded
//! cluster by the node's own channel, which is not part of the Kubernetes API; on a kind
//! cluster by a command in the container that is the node.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::{Receipt, node_container, workload};
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
        node_channel(cluster)?;
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
    match node_channel(cluster)? {
        Channel::Api => through_api(cluster, receipt, signal).await,
        Channel::Container => through_container(cluster, receipt, signal).await,
    }
}

async fn through_api(cluster: &Cluster, receipt: &Receipt, signal: Signal) -> Result<(), SystemError> {
    let Receipt::PodSignal { namespace, pod, container, .. } = receipt else { unreachable!("dispatched by kind") };
    let body = serde_json::json!({ "signal": signal, "container": container });
    let request = http::Request::post(format!("/gameday/v1/namespaces/{namespace}/pods/{pod}/signal"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .expect("names of objects are valid in a path");
    let sent = cluster.client.request_text(request).await;
    sent.map(drop).map_err(|error| SystemError::from_api(&format!("send {signal} to pod `{pod}`"), &error))
}

/// Finds the container's first process as its node sees it, and signals it there.
async fn through_container(cluster: &Cluster, receipt: &Receipt, signal: Signal) -> Result<(), SystemError> {
    let Receipt::PodSignal { pod, container_id, .. } = receipt else { unreachable!("dispatched by kind") };
    let lost = |why: &str| SystemError { message: format!("send {signal} to pod `{pod}`: {why}"), transient: false };
    let found = workload::pod(cluster, pod).await?.ok_or_else(|| lost("it is gone"))?;
    if workload::first_container_id(&found).as_ref() != Some(container_id) {
        return Err(lost("its container is another one by now"));
    }
    let node = found.spec.and_then(|spec| spec.node_name).ok_or_else(|| lost("it is on no node"))?;
    // `containerd://0123…`.
    let id = container_id.rsplit_once("://").map_or(container_id.as_str(), |(_, id)| id);
    let engine = node_container::engine().await?;
    let told = node_container::run(&engine, &node, &["crictl", "inspect", "--output", "json", id]).await?;
    let pid = pid(&told).ok_or_else(|| lost("its node tells no process of it"))?;
    let kill = format!("kill -s {} {pid}", signal.to_string().trim_start_matches("SIG"));
    node_container::run(&engine, &node, &["sh", "-c", &kill]).await.map(drop)
}

/// The first process of a container, in what `crictl inspect` says about it.
fn pid(told: &str) -> Option<u64> {
    // Warnings about its own settings may stand before the object.
    let told: Value = serde_json::from_str(told.get(told.find('{')?..)?).ok()?;
    told.pointer("/info/pid")?.as_u64().filter(|pid| *pid > 1)
}

/// The way to a process' node.
enum Channel {
    Api,
    Container,
}

fn node_channel(cluster: &Cluster) -> Result<Channel, SystemError> {
    match cluster.facts.kind {
        ClusterKind::Embedded => Ok(Channel::Api),
        ClusterKind::Kind => Ok(Channel::Container),
        ClusterKind::Context => Err(SystemError {
            message: format!(
                "signal a process on `{}`: this cluster gives no way into its nodes; run this variant on the embedded \
                 cluster or on a kind cluster",
                cluster.facts.name
            ),
            transient: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_read_from_what_the_node_tells() {
        let check = |told: &str, expect: Option<u64>| assert_eq!(pid(told), expect, "{told}");
        check(r#"{"status":{"id":"a"},"info":{"pid":4711,"sandboxID":"b"}}"#, Some(4711));
        check("time=\"…\" level=warning msg=\"no endpoint\"\n{\"info\": {\"pid\": 12}}", Some(12));
        // Of a container that has ended; and nobody signals the node's own first process.
        check(r#"{"info":{"pid":0}}"#, None);
        check(r#"{"info":{"pid":1}}"#, None);
        check(r#"{"info":{}}"#, None);
        check("no such container", None);
    }
}
