//! HTTP requests at intended times: every other one on a fresh connection, the rest on
//! connections that are kept alive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Counted, IN_FLIGHT_MAX, LOST_AFTER};
use crate::clock::RunClock;
use crate::event::Offset;

type Sender = SendRequest<Empty<Bytes>>;

/// Connections that are kept alive, at most; a request beyond them takes a fresh one.
const IDLE_MAX: usize = 64;

/// Sends requests until cancelled, then waits for those in flight.
pub(super) async fn run(
    address: SocketAddr,
    path: String,
    per_second: f64,
    clock: RunClock,
    results: mpsc::Sender<Counted>,
    cancel: CancellationToken,
) {
    let spacing = Duration::from_secs_f64(1.0 / per_second);
    let client = Arc::new(Client { address, path, idle: Mutex::new(Vec::new()) });
    let mut in_flight = JoinSet::new();
    let mut intended = clock.now() + spacing;
    for number in 0_u64.. {
        tokio::select! {
            () = tokio::time::sleep_until(clock.instant(intended)) => {}
            () = cancel.cancelled() => break,
        }
        while in_flight.try_join_next().is_some() {}
        let counted = if in_flight.len() < IN_FLIGHT_MAX {
            in_flight.spawn(one(Arc::clone(&client), intended, number.is_multiple_of(2), clock, results.clone()));
            Counted::Started { intended }
        } else {
            Counted::LeftOut
        };
        if results.send(counted).await.is_err() {
            break;
        }
        intended = intended + spacing;
    }
    while in_flight.join_next().await.is_some() {}
}

async fn one(client: Arc<Client>, intended: Offset, fresh: bool, clock: RunClock, results: mpsc::Sender<Counted>) {
    let deadline = clock.instant(intended + LOST_AFTER);
    let answered = tokio::time::timeout_at(deadline, client.get(fresh)).await;
    let counted = match answered {
        Ok(Ok(())) => Counted::Answered { intended, latency: clock.now().since(intended) },
        Ok(Err(_)) | Err(_) => Counted::Lost { intended },
    };
    // A closed channel means that nobody counts any more.
    let _ = results.send(counted).await;
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    path: String,
    idle: Mutex<Vec<Connection>>,
}

/// A connection and the task that drives it, which ends with it.
#[derive(Debug)]
struct Connection {
    sender: Sender,
    _driver: JoinSet<()>,
}

/// Not a complete 2xx.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("status {0}")]
    Status(http::StatusCode),
}

impl Client {
    async fn get(&self, fresh: bool) -> Result<(), Lost> {
        let mut connection = match self.kept(fresh).await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let request = || {
            http::Request::get(self.path.as_str())
                .header(http::header::HOST, self.address.to_string())
                .header(http::header::CONNECTION, if fresh { "close" } else { "keep-alive" })
                .body(Empty::new())
                .expect("the path was checked with the plan")
        };
        let response = match connection.sender.try_send_request(request()).await {
            Ok(response) => response,
            Err(mut error) => {
                if error.take_message().is_none() {
                    return Err(error.into_error().into());
                }
                // It was never sent: the server closed the idle connection, which it may.
                connection = self.connect().await?;
                connection.sender.send_request(request()).await?
            }
        };
        let (head, body) = response.into_parts();
        body.collect().await?;
        if !head.status.is_success() {
            return Err(Lost::Status(head.status));
        }
        if !fresh {
            let mut idle = self.idle.lock().expect("no code panics while it holds the idle connections");
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        Ok(())
    }

    /// A kept connection that is still open.
    async fn kept(&self, fresh: bool) -> Option<Connection> {
        if fresh {
            return None;
        }
        loop {
            let mut kept = self.idle.lock().expect("no code panics while it holds the idle connections").pop()?;
            if kept.sender.ready().await.is_ok() {
                return Some(kept);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Lost> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its errors reach the request that waits on it.
            let _ = connection.await;
        });
        Ok(Connection { sender, _driver: driver })
    }
}
