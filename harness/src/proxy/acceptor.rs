//! Taking in connections, and refusing them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::port::Port;
use super::{Shared, connection};

/// Pause after a connection that could not be taken in, for lack of descriptors for instance.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes in connections until dropped, which ends them all.
///
/// # Errors
/// Where the port cannot be listened on.
pub(super) async fn accept(shared: &Arc<Shared>, port: &Port) -> io::Result<()> {
    let mut orders = shared.orders.subscribe();
    let mut connections = JoinSet::new();
    let mut listening = Some(port.listen()?);
    loop {
        let refuse = orders.borrow_and_update().effect().refuse;
        if refuse && listening.take().is_some() {
            port.refuse()?;
        } else if !refuse && listening.is_none() {
            listening = Some(port.listen()?);
        }
        shared.refusing.send_replace(refuse);
        tokio::select! {
            biased;
            // The sender lives in what is shared.
            _ = orders.changed() => {}
            accepted = next(listening.as_ref()) => match accepted {
                Ok(client) => {
                    let number = shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection::carry(Arc::clone(shared), number, client));
                }
                // It was gone before it was taken in, or there is no descriptor for it now.
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn next(listening: Option<&TcpListener>) -> io::Result<TcpStream> {
    let Some(listening) = listening else { return std::future::pending().await };
    let (client, _) = listening.accept().await?;
    client.set_nodelay(true)?;
    Ok(client)
}
