//! The clients' sockets of live connections. An ordered reset goes to all of them in one go, before
//! any connection is woken: one by one, the last client would learn of it milliseconds after the first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::connect_unspec;
use tokio::net::TcpStream;

/// Clients' sockets, by the number of their connection.
#[derive(Debug, Default)]
pub(super) struct Clients {
    sockets: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
}

/// A socket that stands there until this is dropped.
pub(super) struct Listed<'a> {
    clients: &'a Clients,
    number: u64,
}

impl Clients {
    pub(super) fn list(&self, number: u64, socket: Arc<TcpStream>) -> Listed<'_> {
        self.sockets().insert(number, socket);
        Listed { clients: self, number }
    }

    /// Resets the clients of all connections below this number. The connections themselves end
    /// when they see the order.
    pub(super) fn reset_below(&self, number: u64) {
        for socket in self.sockets().range(..number).map(|(_, socket)| socket) {
            // A socket that is connected to nowhere tells its other end so by a reset. One that has
            // lost its other end already needs none.
            let _ = connect_unspec(socket);
        }
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<TcpStream>>> {
        // Nothing that can panic runs while it is held.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.clients.sockets().remove(&self.number);
    }
}
