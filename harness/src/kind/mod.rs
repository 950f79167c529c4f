//! kind: a real Kubernetes whose nodes are containers of this machine's Docker engine.
//!
//! There is no library for kind, so its program is run. Everything of ours about a cluster lies in
//! one directory of the state directory: never in the user's kubeconfig, never as the current context.
//! Whoever is interrupted, wherever that is, leaves something that the next `up` or `down` can tell
//! for what it is: nodes carry a mark of ours, the registry carries labels, and a lock is held for as
//! long as anybody is at work, a `kind` that outlived us included.

use std::path::PathBuf;

use crate::cluster::ClusterError;
use crate::docker::DockerError;

pub mod config;
mod down;
mod files;
pub(crate) mod ports;
mod program;
mod ready;
mod registry;
mod state;
mod up;

pub use down::{Removed, down};
pub use files::Running;
pub use program::version;
pub use registry::DEFAULT_IMAGE as REGISTRY_IMAGE;
pub use up::up;

use files::Files;

/// The label by which kind marks the nodes of a cluster.
const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";

/// Takes what is told while something takes its time.
pub type Tell<'a> = &'a mut (dyn FnMut(&str) + Send);

/// How a cluster is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// The nodes' image; the one of `kind-config/cluster.yaml` where absent.
    pub node_image: Option<String>,
    /// The registry's image; [`REGISTRY_IMAGE`] where absent.
    pub registry_image: Option<String>,
}

/// A kind cluster could not be made, adopted or removed.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// The Docker engine.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The program is not installed.
    #[error("find `kind`: not installed")]
    NoProgram,
    /// The program failed.
    #[error("run `{command}`: {said}")]
    Program {
        /// Its command line.
        command: String,
        /// What it said last.
        said: String,
    },
    /// Somebody else's cluster has this name, and cannot be used.
    #[error("adopt kind cluster `{name}`: {reason}")]
    Others {
        /// Its name.
        name: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Somebody else's container has the registry's name.
    #[error("make the registry: a container `{container}` is there already, and is not ours")]
    Taken {
        /// Its name.
        container: String,
    },
    /// Another process is at work on it.
    #[error("take kind cluster `{name}`: another process is at work on it (lock `{lock}`)")]
    Busy {
        /// Its name.
        name: String,
        /// The lock.
        lock: PathBuf,
    },
    /// It is not ready in time.
    #[error("see {what} within {seconds} s; last seen: {last}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was last seen.
        last: String,
    },
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The state directory cannot be used.
    #[error("use the state directory: {0}")]
    State(String),
}

/// The kind cluster of this name that [`up`] made or adopted, if there is one. Whether it answers is
/// another question: nothing but a file is asked here.
#[must_use]
pub fn find(name: &str) -> Option<Running> {
    Files::of(name).ok()?.running()
}

/// What a cluster of this name is called in reports, and in kubeconfigs that kind writes.
#[must_use]
pub fn context(name: &str) -> String {
    format!("kind-{name}")
}

/// The Docker network of kind's nodes, as kind itself chooses it.
fn network() -> String {
    std::env::var("KIND_EXPERIMENTAL_DOCKER_NETWORK").ok().filter(|name| !name.is_empty()).unwrap_or("kind".to_owned())
}
