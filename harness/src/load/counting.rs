//! Who counts every request and every socket, told at once and not by the second.

use tokio::sync::{mpsc, watch};

pub use crate::event::LostRequest;

/// How the load flows right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Good requests so far.
    pub requests_good: u64,
    /// Lost ones so far.
    pub requests_lost: u64,
    /// Sockets that are open.
    pub sockets_open: u32,
}

/// Told of every request and socket.
#[derive(Debug, Clone)]
pub struct Counting {
    /// How the load flows.
    pub flow: watch::Sender<Flow>,
    /// Lost requests, one by one, as long as there is room: the seconds count them all.
    pub lost: mpsc::Sender<LostRequest>,
}

impl Counting {
    /// One request ended: well, or lost.
    pub(super) fn request(&self, lost: Option<LostRequest>) {
        self.flow.send_modify(|flow| match &lost {
            None => flow.requests_good += 1,
            Some(_) => flow.requests_lost += 1,
        });
        if let Some(lost) = lost {
            // The first ones are listed; nobody reads the thousandth.
            let _ = self.lost.try_send(lost);
        }
    }

    /// So many sockets are open.
    pub(super) fn sockets(&self, open: u32) {
        self.flow.send_modify(|flow| flow.sockets_open = open);
    }
}
