//! Faults: prepare, inject, heal. One file a kind; what proves a fault stands in the
//! scenario, because the same fault shows in different ways on different systems.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::proxy::{Remote, Trick};
use crate::scenario::object::ObjectRef;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

pub mod annotate;
pub mod llm_double;
pub mod pod_delete;
pub mod pod_signal;
pub mod rollout_restart;
pub mod scale;
pub mod secret;
pub mod traffic;
pub(crate) mod workload;

pub use annotate::Annotate;
pub use llm_double::{DoubleReceipt, LlmDouble};
pub use pod_delete::PodDelete;
pub use pod_signal::{PodSignal, Signal};
pub use rollout_restart::RolloutRestart;
pub use scale::Scale;
pub use secret::{BadValue, SecretKey, SecretReceipt};

/// What a scenario breaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Sends a signal to PID 1 of a container, from outside its namespace.
    PodSignal(PodSignal),
    /// Deletes a pod.
    PodDelete(PodDelete),
    /// Scales a workload.
    Scale(Scale),
    /// Restarts a workload's rollout.
    RolloutRestart(RolloutRestart),
    /// Replaces a key of a Secret, and restarts the workload that reads it.
    Secret(SecretKey),
    /// Switches how the LLM's double answers: only where there is one.
    LlmDouble(LlmDouble),
    /// Does something to the traffic between clients and the Service. It needs a scenario, or a
    /// variant, that goes `through` the fault proxy.
    Traffic(Trick),
    /// Sets or removes an annotation of an object.
    Annotate(Annotate),
}

/// What a fault can reach.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The fault proxy, in the run that has one. Whoever heals from outside has none.
    pub proxy: Option<&'a Remote>,
}

/// A rollout takes its time: three pods one by one, each with its readiness and its grace.
const ROLLOUT_WITHIN: Duration = Duration::from_secs(120);

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
}

impl Fault {
    /// Reads what injecting and healing will need. Changes nothing. The seed decides what is
    /// left to chance.
    ///
    /// # Errors
    /// [`SystemError`] where the target is not there or the API refuses.
    pub async fn prepare(&self, reach: Reach<'_>, seed: u64) -> Result<Receipt, SystemError> {
        let cluster = reach.cluster;
        match self {
            Self::PodSignal(fault) => fault.prepare(cluster).await,
            Self::PodDelete(fault) => fault.prepare(cluster).await,
            Self::Scale(fault) => fault.prepare(cluster).await,
            Self::RolloutRestart(fault) => fault.prepare(cluster).await,
            Self::Secret(fault) => fault.prepare(cluster, seed).await,
            Self::LlmDouble(fault) => fault.prepare(cluster).await,
            Self::Traffic(trick) => traffic::prepare(trick, reach.proxy),
            Self::Annotate(fault) => fault.prepare(cluster).await,
        }
    }

    /// The workload that is broken; absent where it is none.
    #[must_use]
    pub fn target(&self) -> Option<&WorkloadRef> {
        match self {
            Self::PodSignal(fault) => Some(&fault.of),
            Self::PodDelete(fault) => Some(&fault.of),
            Self::Scale(fault) => Some(&fault.workload),
            Self::RolloutRestart(fault) => Some(&fault.workload),
            Self::Secret(fault) => Some(&fault.restart),
            Self::LlmDouble(_) | Self::Traffic(_) | Self::Annotate(_) => None,
        }
    }

    /// How long it may take to be everywhere. Who acts on the first sign of it would put right
    /// a system that is only half broken.
    #[must_use]
    pub fn spreads_within(&self) -> Duration {
        match self {
            Self::Secret(_) => ROLLOUT_WITHIN,
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Annotate(_)
            | Self::LlmDouble(_)
            | Self::Traffic(_) => Duration::ZERO,
        }
    }

    /// How long it stands at least before the remedy: trouble of somebody outside, who does not
    /// wait for us to have seen it.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::LlmDouble(fault) => fault.lasts,
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Annotate(_)
            | Self::Secret(_)
            | Self::Traffic(_) => Duration::ZERO,
        }
    }
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
        let undone = match self {
            Self::PodSignal { .. } => pod_signal::heal(self, cluster).await?,
            // The workload's controller makes new pods; nothing of ours is left to undo.
            Self::PodDelete { .. } | Self::RolloutRestart { .. } => Vec::new(),
            Self::Scale { .. } => scale::heal(self, cluster).await?,
            Self::Secret(receipt) => receipt.heal(cluster).await?,
            Self::LlmDouble(receipt) => receipt.heal(cluster).await?,
            Self::Traffic { .. } => traffic::heal(self, reach.proxy).await?,
            Self::Annotate { .. } => annotate::heal(self, cluster).await?,
        };
        if let Some(workload) = self.workload() {
            workload::wait_until_ready(cluster, workload).await?;
        }
        Ok(undone)
    }

    /// The namespace in which something was broken; absent where it was none.
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
            Self::Traffic { .. } => None,
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
            Self::Traffic { .. } | Self::Annotate { .. } => None,
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
        }
    }
}
