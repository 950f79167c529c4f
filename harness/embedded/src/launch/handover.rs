//! The socket between the portal and the cluster: messages, some with a descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::LaunchError;

/// Longest message.
const MESSAGE_MAX: usize = 64 * 1024;

/// How many requests for a node port may wait.
const WAITING_MAX: usize = 64;

/// What the portal tells the cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToCluster {
    /// The first message; carries the API's listening socket.
    Setup(Setup),
    /// Answer to [`ToPortal::NodePort`]; carries the listening socket where it is `Ok`.
    NodePort(Result<u16, String>),
}

/// What a cluster is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) images: PathBuf,
    pub(super) layers: PathBuf,
    pub(super) program: PathBuf,
    pub(super) seed: u64,
    pub(super) port: u16,
}

/// What the cluster tells the portal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToPortal {
    /// The API answers.
    Ready {
        /// The kubeconfig it wrote.
        kubeconfig: PathBuf,
    },
    /// It cannot start.
    Failed(LaunchError),
    /// Listen on this port of the host's loopback; requests are answered in order.
    NodePort(u16),
}

/// One end of the socket. It keeps messages apart, so that one arrives whole or not at all;
/// only readiness and raw messages of the stream type are used.
#[derive(Debug)]
pub(super) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// Two connected ends.
    pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
    }

    /// Takes one end into the current runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixStream::from_std(socket)? })
    }

    /// Sends one message. Not cancel safe.
    pub(super) async fn send(&self, message: &impl Serialize, descriptor: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        loop {
            self.socket.writable().await?;
            let sent =
                self.socket.try_io(Interest::WRITABLE, || send_with(&self.socket, &bytes, descriptor.map(AsFd::as_fd)));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Receives one message; `None` once the other end is gone. Cancel safe.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_MAX];
        loop {
            self.socket.readable().await?;
            let received = self.socket.try_io(Interest::READABLE, || receive_with(&self.socket, &mut bytes));
            match received {
                Ok((0, _)) => return Ok(None),
                Ok((length, descriptor)) => return Ok(Some((serde_json::from_slice(&bytes[..length])?, descriptor))),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Sends a message, and a descriptor along with it.
pub(crate) fn send_with(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message: its length, and the descriptor that came along.
pub(crate) fn receive_with(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(bytes)];
    let message = rustix::net::recvmsg(socket, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((message.bytes, descriptor))
}

/// The portal as the cluster sees it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    requests: mpsc::Sender<NodePortRequest>,
}

#[derive(Debug)]
pub(super) struct NodePortRequest {
    port: u16,
    answer: oneshot::Sender<Result<OwnedFd, String>>,
}

impl Portal {
    /// A handle, and what [`attend`] needs.
    pub(super) fn new() -> (Self, mpsc::Receiver<NodePortRequest>) {
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        (Self { requests }, waiting)
    }

    /// A portal that is not there: every request fails.
    pub(crate) fn none() -> Self {
        Self { requests: mpsc::channel(1).0 }
    }

    /// A socket that listens on this port of the host's loopback.
    ///
    /// # Errors
    /// A sentence where the port is taken or the portal is gone.
    pub(crate) async fn listen(&self, port: u16) -> Result<OwnedFd, String> {
        let gone = || "the cluster is ending".to_owned();
        let (answer, answered) = oneshot::channel();
        self.requests.send(NodePortRequest { port, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Carries requests to the portal until cancelled, or until the portal is gone, which it
/// turns into a cancellation.
pub(super) async fn attend(channel: Channel, mut requests: mpsc::Receiver<NodePortRequest>, cancel: CancellationToken) {
    let mut waiting = std::collections::VecDeque::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(request) = requests.recv() => {
                if channel.send(&ToPortal::NodePort(request.port), None).await.is_err() {
                    break;
                }
                waiting.push_back(request.answer);
            }
            received = channel.receive::<ToCluster>() => match received {
                Ok(Some((ToCluster::NodePort(result), descriptor))) => {
                    let Some(answer) = waiting.pop_front() else { continue };
                    let socket = result.and_then(|_| descriptor.ok_or_else(|| "no socket came".to_owned()));
                    let _ = answer.send(socket);
                }
                Ok(Some((ToCluster::Setup(_), _))) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
    cancel.cancel();
}
