//! One connection: a client's socket and the one to the Service that belongs to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::Shared;
use super::direction::{Direction, Wants};
use super::orders::{Effect, Orders};
use crate::event::Offset;

/// How long connecting to the Service may take; a client whose connection goes nowhere is reset.
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection that was closed waits for both ends to close theirs.
const LINGER: Duration = Duration::from_secs(5);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both ends closed.
    Closed,
    /// Reset: ordered, or because one end was.
    Reset,
    /// Closed because it was ordered.
    Cut,
    /// Closed because nothing moved.
    Idle,
}

/// Carries bytes until the connection ends.
pub(super) async fn carry(shared: Arc<Shared>, number: u64, client: TcpStream) {
    shared.counts.open.fetch_add(1, Ordering::Relaxed);
    let client = Arc::new(client);
    let listed = shared.clients.list(number, Arc::clone(&client));
    let mut connection =
        Connection { number, orders: shared.orders.subscribe(), chance: chance(&shared, number), shared: &shared };
    let mut up = Direction::default();
    let (server, end) = match connection.dial(&client, &mut up).await {
        Ok(server) => {
            let end = connection.pass_on(&client, &server, up).await;
            (Some(server), end)
        }
        Err(end) => (None, end),
    };
    drop(listed);
    let counts = &shared.counts;
    counts.open.fetch_sub(1, Ordering::Relaxed);
    let ended = match end {
        End::Closed => return,
        End::Reset => &counts.reset,
        End::Cut => &counts.cut,
        End::Idle => &counts.idle,
    };
    ended.fetch_add(1, Ordering::Relaxed);
    let sockets = [Some(&*client), server.as_ref()].into_iter().flatten();
    if end == End::Reset {
        sockets.for_each(reset_when_dropped);
    } else {
        close(sockets).await;
    }
}

fn chance(shared: &Shared, number: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(shared.options.seed.wrapping_add(number))
}

struct Connection<'a> {
    number: u64,
    shared: &'a Shared,
    orders: watch::Receiver<Orders>,
    chance: fastrand::Rng,
}

impl Connection<'_> {
    /// Connects to the Service, as soon as this connection is not silent.
    async fn dial(&mut self, client: &TcpStream, up: &mut Direction) -> Result<TcpStream, End> {
        loop {
            let effect = self.effect();
            if let Some(end) = self.ordered_end(&effect) {
                return Err(end);
            }
            if effect.silent_below > self.number {
                let now = self.shared.options.clock.now();
                let wants = up.swallow(client, now).map_err(|_| End::Reset)?;
                tokio::select! {
                    biased;
                    _ = self.orders.changed() => {}
                    () = ready(client, wants.read, false) => {}
                }
                continue;
            }
            if up.has_lost_bytes() {
                return Err(End::Reset);
            }
            let dialled = tokio::select! {
                biased;
                _ = self.orders.changed() => continue,
                dialled = timeout(DIAL_WITHIN, TcpStream::connect(self.shared.options.upstream)) => dialled,
            };
            let server = dialled.ok().and_then(Result::ok).ok_or(End::Reset)?;
            // Small messages must not wait for one another.
            server.set_nodelay(true).map_err(|_| End::Reset)?;
            return Ok(server);
        }
    }

    /// Passes bytes on, both ways, until it ends.
    async fn pass_on(&mut self, client: &TcpStream, server: &TcpStream, mut up: Direction) -> End {
        let clock = self.shared.options.clock;
        let opened = clock.now();
        let mut down = Direction::default();
        loop {
            let effect = self.effect();
            if let Some(end) = self.ordered_end(&effect) {
                return end;
            }
            let now = clock.now();
            let silent = effect.silent_below > self.number;
            if !silent && (up.has_lost_bytes() || down.has_lost_bytes()) {
                return End::Reset;
            }
            let Ok((ups, downs)) = self.move_bytes(client, server, &mut up, &mut down, &effect, now) else {
                // Nobody hears of a reset through silence either.
                if silent {
                    return self.outwait_silence().await;
                }
                return End::Reset;
            };
            let over = if silent { up.is_at_end() && down.is_at_end() } else { up.is_finished() && down.is_finished() };
            if over {
                return End::Closed;
            }
            let idle_at = effect.idle_timeout.filter(|_| !silent);
            let idle_at = idle_at.map(|timeout| opened.max(up.heard()).max(down.heard()) + timeout);
            if idle_at.is_some_and(|at| at <= now) {
                return End::Idle;
            }
            let wake = [ups.wake, downs.wake, idle_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                _ = self.orders.changed() => {}
                () = ready(client, ups.read, downs.write) => {}
                () = ready(server, downs.read, ups.write) => {}
                () = sleep_until(clock.instant(wake.unwrap_or_default())), if wake.is_some() => {}
            }
        }
    }

    fn move_bytes(
        &mut self,
        client: &TcpStream,
        server: &TcpStream,
        up: &mut Direction,
        down: &mut Direction,
        effect: &Effect,
        now: Offset,
    ) -> std::io::Result<(Wants, Wants)> {
        if effect.silent_below > self.number {
            return Ok((up.swallow(client, now)?, down.swallow(server, now)?));
        }
        let chance = &mut self.chance;
        let mut delay = || effect.latency + effect.jitter.mul_f64(chance.f64());
        Ok((up.pump(client, server, effect, &mut delay, now)?, down.pump(server, client, effect, &mut delay, now)?))
    }

    /// One end was reset while this connection is silent: the other learns of it afterwards.
    async fn outwait_silence(&mut self) -> End {
        loop {
            let effect = self.effect();
            if effect.silent_below <= self.number {
                return End::Reset;
            }
            if let Some(end) = self.ordered_end(&effect) {
                return end;
            }
            // The sender lives in what is shared.
            let _ = self.orders.changed().await;
        }
    }

    fn effect(&mut self) -> Effect {
        self.orders.borrow_and_update().effect()
    }

    fn ordered_end(&self, effect: &Effect) -> Option<End> {
        if self.number < effect.reset_below {
            Some(End::Reset)
        } else if self.number < effect.cut_below {
            Some(End::Cut)
        } else {
            None
        }
    }
}

/// Waits until a socket is worth another try; for ever where nothing is wanted of it.
async fn ready(socket: &TcpStream, read: bool, write: bool) {
    let interest = match (read, write) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => return std::future::pending().await,
    };
    // An error shows again, with its reason, when the socket is used.
    let _ = socket.ready(interest).await;
}

/// When it is dropped, the socket's other end is told of a reset.
fn reset_when_dropped(socket: &TcpStream) {
    // A socket that cannot be set so is closed all the same.
    let _ = socket.set_zero_linger();
}

/// Says FIN to both ends and waits for theirs, since closing a socket with unread bytes in it
/// would be a reset.
async fn close<'a>(sockets: impl Iterator<Item = &'a TcpStream>) {
    let closing = sockets.map(|socket| async move {
        // One that is closed already needs no goodbye.
        let _ = rustix::net::shutdown(socket, Shutdown::Write);
        let mut unread = [0; 1_024];
        loop {
            match socket.try_read(&mut unread) {
                Ok(0) => break,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready(socket, true, false).await,
                Err(_) => break,
                Ok(_) => {}
            }
        }
    });
    // Who has not closed by then is closed on.
    let _ = timeout(LINGER, futures_util::future::join_all(closing)).await;
}
