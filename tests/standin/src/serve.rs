//! The accept loop that all three parts share, and how it ends.
//!
//! After SIGTERM a server goes on accepting and answering, since a Service sends it
//! requests until the endpoint change has reached every node. It only says
//! `Connection: close` on each answer, closes what has been idle for [`QUIET`], and ends
//! when nothing is open any more, or when its time is up.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::log::Log;

/// Longest time from SIGTERM to the end, whatever is still open; the Kubernetes grace is 30 s.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// After SIGTERM, how long an idle kept-alive connection stays open: closing it at once
/// would lose the request that its client is just sending.
const QUIET: Duration = Duration::from_secs(2);

/// Pause after a failed accept (no descriptor left): trying at once again would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// SIGTERM or SIGINT, listened for from the moment this exists.
#[derive(Debug)]
pub(crate) struct Terminate {
    terminate: Signal,
    interrupt: Signal,
}

impl Terminate {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first of the two signals. Cancel-safe.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Whether the server is draining, and what it still waits for. Clones are one drain.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    limit: Duration,
    started: CancellationToken,
    open: TaskTracker,
}

impl Default for Drain {
    fn default() -> Self {
        Self::within(DRAIN_LIMIT)
    }
}

impl Drain {
    /// Draining will take `limit` at most.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { limit, started: CancellationToken::new(), open: TaskTracker::new() }
    }

    /// Waits until draining begins. Cancel-safe.
    pub(crate) async fn started(&self) {
        self.started.cancelled().await;
    }

    /// The server does not end, within its limit, while the returned token lives.
    pub(crate) fn hold(&self) -> TaskTrackerToken {
        self.open.token()
    }
}

/// Binds the address and says so in the log, with the port where 0 was asked for.
pub(crate) async fn bind(address: SocketAddr, log: Log) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("read the address listened on: {error}"))?;
    log.info("server", "listening", &[("address", address.to_string().into())]);
    Ok(listener)
}

/// Serves until `terminate` is done and everything is drained, or the drain's limit has passed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    drain: Drain,
    terminate: impl Future<Output = ()>,
    log: Log,
) {
    let router = router.layer(middleware::from_fn_with_state(drain.clone(), close_when_draining));
    accept_until(&listener, &router, &drain, terminate).await;
    log.info("server", "draining", &[("open", drain.open.len().into())]);
    drain.started.cancel();
    drain.open.close();
    let drained = accept_until(&listener, &router, &drain, drain.open.wait());
    let in_time = timeout(drain.limit, drained).await.is_ok();
    if in_time {
        log.info("server", "drained", &[]);
    } else {
        log.warning("server", "not drained in time", &[("open", drain.open.len().into())]);
    }
}

async fn accept_until(listener: &TcpListener, router: &Router, drain: &Drain, end: impl Future<Output = ()>) {
    let mut end = pin!(end);
    loop {
        // A client that the kernel has already accepted comes before the end.
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((stream, _)) => {
                drain.open.spawn(converse(stream, router.clone(), drain.clone()));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, until it is closed, upgraded, or idle in a server that drains.
async fn converse(stream: TcpStream, router: Router, drain: Drain) {
    // Fails only on a socket that is gone, and then the next read says so.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
            .with_upgrades()
    );
    let quiet = async {
        drain.started().await;
        sleep(QUIET).await;
    };
    // An error here is the client's: it went away or did not speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = quiet => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn close_when_draining(State(drain): State<Drain>, request: Request, next: Next) -> Result<Response, Infallible> {
    let mut response = next.run(request).await;
    if drain.started.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
