//! The node agent: runs pods as namespace sandboxes, probes them, ends them.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::status::Status;

/// The node agent as the API server and the controllers see it. Clones share it.
#[derive(Debug, Clone)]
pub struct Node {}

/// A running container to exec in, or to signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

impl Node {
    /// A node agent that runs nothing: logs, exec and node ports answer as for pods that
    /// never started.
    #[must_use]
    pub fn without_pods(_store: crate::store::Store) -> Self {
        Self {}
    }

    /// The log file of a container's current or previous run: one CRI line a line
    /// (`2026-01-01T00:00:00.000000000Z stdout F text`). `None` where it never ran.
    #[must_use]
    pub fn log_file(&self, _pod_uid: &str, _container: &str, _previous: bool) -> Option<PathBuf> {
        None
    }

    /// A command that runs `argv` inside a running container's namespaces, with its
    /// environment and working directory; pipes are for the caller to set.
    ///
    /// # Errors
    /// A `Status` as the kubelet words it where the container does not run.
    pub fn exec(
        &self,
        _container: &ContainerRef,
        _argv: &[String],
        _terminal: bool,
    ) -> Result<tokio::process::Command, Status> {
        Err(Status::new(500, "InternalError", "stub"))
    }

    /// Sends a signal to the container's PID 1 from outside its namespace.
    ///
    /// # Errors
    /// A `Status` where the container does not run.
    pub fn signal(&self, _container: &ContainerRef, _signal: rustix::process::Signal) -> Result<(), Status> {
        Err(Status::new(500, "InternalError", "stub"))
    }

    /// A connection to a pod's address from the node, as the API server's proxy makes it.
    ///
    /// # Errors
    /// What connecting returned.
    pub async fn dial(&self, _address: Ipv4Addr, _port: u16) -> std::io::Result<tokio::net::TcpStream> {
        Err(std::io::Error::other("stub"))
    }

    /// Reserves a node port on the host's loopback: this one, or a free one of 30000–32767.
    ///
    /// # Errors
    /// A sentence where it is taken by another program.
    pub async fn reserve_node_port(&self, _wanted: Option<u16>) -> Result<u16, String> {
        Err("stub".to_owned())
    }
}
