//! What a fault leaves for healing: known, and on the disk, before anything is broken.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    ApiServerReceipt, ChaosReceipt, DoubleReceipt, KubeletReceipt, LeakReceipt, NetworkCutReceipt, NodeReceipt, Reach,
    RegistryReceipt, SecretReceipt, Signal, annotate, pod_delete, pod_signal, rollout_restart, scale, traffic,
    workload,
};
use crate::proxy::Trick;
use crate::scenario::object::ObjectRef;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

/// All that healing needs, known and synced before the injection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receipt {
    /// A signal to one container of one pod.
    PodSignal {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// uid of the pod: another pod of the same name is not the one we signalled.
        uid: String,
        /// Name of the container.
        container: String,
        /// Id of the container: a restarted one is not the one we signalled.
        container_id: String,
        /// Which signal.
        signal: Signal,
        /// Who owns the pod.
        of: WorkloadRef,
    },
    /// A deleted pod.
    PodDelete {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// uid of the pod.
        uid: String,
        /// Who owns the pod.
        of: WorkloadRef,
    },
    /// A scaled workload.
    Scale {
        /// Namespace of the workload.
        namespace: String,
        /// Which workload.
        workload: WorkloadRef,
        /// Its `spec.replicas` before.
        replicas_before: u32,
        /// Its `spec.replicas` by the fault.
        replicas_fault: u32,
    },
    /// A restarted rollout.
    RolloutRestart {
        /// Namespace of the workload.
        namespace: String,
        /// Which workload.
        workload: WorkloadRef,
    },
    /// A replaced key of a Secret.
    Secret(SecretReceipt),
    /// A switched double of the LLM.
    LlmDouble(DoubleReceipt),
    /// Something done to the traffic.
    Traffic {
        /// Where the proxy's API is. Its token stands nowhere: without it the tricks can only
        /// be left to end, and they do when nobody renews their lease.
        api: SocketAddr,
        /// Which proxy: a port may be another program's by now.
        proxy: String,
        /// What it does.
        trick: Trick,
    },
    /// An annotation set or removed.
    Annotate {
        /// Namespace of the object.
        namespace: String,
        /// Which object.
        object: ObjectRef,
        /// The annotation's name.
        key: String,
        /// Its value before; absent where it was not there.
        value_before: Option<String>,
        /// Its value by the fault; absent where it was removed.
        value_fault: Option<String>,
    },
    /// Memory that a pod does not give back.
    Leak(LeakReceipt),
    /// Something done to a node.
    Node(NodeReceipt),
    /// A stopped kubelet.
    Kubelet(KubeletReceipt),
    /// An API server that is away.
    ApiServer(ApiServerReceipt),
    /// A stopped registry.
    Registry(RegistryReceipt),
    /// A network that is cut.
    NetworkCut(NetworkCutReceipt),
    /// An object of Chaos Mesh.
    Chaos(ChaosReceipt),
}

impl Receipt {
    /// Breaks what the receipt names.
    ///
    /// # Errors
    /// [`SystemError`] where the API refuses.
    pub async fn inject(&self, reach: Reach<'_>) -> Result<(), SystemError> {
        let cluster = reach.cluster;
        match self {
            Self::PodSignal { .. } => pod_signal::inject(self, cluster).await,
            Self::PodDelete { .. } => pod_delete::inject(self, cluster).await,
            Self::Scale { .. } => scale::inject(self, cluster).await,
            Self::RolloutRestart { .. } => rollout_restart::inject(self, cluster).await,
            Self::Secret(receipt) => receipt.inject(cluster).await,
            Self::LlmDouble(receipt) => receipt.inject(cluster).await,
            Self::Traffic { .. } => traffic::inject(self, reach.proxy).await,
            Self::Annotate { .. } => annotate::inject(self, cluster).await,
            Self::Leak(receipt) => receipt.inject(cluster).await,
            Self::Node(receipt) => receipt.inject(cluster).await,
            Self::Kubelet(receipt) => receipt.inject().await,
            Self::ApiServer(receipt) => receipt.inject().await,
            Self::Registry(receipt) => receipt.inject(cluster).await,
            Self::NetworkCut(receipt) => receipt.inject(cluster).await,
            Self::Chaos(receipt) => receipt.inject(cluster).await,
        }
    }

    /// Whether something was broken below the Kubernetes API, which may be away because of it.
    #[must_use]
    pub fn is_below(&self) -> bool {
        match self {
            Self::Node(_) | Self::Kubelet(_) | Self::ApiServer(_) | Self::Registry(_) => true,
            Self::PodSignal { .. }
            | Self::PodDelete { .. }
            | Self::Scale { .. }
            | Self::RolloutRestart { .. }
            | Self::Secret(_)
            | Self::LlmDouble(_)
            | Self::Traffic { .. }
            | Self::Annotate { .. }
            | Self::Leak(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => false,
        }
    }

    /// The part of healing that needs no API server: what was broken below it is brought back.
    /// Safe to repeat. Returns what it undid, in words.
    ///
    /// # Errors
    /// [`SystemError`], transient where a later try can succeed.
    pub async fn heal_below(&self) -> Result<Vec<String>, SystemError> {
        match self {
            Self::Node(receipt) => receipt.heal_below().await,
            Self::Kubelet(receipt) => receipt.heal_below().await,
            Self::ApiServer(receipt) => receipt.heal_below().await,
            Self::Registry(receipt) => receipt.heal_below().await,
            Self::PodSignal { .. }
            | Self::PodDelete { .. }
            | Self::Scale { .. }
            | Self::RolloutRestart { .. }
            | Self::Secret(_)
            | Self::LlmDouble(_)
            | Self::Traffic { .. }
            | Self::Annotate { .. }
            | Self::Leak(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => Ok(Vec::new()),
        }
    }

    /// Puts right what the receipt names and verifies it: a workload that was broken is ready
    /// again, traffic passes.
    /// Safe to repeat, and where nothing was broken. Returns what it undid, in words.
    ///
    /// # Errors
    /// [`SystemError`], transient where a later try can succeed.
    pub async fn heal(&self, reach: Reach<'_>) -> Result<Vec<String>, SystemError> {
        let cluster = reach.cluster;
        let mut undone = self.heal_below().await?;
        undone.extend(match self {
            Self::PodSignal { .. } => pod_signal::heal(self, cluster).await?,
            // The workload's controller makes new pods; nothing of ours is left to undo.
            Self::PodDelete { .. } | Self::RolloutRestart { .. } => Vec::new(),
            Self::Scale { .. } => scale::heal(self, cluster).await?,
            Self::Secret(receipt) => receipt.heal(cluster).await?,
            Self::LlmDouble(receipt) => receipt.heal(cluster).await?,
            Self::Traffic { .. } => traffic::heal(self, reach.proxy).await?,
            Self::Annotate { .. } => annotate::heal(self, cluster).await?,
            Self::Leak(receipt) => receipt.heal(cluster).await?,
            Self::Node(receipt) => receipt.heal(cluster).await?,
            Self::Kubelet(receipt) => receipt.heal(cluster).await?,
            Self::ApiServer(receipt) => receipt.heal(cluster).await?,
            Self::Registry(receipt) => receipt.heal(cluster).await?,
            Self::NetworkCut(receipt) => receipt.heal(cluster).await?,
            Self::Chaos(receipt) => receipt.heal(cluster).await?,
        });
        if let Some(workload) = self.workload() {
            workload::wait_until_ready(cluster, workload).await?;
        }
        Ok(undone)
    }

    /// The namespace in which something was broken, and with which it goes; absent where it was none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::PodSignal { namespace, .. }
            | Self::PodDelete { namespace, .. }
            | Self::Scale { namespace, .. }
            | Self::RolloutRestart { namespace, .. }
            | Self::Annotate { namespace, .. } => Some(namespace),
            Self::Secret(receipt) => Some(&receipt.namespace),
            Self::LlmDouble(receipt) => Some(&receipt.namespace),
            Self::Leak(receipt) => Some(&receipt.namespace),
            Self::NetworkCut(receipt) => Some(&receipt.namespace),
            Self::Chaos(receipt) => Some(&receipt.namespace),
            Self::Traffic { .. } | Self::Node(_) | Self::Kubelet(_) | Self::ApiServer(_) | Self::Registry(_) => None,
        }
    }

    /// The workload that was broken; absent where it was none.
    #[must_use]
    pub fn workload(&self) -> Option<&WorkloadRef> {
        match self {
            Self::PodSignal { of, .. } | Self::PodDelete { of, .. } => Some(of),
            Self::Scale { workload, .. } | Self::RolloutRestart { workload, .. } => Some(workload),
            Self::Secret(receipt) => Some(&receipt.restart),
            Self::LlmDouble(receipt) => Some(&receipt.of),
            Self::Leak(receipt) => Some(&receipt.of),
            // What ran on a node, or was rolled out, is waited for by themselves, and longer.
            Self::Traffic { .. }
            | Self::Annotate { .. }
            | Self::Node(_)
            | Self::Kubelet(_)
            | Self::ApiServer(_)
            | Self::Registry(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => None,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodSignal { pod, signal, .. } => write!(formatter, "{signal} to pod {pod}"),
            Self::PodDelete { pod, .. } => write!(formatter, "delete of pod {pod}"),
            Self::Scale { workload, replicas_fault, .. } => {
                write!(formatter, "scale of {workload} to {replicas_fault}")
            }
            Self::RolloutRestart { workload, .. } => write!(formatter, "restart of {workload}"),
            Self::Secret(SecretReceipt { name, key, value, .. }) => {
                write!(formatter, "key `{key}` of secret/{name} replaced by {value}")
            }
            Self::LlmDouble(DoubleReceipt { fault, .. }) => write!(formatter, "the LLM's double switched to `{fault}`"),
            Self::Traffic { trick, .. } => write!(formatter, "traffic: {trick}"),
            Self::Annotate { object, key, value_fault, .. } => {
                formatter.write_str(&annotate::told(object, key, value_fault.as_deref()))
            }
            Self::Leak(receipt) => write!(formatter, "leak of pod {}", receipt.pod),
            Self::Node(receipt) => receipt.fmt(formatter),
            Self::Kubelet(receipt) => receipt.fmt(formatter),
            Self::ApiServer(receipt) => receipt.fmt(formatter),
            Self::Registry(receipt) => receipt.fmt(formatter),
            Self::NetworkCut(receipt) => write!(formatter, "network cut from {} to {}", receipt.from, receipt.to),
            Self::Chaos(receipt) => receipt.fmt(formatter),
        }
    }
}
