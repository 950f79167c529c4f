//! Node ports: sockets on the host's loopback whose connections go to a Service's pods.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::services::ServicePort;
use super::{Node, Shared, lock};

/// The socket of one node port; see [`super::Node::reserve_node_port`].
///
/// # Errors
/// A sentence where it is taken.
pub(super) async fn reserve(shared: &Shared, wanted: Option<u16>) -> Result<u16, String> {
    // A Service that was refused after its port was reserved may be sent again.
    if let Some(port) = wanted.filter(|port| lock(&shared.reserved).contains_key(port)) {
        return Ok(port);
    }
    let socket = shared.portal.listen(wanted.unwrap_or(0)).await?;
    let port = local_port(&socket)?;
    lock(&shared.reserved).insert(port, socket);
    Ok(port)
}

fn local_port(socket: &OwnedFd) -> Result<u16, String> {
    let address = rustix::net::getsockname(socket.as_fd()).map_err(|error| error.to_string())?;
    let address = std::net::SocketAddr::try_from(address).map_err(|error| error.to_string())?;
    Ok(address.port())
}

/// The node ports that Services have at the moment.
#[derive(Debug)]
pub(super) struct Forwarders {
    node: Node,
    open: BTreeMap<u16, Forwarder>,
}

#[derive(Debug)]
struct Forwarder {
    endpoints: watch::Sender<Arc<[SocketAddrV4]>>,
    /// Ends accepting; connections that are open go on, as with kube-proxy.
    stop: CancellationToken,
}

impl Forwarders {
    /// None yet.
    pub(super) fn new(node: Node) -> Self {
        Self { node, open: BTreeMap::new() }
    }

    /// Opens, changes and closes node ports until they are as the Services say.
    pub(super) async fn follow(&mut self, ports: &[ServicePort], tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
        let wanted: BTreeMap<u16, Arc<[SocketAddrV4]>> =
            ports.iter().filter_map(|port| Some((port.node_port?, port.endpoints.clone().into()))).collect();
        self.open.retain(|port, forwarder| {
            let keep = wanted.contains_key(port);
            if !keep {
                forwarder.stop.cancel();
            }
            keep
        });
        for (port, endpoints) in wanted {
            if let Some(forwarder) = self.open.get(&port) {
                forwarder.endpoints.send_replace(endpoints);
                continue;
            }
            match self.listener(port).await {
                Ok(listener) => {
                    let stop = cancel.child_token();
                    let (sender, receiver) = watch::channel(endpoints);
                    tasks.spawn(accept(self.node.clone(), listener, receiver, stop.clone(), cancel.clone()));
                    self.open.insert(port, Forwarder { endpoints: sender, stop });
                }
                Err(error) => eprintln!("failed to open node port {port}: {error}"),
            }
        }
    }

    async fn listener(&self, port: u16) -> Result<TcpListener, String> {
        let shared = &self.node.shared;
        let reserved = lock(&shared.reserved).remove(&port);
        let socket = match reserved {
            Some(socket) => socket,
            None => shared.portal.listen(port).await?,
        };
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(|error| error.to_string())
    }
}

async fn accept(
    node: Node,
    listener: TcpListener,
    endpoints: watch::Receiver<Arc<[SocketAddrV4]>>,
    stop: CancellationToken,
    cancel: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let choices = Arc::clone(&endpoints.borrow());
                    connections.spawn(forward(node.clone(), client, choices));
                }
                // No descriptor is free, most likely: the next look may find one.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    tokio::select! {
        () = cancel.cancelled() => connections.shutdown().await,
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
}

/// Carries one connection; without anyone to connect to, it is reset.
async fn forward(node: Node, mut client: TcpStream, endpoints: Arc<[SocketAddrV4]>) {
    let connected = match fastrand::choice(endpoints.iter()) {
        Some(endpoint) => node.dial(*endpoint.ip(), endpoint.port()).await,
        None => Err(std::io::ErrorKind::ConnectionRefused.into()),
    };
    let Ok(mut server) = connected else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Makes the close that follows a reset, as a refusal or a torn connection looks from afar.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
