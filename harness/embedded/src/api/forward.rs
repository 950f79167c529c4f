//! Port forwarding over a WebSocket, as kube-rs speaks it.
//!
//! Each port has two channels: data and errors. The first frame of each carries the port
//! number, little-endian. kubectl tunnels SPDY instead, which is refused.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::api::Api;
use crate::api::exec::{frame, payload};
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::Answer;
use crate::api::websocket::{self, Opened, Socket};
use crate::node::Node;
use crate::object;
use crate::status::Status;

/// How many frames may wait in each direction.
const QUEUE: usize = 16;

/// How much goes into one frame, in bytes.
const FRAME: usize = 32 * 1024;

/// The most ports of one request: two channels each, in one byte.
const PORTS_MAX: usize = 100;

/// `GET` and `POST` of a pod's portforward. Connects to the pod's own address, so a process
/// that listens on the pod's loopback only is not reached.
pub(super) fn forward(
    api: &Arc<Api>,
    place: &Place,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let key = place.key();
    let pod = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let instead = "kubectl port-forward is not served; use the proxy subresource, a NodePort, or kube-rs";
    let opened = websocket::open(request, &["v4.channel.k8s.io"], instead)?;
    let ports: Vec<u16> = query
        .all("ports")
        .flat_map(|ports| ports.split(','))
        .map(|port| port.parse().map_err(|_| Status::bad_request(format!("unable to parse \"{port}\" as a port"))))
        .collect::<Result<_, _>>()?;
    if ports.is_empty() || ports.len() > PORTS_MAX {
        return Err(Status::bad_request("query parameter \"ports\" is required, at most 100 times"));
    }
    let address: Ipv4Addr = pod["status"]["podIP"].as_str().unwrap_or_default().parse().map_err(|_| {
        Status::bad_request(format!("unable to forward port because pod {} has no address", object::name(&pod)))
    })?;
    let Opened { answer, socket, .. } = opened;
    let node = api.node.clone();
    api.spawn(async move {
        if let Some(socket) = socket.await {
            session(node, address, ports, socket).await;
        }
    });
    Ok(answer)
}

/// Carries frames until the client goes or every port is done.
async fn session(node: Node, address: Ipv4Addr, ports: Vec<u16>, socket: Socket) {
    let (mut to_client, mut from_client) = socket.split();
    let (sender, mut outgoing) = mpsc::channel::<Message>(QUEUE);
    let mut inputs = Vec::new();
    let mut streams = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let channel = u8::try_from(2 * index).expect("at most PORTS_MAX ports");
        let (input, incoming) = mpsc::channel::<bytes::Bytes>(QUEUE);
        inputs.push(Some(input));
        streams.spawn(stream(node.clone(), address, port, channel, incoming, sender.clone()));
    }
    drop(sender);
    let write = async {
        while let Some(message) = outgoing.recv().await {
            if to_client.send(message).await.is_err() {
                return;
            }
        }
        let _ = to_client.send(Message::Close(None)).await;
    };
    let read = async {
        while let Some(Ok(message)) = from_client.next().await {
            let Some(bytes) = payload(message) else { continue };
            let Some(index) = bytes.first().map(|channel| usize::from(channel / 2)) else { continue };
            // A stream that is done takes no more.
            if let Some(Some(input)) = inputs.get(index)
                && input.send(bytes.slice(1..)).await.is_err()
            {
                inputs[index] = None;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    streams.shutdown().await;
}

/// One port: connects, then carries bytes until the pod closes.
async fn stream(
    node: Node,
    address: Ipv4Addr,
    port: u16,
    channel: u8,
    mut incoming: mpsc::Receiver<bytes::Bytes>,
    outgoing: mpsc::Sender<Message>,
) {
    for channel in [channel, channel + 1] {
        if outgoing.send(frame(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let connection = match node.dial(address, port).await {
        Ok(connection) => connection,
        Err(error) => {
            let message = format!("error forwarding port {port}: failed to connect to {address}:{port}: {error}");
            // Where the client has gone nobody wants to know.
            let _ = outgoing.send(frame(channel + 1, message.as_bytes())).await;
            return;
        }
    };
    let (mut from_pod, mut to_pod) = connection.into_split();
    let up = async {
        while let Some(bytes) = incoming.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // The client ends its side only by going; then this whole future is dropped.
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut block = vec![0; FRAME];
        while let Ok(length) = from_pod.read(&mut block).await {
            if length == 0 || outgoing.send(frame(channel, &block[..length])).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
