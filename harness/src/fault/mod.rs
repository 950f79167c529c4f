//! Faults: inject, prove, heal. One file a kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::plan::WorkloadRef;

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

/// Deletes the workload's first pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodDelete {
    /// Whose pod.
    pub of: WorkloadRef,
}

/// Scales a workload to a number of replicas; healed by scaling it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scale {
    /// Which workload.
    pub workload: WorkloadRef,
    /// To how many replicas.
    pub replicas: u32,
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
