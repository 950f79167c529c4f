//! The API server.

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::store::Store;

/// What the API server serves, and to whom.
pub struct Server {
    /// The objects.
    pub store: Store,
    /// The node agent: logs, exec, proxy, port-forward, node ports.
    pub node: Node,
    /// Where it listens: a socket on the host's loopback that was handed in.
    pub listener: TcpListener,
    /// Certificate chain and key for TLS.
    pub tls: std::sync::Arc<tokio_rustls::rustls::ServerConfig>,
    /// The bearer token; nothing but `/livez` and `/readyz` is served without it.
    pub token: String,
    /// Seed for cluster IPs and generated names.
    pub seed: u64,
}

impl Server {
    /// Serves until cancelled, then ends open watches and connections.
    pub async fn serve(self, cancel: CancellationToken) {
        cancel.cancelled().await;
    }
}
