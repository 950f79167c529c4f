//! Faults: prepare, inject, heal. One file a kind; what proves a fault stands in the
//! scenario, because the same fault shows in different ways on different systems.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::proxy::{Remote, Trick};
use crate::scenario::needs::Need;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

pub mod annotate;
pub mod api_server;
pub mod chaos;
mod drain;
pub mod kubelet;
pub mod leak;
pub mod llm_double;
pub mod network_cut;
pub mod node;
mod node_container;
pub mod pod_delete;
pub mod pod_signal;
mod receipt;
pub mod registry;
pub mod rollout_restart;
pub mod scale;
pub mod secret;
pub mod traffic;
pub(crate) mod workload;

pub use annotate::Annotate;
pub use api_server::{ApiServer, ApiServerReceipt};
pub use chaos::{Chaos, ChaosKind, ChaosReceipt};
pub use kubelet::{Kubelet, KubeletReceipt};
pub use leak::{Leak, LeakReceipt};
pub use llm_double::{DoubleReceipt, LlmDouble};
pub use network_cut::{NetworkCut, NetworkCutReceipt};
pub use node::{NodeChoice, NodeDeed, NodeFault, NodeReceipt, Runs};
pub use pod_delete::PodDelete;
pub use pod_signal::{PodSignal, Signal};
pub use receipt::Receipt;
pub use registry::{RegistryDown, RegistryReceipt};
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
    /// Lets a pod leak memory until it is killed: only where the system has a switch for it.
    Leak(Leak),
    /// Stops, freezes, restarts or drains a node: only of a kind cluster on this machine.
    Node(NodeFault),
    /// Stops the kubelet of a node: only of a kind cluster on this machine.
    Kubelet(Kubelet),
    /// Takes the API server away for a while: only of a kind cluster on this machine.
    ApiServer(ApiServer),
    /// Stops the local registry during a rollout: only of a kind cluster on this machine.
    Registry(RegistryDown),
    /// Cuts the network between two workloads by a NetworkPolicy.
    NetworkCut(NetworkCut),
    /// Creates an object of Chaos Mesh: only where it is installed.
    Chaos(Chaos),
}

/// What a fault can reach.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The fault proxy, in the run that has one. Whoever heals from outside has none.
    pub proxy: Option<&'a Remote>,
}

/// A cluster misses a node only after a while: 50 s without a word since 1.32, 40 s before it, and
/// what follows from it takes its time too.
const NODE_MISSED_WITHIN: Duration = Duration::from_secs(80);
/// A rollout takes its time: three pods one by one, each with its readiness and its grace.
const ROLLOUT_WITHIN: Duration = Duration::from_secs(120);

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
            Self::Leak(fault) => fault.prepare(cluster).await,
            Self::Node(fault) => fault.prepare(cluster, seed).await,
            Self::Kubelet(fault) => fault.prepare(cluster, seed).await,
            Self::ApiServer(fault) => fault.prepare(cluster).await,
            Self::Registry(fault) => fault.prepare(cluster).await,
            Self::NetworkCut(fault) => fault.prepare(cluster).await,
            Self::Chaos(fault) => fault.prepare(cluster).await,
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
            Self::Leak(fault) => Some(&fault.of),
            Self::LlmDouble(_)
            | Self::Traffic(_)
            | Self::Annotate(_)
            | Self::Node(_)
            | Self::Kubelet(_)
            | Self::ApiServer(_)
            | Self::Registry(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => None,
        }
    }

    /// How long it may take to be everywhere. Who acts on the first sign of it would put right
    /// a system that is only half broken.
    #[must_use]
    pub fn spreads_within(&self) -> Duration {
        match self {
            Self::Secret(_) => ROLLOUT_WITHIN,
            Self::Node(_) | Self::Kubelet(_) => NODE_MISSED_WITHIN,
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Annotate(_)
            | Self::LlmDouble(_)
            | Self::Traffic(_)
            | Self::Leak(_)
            | Self::ApiServer(_)
            | Self::Registry(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => Duration::ZERO,
        }
    }

    /// How long it may take until anything shows, where that is longer than usual: before it is
    /// over, nothing felt is no fault that did not bite.
    #[must_use]
    pub fn shows_within(&self) -> Duration {
        match self {
            Self::Node(_) | Self::Kubelet(_) => NODE_MISSED_WITHIN,
            Self::Leak(_) => leak::KILLED_WITHIN,
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Secret(_)
            | Self::Annotate(_)
            | Self::LlmDouble(_)
            | Self::Traffic(_)
            | Self::ApiServer(_)
            | Self::Registry(_)
            | Self::NetworkCut(_)
            | Self::Chaos(_) => Duration::ZERO,
        }
    }

    /// What it needs of the system's surroundings, which a scenario with it must name.
    #[must_use]
    pub fn needs(&self) -> Option<Need> {
        match self {
            Self::LlmDouble(_) => Some(Need::LlmDouble),
            Self::Leak(_) => Some(Need::Debug),
            Self::Node(_) | Self::Kubelet(_) | Self::ApiServer(_) => Some(Need::Nodes),
            Self::Registry(_) => Some(Need::Registry),
            Self::NetworkCut(_) => Some(Need::NetworkPolicy),
            Self::Chaos(_) => Some(Need::ChaosMesh),
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Secret(_)
            | Self::Traffic(_)
            | Self::Annotate(_) => None,
        }
    }

    /// Whether systems in other namespaces of the cluster feel it too.
    #[must_use]
    pub fn touches_neighbours(&self) -> bool {
        matches!(self.needs(), Some(Need::Nodes | Need::Registry))
    }

    /// How long it stands at least before the remedy: trouble of somebody outside, who does not
    /// wait for us to have seen it.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::LlmDouble(fault) => fault.lasts,
            Self::Registry(fault) => fault.lasts,
            Self::NetworkCut(fault) => fault.lasts,
            Self::PodSignal(_)
            | Self::PodDelete(_)
            | Self::Scale(_)
            | Self::RolloutRestart(_)
            | Self::Annotate(_)
            | Self::Secret(_)
            | Self::Traffic(_)
            | Self::Leak(_)
            | Self::Node(_)
            | Self::Kubelet(_)
            | Self::ApiServer(_)
            | Self::Chaos(_) => Duration::ZERO,
        }
    }
}
