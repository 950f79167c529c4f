//! A Service forwarded to a port of this machine: every connection becomes a tunnel through the
//! API server to one of the Service's ready pods, in turn.
//!
//! kube's own port-forward is not used, because it does not tell how a tunnel ended, and that is
//! what decides whose failure an end is (see [`super::way`]). The protocol is
//! `v4.channel.k8s.io`: a frame's first byte is its channel, 0 for bytes and 1 for an error text;
//! the first frame of each channel only carries the port. A kubelet ends a tunnel with a close
//! frame, after the error text where it has one.
//!
//! It runs on a thread of its own, so that nothing delays what is measured through it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backends::{Backend, SERVICE_LABEL, Slices};
use super::way::{PULSE_EVERY, Way};
use crate::cluster::Cluster;
use crate::sample::door::{Door, Failure, Wire};
use crate::sample::http;
use crate::sample::thread::Thread;
use crate::sample::websocket::{self, Refused};
use crate::system::SystemError;

/// How long the first listing of the Service's pods may take.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// How long a tunnel may take to be granted.
const GRANTED_WITHIN: Duration = Duration::from_secs(5);
/// How long the API server may take to answer a pulse.
const PULSE_WITHIN: Duration = Duration::from_secs(2);
/// How long a goodbye may take that nobody waits for.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Pause after a watch or an accept that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// Connections at once; what comes beyond waits in the listener's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Bytes of one frame.
const FRAME: usize = 16 * 1024;
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// A Service at a port of this machine, for as long as this is held.
pub(super) struct Forward {
    /// First, so that the thread has been told to end before it is let go.
    _ends: DropGuard,
    address: SocketAddr,
    way: Arc<Way>,
    _thread: Thread<()>,
    _watch: JoinSet<()>,
}

impl Forward {
    /// Starts to forward. The Service's pods are known by then, or the API server does not say.
    pub(super) async fn start(cluster: &Cluster, service: &str) -> Result<Self, String> {
        let (tell, mut backends) = watch::channel(None);
        let mut watching = JoinSet::new();
        watching.spawn(follow(cluster.client.clone(), cluster.namespace.clone(), service.to_owned(), tell));
        let listed = timeout(LISTED_WITHIN, backends.wait_for(Option::is_some)).await.is_ok_and(|seen| seen.is_ok());
        if !listed {
            return Err(format!("its endpoint slices were not listed within {} s", LISTED_WITHIN.as_secs()));
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let ready = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = ready.map_err(|error| format!("no port to forward from: {error}"))?;
        let way = Arc::new(Way::new());
        let tunnels = Tunnels {
            door: Door::api(&cluster.api)?,
            namespace: cluster.namespace.clone(),
            backends,
            next: AtomicUsize::new(0),
            way: Arc::clone(&way),
        };
        let cancel = CancellationToken::new();
        let thread = Thread::start("port-forward", tunnels.run(listener, cancel.clone()));
        let thread = thread.map_err(|error| error.to_string())?;
        Ok(Self { address, way, _thread: thread, _watch: watching, _ends: cancel.drop_guard() })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of the way.
    pub(super) fn way(&self) -> &Arc<Way> {
        &self.way
    }
}

/// Follows the Service's endpoint slices until nobody asks. What was known holds while the API
/// server is away.
async fn follow(client: Client, namespace: String, service: String, tell: watch::Sender<Option<Arc<[Backend]>>>) {
    let api: Api<EndpointSlice> = Api::namespaced(client, &namespace);
    let of_service = watcher::Config::default().labels(&format!("{SERVICE_LABEL}={service}"));
    let mut events = watcher::watcher(api, of_service).boxed();
    let mut slices = Slices::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some(pods) = slices.take_in(event)
                    && tell.send(Some(Arc::from(pods))).is_err()
                {
                    return;
                }
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// What all connections share.
struct Tunnels {
    door: Door,
    namespace: String,
    backends: watch::Receiver<Option<Arc<[Backend]>>>,
    next: AtomicUsize,
    way: Arc<Way>,
}

/// Who ended a connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client.
    Client,
    /// The pod closed it.
    Pod,
    /// The pod refused it, or it has no pod: a reset is what a Service would have answered.
    Refused,
    /// The way broke.
    Way(String),
}

impl Tunnels {
    async fn run(self, listener: std::net::TcpListener, cancel: CancellationToken) -> Result<(), SystemError> {
        let failed = |error: io::Error| SystemError { message: format!("forward: {error}"), transient: false };
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let shared = Arc::new(self);
        let mut tasks = JoinSet::new();
        let pulsing = pulse(Arc::clone(&shared));
        tokio::pin!(pulsing);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = &mut pulsing => unreachable!("a pulse never ends by itself"),
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = listener.accept(), if tasks.len() < CONNECTIONS_MAX => match accepted {
                    Ok((client, _)) => {
                        tasks.spawn(Arc::clone(&shared).serve(client));
                    }
                    // Our own lack of descriptors: whoever waits in the queue meets a silent way.
                    Err(error) => {
                        shared.way.broke(&error.to_string());
                        sleep(PAUSE).await;
                    }
                },
            }
        }
        tasks.shutdown().await;
        Ok(())
    }

    /// One connection, from its accept to its end.
    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        let end = match self.open().await {
            Ok(mut tunnel) => carry(&mut client, &mut tunnel).await,
            Err(end) => end,
        };
        match end {
            End::Client | End::Pod => {
                // Whoever is gone needs no goodbye.
                let _ = timeout(GOODBYE_WITHIN, client.shutdown()).await;
            }
            End::Refused => reset(client),
            End::Way(reason) => {
                // Before the client can see it.
                self.way.broke(&reason);
                reset(client);
            }
        }
    }

    /// A tunnel to the next ready pod. One that the API server no longer knows is passed over: a
    /// Service's rules would not lead there either.
    async fn open(&self) -> Result<WebSocketStream<Wire>, End> {
        let pods = self.backends.borrow().clone().unwrap_or_default();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for place in 0..pods.len() {
            let Backend { pod, port } = &pods[(first + place) % pods.len()];
            let path = format!("/api/v1/namespaces/{}/pods/{pod}/portforward?ports={port}", self.namespace);
            let asked = self.way.now();
            let granting = websocket::handshake(&self.door, &path, Some("v4.channel.k8s.io"));
            match timeout(GRANTED_WITHIN, granting).await {
                Ok(Ok(tunnel)) => {
                    self.way.answered(asked);
                    return Ok(tunnel);
                }
                Ok(Err(Refused::Answered { code: 404, .. })) => {}
                Ok(Err(refused)) => match refused.by_the_way() {
                    Failure::Theirs(_) => return Err(End::Refused),
                    Failure::Ours(reason) => return Err(End::Way(reason)),
                },
                Err(_) => return Err(End::Way(format!("no tunnel within {} s", GRANTED_WITHIN.as_secs()))),
            }
        }
        Err(End::Refused)
    }
}

/// Looks all the time whether the API server answers.
async fn pulse(tunnels: Arc<Tunnels>) {
    let mut ticks = interval(PULSE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    loop {
        ticks.tick().await;
        let asked = tunnels.way.now();
        match timeout(PULSE_WITHIN, http::exchange(&tunnels.door, "/version", kept.take())).await {
            // A server that forbids the question has answered it.
            Ok(Ok((reply, connection))) if !reply.status.is_server_error() && reply.status != 429 => {
                tunnels.way.answered(asked);
                kept = Some(connection);
            }
            Ok(Ok((reply, _))) => tunnels.way.broke(&format!("the API server answers {}", reply.status.as_u16())),
            Ok(Err(Failure::Ours(reason) | Failure::Theirs(reason))) => tunnels.way.broke(&reason),
            Err(_) => tunnels.way.broke(&format!("no answer of the API server within {} s", PULSE_WITHIN.as_secs())),
        }
    }
}

/// Carries bytes both ways until one side ends.
async fn carry(client: &mut TcpStream, tunnel: &mut WebSocketStream<Wire>) -> End {
    let (mut from_client, mut to_client) = client.split();
    let (mut to_pod, mut from_pod) = tunnel.split();
    let up = async {
        let mut block = BytesMut::with_capacity(FRAME);
        loop {
            block.clear();
            block.reserve(FRAME);
            block.put_u8(DATA);
            match from_client.read_buf(&mut block).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if let Err(error) = to_pod.send(Message::binary(block.split().freeze())).await {
                        return End::Way(format!("the tunnel broke: {error}"));
                    }
                }
            }
        }
        // The tunnel has no half-close: a client that says no more has ended.
        let _ = timeout(GOODBYE_WITHIN, to_pod.close()).await;
        End::Client
    };
    let down = async {
        let mut greeted = [false; 2];
        loop {
            match frame(from_pod.next().await, &mut greeted) {
                Ok(Some(bytes)) => {
                    if to_client.write_all(&bytes).await.is_err() {
                        return End::Client;
                    }
                }
                Ok(None) => {}
                Err(end) => return end,
            }
        }
    };
    tokio::select! {
        // What has come from the pod is told before what could not be sent to it.
        biased;
        end = down => end,
        end = up => end,
    }
}

/// The bytes of a message of the tunnel, or how it ends.
fn frame(
    message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    greeted: &mut [bool; 2],
) -> Result<Option<Bytes>, End> {
    let frame = match message {
        Some(Ok(Message::Binary(frame))) => frame,
        Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(None),
        Some(Ok(Message::Close(_))) => return Err(End::Pod),
        Some(Err(error)) => return Err(End::Way(format!("the tunnel broke: {error}"))),
        None => return Err(End::Way("the tunnel ended without a goodbye".to_owned())),
    };
    let Some(channel) = frame.first().copied() else { return Ok(None) };
    let Some(greeted) = greeted.get_mut(usize::from(channel)) else {
        return Err(End::Way(format!("a frame on channel {channel} of the tunnel")));
    };
    if !std::mem::replace(greeted, true) {
        return Ok(None);
    }
    let bytes = frame.slice(1..);
    match channel {
        ERROR => Err(refused(&String::from_utf8_lossy(&bytes))),
        _ => Ok(Some(bytes)),
    }
}

/// Whose doing an error is that the kubelet names: that it cannot speak with its own container
/// runtime says nothing of the pod.
fn refused(text: &str) -> End {
    const ABOUT_THE_NODE: [&str; 2] = ["code = Unavailable", "code = DeadlineExceeded"];
    if ABOUT_THE_NODE.iter().any(|words| text.contains(words)) {
        return End::Way(text.trim().to_owned());
    }
    End::Refused
}

/// Ends a connection as a refusal would have: at once, and not in good order.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
    drop(client);
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Error;

    use super::*;

    #[test]
    fn only_a_goodbye_and_a_named_error_are_the_pods() {
        let binary = |bytes: &'static [u8]| Some(Ok(Message::binary(bytes)));
        let check = |message: Option<Result<Message, Error>>, expect: Result<Option<&[u8]>, &str>| {
            let seen = frame(message, &mut [true; 2]).map_err(|end| match end {
                End::Way(_) => "way",
                End::Pod => "pod",
                End::Refused => "refused",
                End::Client => "client",
            });
            assert_eq!(seen.as_ref().map(Option::as_deref), expect.as_ref().copied());
        };
        check(binary(b"\x00abc"), Ok(Some(b"abc")));
        check(binary(b""), Ok(None));
        check(Some(Ok(Message::Close(None))), Err("pod"));
        check(None, Err("way"));
        check(Some(Err(Error::Io(io::ErrorKind::ConnectionReset.into()))), Err("way"));
        check(binary(b"\x07abc"), Err("way"));
        // Seen on 1.36 with containerd.
        check(
            binary(b"\x01error forwarding port 8000 to pod p: failed to connect to localhost:8000 inside namespace \"n\", IPv4: dial tcp4 127.0.0.1:8000: connect: connection refused"),
            Err("refused"),
        );
        check(binary(b"\x01rpc error: code = Unavailable desc = connection error"), Err("way"));
    }

    #[test]
    fn the_first_frame_of_each_channel_is_its_port() {
        let mut greeted = [false; 2];
        let mut take = |bytes: &'static [u8]| frame(Some(Ok(Message::binary(bytes))), &mut greeted);
        assert_eq!(take(b"\x00\x40\x1f"), Ok(None));
        assert_eq!(take(b"\x01\x40\x1f"), Ok(None));
        assert_eq!(take(b"\x00@"), Ok(Some(Bytes::from_static(b"@"))));
    }
}
