//! One direction of a connection: from one socket to the other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::net::TcpStream;

use super::orders::Effect;
use crate::event::Offset;

/// The most that is read at once.
const READ_MAX: usize = 16 * 1_024;
/// The most that waits in one direction while bytes are held back.
const QUEUE_MAX: usize = 256 * 1_024;
/// Reads before other connections have their turn.
const READS_MAX: usize = 8;
/// With little bandwidth, bytes are passed on in portions of this time.
const PORTIONS_A_SECOND: u64 = 20;

thread_local! {
    /// The buffer that all connections of a proxy share: what is read is passed on, or copied
    /// into a queue, before the next one reads.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into_boxed_slice());
}

/// Bytes on their way from one socket to the other.
#[derive(Debug, Default)]
pub(super) struct Direction {
    queue: VecDeque<Chunk>,
    queued: usize,
    /// Not before this time may more be sent, with little bandwidth.
    paced: Offset,
    /// When the sending end closed.
    eof: Option<Offset>,
    /// Whether the close has been passed on.
    finished: bool,
    /// Whether bytes have vanished.
    lost: bool,
    /// When bytes were last read; zero where never.
    heard: Offset,
    /// Whether the receiving end takes no more for now.
    blocked: bool,
}

#[derive(Debug)]
struct Chunk {
    due: Offset,
    bytes: Vec<u8>,
    sent: usize,
}

/// What a direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wants {
    /// Bytes at the sending end.
    pub(super) read: bool,
    /// Room at the receiving end.
    pub(super) write: bool,
    /// This time.
    pub(super) wake: Option<Offset>,
}

impl Direction {
    /// Whether both the bytes and the close have been passed on.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the sending end has closed.
    pub(super) fn is_at_end(&self) -> bool {
        self.eof.is_some()
    }

    /// Whether bytes have vanished, so that it cannot go on.
    pub(super) fn has_lost_bytes(&self) -> bool {
        self.lost
    }

    /// When bytes were last read.
    pub(super) fn heard(&self) -> Offset {
        self.heard
    }

    /// Passes on what can be passed on now.
    ///
    /// # Errors
    /// What one of the sockets says: it is reset.
    pub(super) fn pump(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        effect: &Effect,
        delay: impl FnMut() -> Duration,
        now: Offset,
    ) -> io::Result<Wants> {
        self.blocked = false;
        SCRATCH.with_borrow_mut(|scratch| self.move_bytes(from, to, effect, delay, now, scratch))?;
        let closes = self.close(to, effect, now);
        let held = self.queue.front().map(|chunk| self.held_until(chunk.due, effect)).filter(|_| !self.blocked);
        Ok(Wants { read: self.has_room(effect), write: self.blocked, wake: held.or(closes) })
    }

    /// Reads what comes, and lets it vanish, together with what is on its way.
    ///
    /// # Errors
    /// What the socket says: it is reset.
    pub(super) fn swallow(&mut self, from: &TcpStream, now: Offset) -> io::Result<Wants> {
        self.lost |= !self.queue.is_empty();
        self.queue.clear();
        self.queued = 0;
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_MAX {
                match self.read(from, scratch, now)? {
                    0 => break,
                    _ => self.lost = true,
                }
            }
            Ok(Wants { read: self.eof.is_none(), ..Wants::default() })
        })
    }

    fn move_bytes(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        effect: &Effect,
        mut delay: impl FnMut() -> Duration,
        now: Offset,
        scratch: &mut [u8],
    ) -> io::Result<()> {
        let portion = effect.bytes_per_second.map_or(READ_MAX as u64, |rate| rate / PORTIONS_A_SECOND);
        let portion = usize::try_from(portion).unwrap_or(READ_MAX).clamp(1, READ_MAX);
        for _ in 0..READS_MAX {
            self.flush(to, effect, now)?;
            if !self.has_room(effect) {
                break;
            }
            let read = self.read(from, &mut scratch[..portion], now)?;
            if read == 0 {
                break;
            }
            let straight = effect.is_plain() && self.queue.is_empty();
            let sent = if straight { self.write(to, &scratch[..read])? } else { 0 };
            if sent < read {
                let due = self.queue.back().map_or(now, |last| last.due).max(now + delay());
                self.queued += read - sent;
                self.queue.push_back(Chunk { due, bytes: scratch[sent..read].to_vec(), sent: 0 });
            }
        }
        self.flush(to, effect, now)
    }

    /// Sends what is due.
    fn flush(&mut self, to: &TcpStream, effect: &Effect, now: Offset) -> io::Result<()> {
        while !self.blocked
            && let Some(mut chunk) = self.queue.pop_front()
        {
            let sent =
                if self.held_until(chunk.due, effect) <= now { self.write(to, &chunk.bytes[chunk.sent..])? } else { 0 };
            chunk.sent += sent;
            self.queued -= sent;
            if let Some(rate) = effect.bytes_per_second.filter(|_| sent > 0) {
                self.paced = self.paced.max(now) + Duration::from_secs_f64(sent as f64 / rate as f64);
            }
            if chunk.sent < chunk.bytes.len() {
                self.queue.push_front(chunk);
            }
            if sent == 0 {
                break;
            }
        }
        Ok(())
    }

    /// When a chunk may go, by what is in force now: tricks that were lifted hold nothing back.
    fn held_until(&self, due: Offset, effect: &Effect) -> Offset {
        let due = if effect.latency.is_zero() && effect.jitter.is_zero() { Offset::ZERO } else { due };
        let paced = if effect.bytes_per_second.is_some() { self.paced } else { Offset::ZERO };
        due.max(paced)
    }

    fn has_room(&self, effect: &Effect) -> bool {
        // Where nothing is held back, a receiver that takes no more slows its sender down.
        let room = if effect.is_plain() { self.queue.is_empty() } else { self.queued < QUEUE_MAX };
        self.eof.is_none() && room
    }

    /// Reads once; 0 where there is nothing, or nothing more.
    fn read(&mut self, from: &TcpStream, scratch: &mut [u8], now: Offset) -> io::Result<usize> {
        if self.eof.is_some() {
            return Ok(0);
        }
        match from.try_read(scratch) {
            Ok(0) => {
                self.eof = Some(now);
                Ok(0)
            }
            Ok(read) => {
                self.heard = now;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        match to.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(0)
            }
            written => written.inspect(|written| self.blocked = *written < bytes.len()),
        }
    }

    /// Passes on the close once everything before it is; else the time at which it will be.
    fn close(&mut self, to: &TcpStream, effect: &Effect, now: Offset) -> Option<Offset> {
        let eof = self.eof.filter(|_| self.queue.is_empty() && !self.finished)?;
        let at = eof + effect.slow_close;
        if now < at {
            return Some(at);
        }
        // Where the other end is gone already, there is nobody to tell.
        let _ = rustix::net::shutdown(to, Shutdown::Write);
        self.finished = true;
        None
    }
}
