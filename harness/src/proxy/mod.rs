//! The fault proxy: a TCP proxy between clients (our load and checks) and the Service.
//!
//! It plays what stands there in production, a load balancer and a network, and what can go
//! wrong with them: delay, narrow bandwidth, resets, closes, silence. What is wrong is a list
//! of [`Trick`]s, set through an [HTTP API](api) on loopback with a bearer token, in force at
//! once on live connections too, and only under a lease: whoever sets tricks must go on
//! saying so, and if they fall silent the tricks are lifted. A proxy lives in the process that
//! measures, so it cannot outlive it and leave something broken behind.
//!
//! A proxy has a thread and a runtime of its own. Each connection is one task that moves bytes
//! from socket to socket through a buffer that all share; it owns memory only while bytes wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::RunClock;
use crate::descriptors;
use crate::sample::thread::Thread;
use crate::system::SystemError;

mod acceptor;
pub mod api;
pub mod balancer;
mod clients;
mod connection;
mod direction;
mod orders;
mod port;
pub mod remote;
pub mod trick;

use clients::Clients;
use orders::Orders;
use port::Port;
pub use remote::Remote;
pub use trick::{Of, Trick};

/// How long tricks stay in force after they were set or their lease was last renewed.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often whoever set tricks should renew the lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);

/// What a proxy is started with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where connections are passed on to.
    pub upstream: SocketAddr,
    /// The run's clock.
    pub clock: RunClock,
    /// Decides jitter.
    pub seed: u64,
    /// The load balancer's own idle timeout; none where it plays no load balancer.
    pub idle_timeout: Option<Duration>,
}

/// A proxy that runs. Dropping it ends it, and every connection through it.
pub struct Proxy {
    address: SocketAddr,
    remote: Remote,
    shared: Arc<Shared>,
    thread: Thread<()>,
    ends: DropGuard,
}

/// What acceptor, connections and API have in common.
struct Shared {
    options: Options,
    /// Who this proxy is: no secret, and another one every time.
    id: String,
    token: SecretString,
    orders: watch::Sender<Orders>,
    /// Whether new connections are refused by now.
    refusing: watch::Sender<bool>,
    counts: Counts,
    clients: Clients,
}

/// Connections, by what became of them.
#[derive(Debug, Default)]
struct Counts {
    /// Also the number that the next connection gets.
    accepted: AtomicU64,
    open: AtomicU64,
    reset: AtomicU64,
    cut: AtomicU64,
    idle: AtomicU64,
}

impl Proxy {
    /// Starts a proxy on a free port of loopback.
    ///
    /// # Errors
    /// [`SystemError`] where there is no port, no thread or no randomness to be had.
    pub fn start(options: Options) -> Result<Self, SystemError> {
        let failed = |error: std::io::Error| SystemError {
            message: format!("start the fault proxy: {error}"),
            transient: false,
        };
        descriptors::raise_limit();
        let (clients, setters) = (Port::open().map_err(failed)?, Port::open().map_err(failed)?);
        let (address, api) = (clients.address(), setters.address());
        let id = random_text().map_err(failed)?;
        let token = SecretString::from(random_text().map_err(failed)?);
        let remote = Remote::new(api, id.clone(), token.clone());
        let orders = watch::Sender::new(Orders::new(options.idle_timeout));
        let refusing = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            options,
            id,
            token,
            orders,
            refusing,
            counts: Counts::default(),
            clients: Clients::default(),
        });
        let cancel = CancellationToken::new();
        let thread = Thread::start("fault proxy", run(Arc::clone(&shared), clients, setters, cancel.clone()))?;
        Ok(Self { address, remote, shared, thread, ends: cancel.drop_guard() })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its API, with the token.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Changes the load balancer's own idle timeout, for live connections too. It is a setting
    /// and no trick: no lease ends it, and healing leaves it alone.
    pub fn set_idle_timeout(&self, idle_timeout: Option<Duration>) {
        self.shared.orders.send_if_modified(|orders| orders.set_idle_timeout(idle_timeout));
    }

    /// Waits for its end, which nobody asked for. Cancel-safe.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), SystemError> {
        self.thread.ended().await.map(drop)
    }

    /// Ends it and every connection through it, and waits until that is done.
    ///
    /// # Errors
    /// What went wrong on its thread.
    pub async fn end(mut self) -> Result<(), SystemError> {
        drop(self.ends);
        self.thread.ended().await.map(drop)
    }
}

impl Shared {
    /// Waits until new connections meet what is in force.
    async fn settled(&self) {
        let mut refusing = self.refusing.subscribe();
        // The sender lives as long as this does.
        let _ = refusing.wait_for(|refusing| *refusing == self.orders.borrow().effect().refuse).await;
    }

    /// Whether nothing is in force.
    fn is_clear(&self) -> bool {
        self.orders.borrow().tricks().is_empty() && !*self.refusing.borrow()
    }

    /// The number of the next connection: those below it are there, or have been.
    fn next_number(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }
}

/// Everything a proxy does, until cancelled.
async fn run(shared: Arc<Shared>, clients: Port, setters: Port, cancel: CancellationToken) -> Result<(), SystemError> {
    let ended = |error: std::io::Error| SystemError { message: format!("the fault proxy: {error}"), transient: false };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(()),
        () = expire(&shared) => Ok(()),
        served = api::serve(&shared, &setters) => served.map_err(ended),
        accepted = acceptor::accept(&shared, &clients) => accepted.map_err(ended),
    }
}

/// Lifts tricks when their own time or their lease is over.
async fn expire(shared: &Shared) {
    let mut orders = shared.orders.subscribe();
    let clock = shared.options.clock;
    loop {
        let next = orders.borrow_and_update().next_end();
        tokio::select! {
            // The sender lives in what is shared.
            _ = orders.changed() => {}
            () = tokio::time::sleep_until(clock.instant(next.unwrap_or_default())), if next.is_some() => {
                shared.orders.send_if_modified(|orders| orders.expire(clock.now()));
            }
        }
    }
}

/// 128 random bits in hexadecimal digits.
fn random_text() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
