//! The cluster a run works on: how it is found, and how it is reached.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::ClusterFacts;

pub mod pods;

/// Which cluster the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Selection {
    /// The embedded one of this name.
    Embedded {
        /// Its name.
        name: String,
    },
    /// A kubeconfig context.
    Context {
        /// `--kubeconfig`, where given; else `KUBECONFIG`, else `~/.kube/config`.
        kubeconfig: Option<PathBuf>,
        /// `--context`.
        context: String,
    },
}

/// A cluster that answers. Clones share connections.
#[derive(Clone)]
pub struct Cluster {
    /// Acts on the cluster: reads, writes, watches. Its transparent retries are off.
    pub client: kube::Client,
    /// The namespace the run works in.
    pub namespace: String,
    /// Which cluster it is.
    pub facts: ClusterFacts,
    /// The API server for plain, measured connections (`pods/NAME:PORT/proxy/…`).
    pub api: Arc<ApiEndpoint>,
}

/// The API server's address and credentials, for connections that are measured.
pub struct ApiEndpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name its certificate is checked against.
    pub host: String,
    /// TLS as the kubeconfig says.
    pub tls: Arc<tokio_rustls::rustls::ClientConfig>,
    /// The `Authorization` header's value, where the kubeconfig has a token.
    pub authorization: Option<http::HeaderValue>,
}

/// A cluster could not be reached or used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The embedded cluster of this name does not run.
    #[error("find embedded cluster `{name}`: it does not run")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// A Service has no address that this machine can reach.
    #[error("reach service `{service}` in namespace `{namespace}`: {reason}")]
    Unreachable {
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
        /// Why, and what was last seen.
        reason: String,
    },
}

impl Cluster {
    /// Connects, and checks that the cluster answers.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn connect(_selection: &Selection, _namespace: &str) -> Result<Self, ClusterError> {
        unreachable!("stub")
    }

    /// The address on this machine that leads to the Service (its node port).
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] where there is none.
    pub async fn service_address(&self, _service: &str) -> Result<SocketAddr, ClusterError> {
        unreachable!("stub")
    }
}
