//! Faults: prepare, inject, heal. One file a kind; what proves a fault stands in the
//! scenario, because the same fault shows in different ways on different systems.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

pub mod pod_delete;
pub mod pod_signal;
pub mod scale;
mod workload;

pub use pod_delete::PodDelete;
pub use pod_signal::{PodSignal, Signal};
pub use scale::Scale;

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
}

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
}

impl Fault {
    /// Reads what injecting and healing will need. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where the target is not there or the API refuses.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        match self {
            Self::PodSignal(fault) => fault.prepare(cluster).await,
            Self::PodDelete(fault) => fault.prepare(cluster).await,
            Self::Scale(fault) => fault.prepare(cluster).await,
        }
    }

    /// The workload that is broken.
    #[must_use]
    pub fn target(&self) -> &WorkloadRef {
        match self {
            Self::PodSignal(fault) => &fault.of,
            Self::PodDelete(fault) => &fault.of,
            Self::Scale(fault) => &fault.workload,
        }
    }
}

impl Receipt {
    /// Breaks what the receipt names.
    ///
    /// # Errors
    /// [`SystemError`] where the API refuses.
    pub async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        match self {
            Self::PodSignal { .. } => pod_signal::inject(self, cluster).await,
            Self::PodDelete { .. } => pod_delete::inject(self, cluster).await,
            Self::Scale { .. } => scale::inject(self, cluster).await,
        }
    }

    /// Puts right what the receipt names and verifies that the workload is ready again.
    /// Safe to repeat, and where nothing was broken. Returns what it undid, in words.
    ///
    /// # Errors
    /// [`SystemError`], transient where a later try can succeed.
    pub async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let undone = match self {
            Self::PodSignal { .. } => pod_signal::heal(self, cluster).await?,
            // The workload's controller makes a new pod; nothing of ours is left to undo.
            Self::PodDelete { .. } => Vec::new(),
            Self::Scale { .. } => scale::heal(self, cluster).await?,
        };
        workload::wait_until_ready(cluster, self.workload()).await?;
        Ok(undone)
    }

    /// The workload that was broken.
    #[must_use]
    pub fn workload(&self) -> &WorkloadRef {
        match self {
            Self::PodSignal { of, .. } | Self::PodDelete { of, .. } => of,
            Self::Scale { workload, .. } => workload,
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
        }
    }
}
