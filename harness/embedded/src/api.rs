//! The API server.

mod auth;
mod body;
mod create;
mod delete;
mod discovery;
mod eviction;
mod exec;
mod forward;
mod log;
mod options;
mod place;
mod proxy;
mod query;
mod read;
mod respond;
mod router;
mod scale;
mod selector;
mod services;
mod signal;
pub mod tls;
mod view;
mod watch;
mod websocket;
mod write;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::Node;
use crate::store::Store;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long answers in flight may take after the server was told to end.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How long to wait after the system refused a connection (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the API server serves, and to whom.
pub struct Server {
    /// The objects.
    pub store: Store,
    /// The node agent: logs, exec, proxy, port-forward, node ports.
    pub node: Node,
    /// Where it listens: a socket on the host's loopback that was handed in.
    pub listener: TcpListener,
    /// Certificate chain and key for TLS.
    pub tls: Arc<tokio_rustls::rustls::ServerConfig>,
    /// The bearer token; nothing but `/livez`, `/readyz` and `/healthz` is served without it.
    pub token: String,
    /// Seed for cluster IPs and generated names.
    pub seed: u64,
}

/// What every request handler sees.
struct Api {
    store: Store,
    node: Node,
    token: auth::Token,
    random: Mutex<fastrand::Rng>,
    /// Held while a Service is written, so that no address or port is given out twice.
    services: tokio::sync::Mutex<()>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    address: String,
}

impl Server {
    /// Serves until cancelled, then ends open watches and connections.
    pub async fn serve(self, cancel: CancellationToken) {
        let address = self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let api = Arc::new(Api {
            store: self.store,
            node: self.node,
            token: auth::Token::new(&self.token),
            random: Mutex::new(fastrand::Rng::with_seed(self.seed)),
            services: tokio::sync::Mutex::new(()),
            cancel,
            tasks: TaskTracker::new(),
            address,
        });
        let acceptor = TlsAcceptor::from(self.tls);
        while let Some(accepted) = api.cancel.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    api.tasks.spawn(connection(Arc::clone(&api), acceptor.clone(), stream));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
        // Every task ends by itself once `cancel` is set: connections within DRAIN_MAX.
        api.tasks.close();
        api.tasks.wait().await;
    }
}

impl Api {
    /// Runs a session that outlives its request (an upgraded connection) until the server ends.
    fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            cancel.run_until_cancelled(session).await;
        });
    }

    /// Draws from the seed.
    fn with_random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

async fn connection(api: Arc<Api>, acceptor: TlsAcceptor, stream: TcpStream) {
    let cancel = api.cancel.clone();
    // Frames and log lines go out as they come; a failure here costs only latency.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream));
    let Some(Ok(Ok(stream))) = cancel.run_until_cancelled(handshake).await else {
        return;
    };
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(router::answer(&api, request).await) }
    });
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    // How a connection ends is its client's affair, also when it ends badly.
    if cancel.run_until_cancelled(serving.as_mut()).await.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(DRAIN_MAX, serving).await;
    }
}
