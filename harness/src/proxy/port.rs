//! A port that stays ours, whether somebody listens on it or not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, listen, shutdown, socket_with, sockopt,
};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A port of loopback on which listening can be ended and begun again.
#[derive(Debug)]
pub(super) struct Port {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Port {
    /// A free port, with somebody listening: who connects from now on waits to be accepted.
    pub(super) fn open() -> io::Result<Self> {
        // The kernel gives a port that it chose itself back when listening ends, and keeps one
        // that was asked for. So it chooses for one socket, and another asks for the same.
        let choosing = socket()?;
        bind(&choosing, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&choosing)?)?;
        let socket = socket()?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        Ok(Self { socket, address })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, in the runtime of the caller.
    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        listen(&self.socket, BACKLOG)?;
        TcpListener::from_std(self.socket.try_clone()?.into())
    }

    /// Ends the listening: the kernel refuses who connects, and resets who waits to be accepted.
    pub(super) fn refuse(&self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Read)?)
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}
