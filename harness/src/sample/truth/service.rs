//! The process that fails on order and logs its own truth.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::clock::RunClock;
use crate::event::Offset;

/// Connections that may wait to be accepted while the process stands still.
const BACKLOG: u32 = 1024;

/// Serves on a port of its own until its input ends; orders come in on standard input, and
/// the truth goes out on standard output, in nanoseconds since the start:
///
/// - `refuse NANOS`: the port and every connection are closed for that long;
/// - `hang NANOS`: nothing at all is done for that long;
/// - `down BEFORE AFTER`, `up BEFORE AFTER`: times just before and after it became so;
/// - `late`, answered by `late NANOS`: how late it was let run since it is up, at most.
///
/// # Errors
/// Where the port, the input or the output fails.
pub fn serve() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> io::Result<()> {
    let clock = RunClock::start();
    let mut listener = listen(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?;
    say(&format!("listening {address}"))?;
    // As a pipe and not as a standard input, which tokio reads on another thread.
    let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut orders = BufReader::new(input).lines();
    let mut serving = JoinSet::new();
    let mut pulse = Pulse::new(clock);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                serving.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
            Some(_) = serving.join_next(), if !serving.is_empty() => {}
            () = tokio::time::sleep_until(clock.instant(pulse.next)) => pulse.beat(),
            order = orders.next_line() => {
                let Some(order) = order? else { return Ok(()) };
                match Order::read(&order)? {
                    Order::Refuse(length) => {
                        let before = clock.now();
                        drop(listener);
                        serving.shutdown().await;
                        tell("down", before, clock.now())?;
                        tokio::time::sleep(length).await;
                        let before = clock.now();
                        listener = listen(address)?;
                        tell("up", before, clock.now())?;
                        pulse = Pulse::new(clock);
                    }
                    Order::Hang(length) => {
                        let before = clock.now();
                        tell("down", before, clock.now())?;
                        stand_still(&clock, clock.now() + length);
                        let before = clock.now();
                        tell("up", before, clock.now())?;
                        pulse = Pulse::new(clock);
                    }
                    Order::Late => {
                        pulse.beat();
                        say(&format!("late {}", pulse.latest.as_nanos()))?;
                    }
                }
            }
        }
    }
}

async fn answer(_: http::Request<hyper::body::Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    Ok(http::Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// What the process is told to do.
enum Order {
    Refuse(Duration),
    Hang(Duration),
    Late,
}

impl Order {
    fn read(text: &str) -> io::Result<Self> {
        let unclear = || io::Error::new(io::ErrorKind::InvalidInput, format!("order `{text}` is not understood"));
        let length = |nanos: &str| nanos.parse().map(Duration::from_nanos).map_err(|_| unclear());
        match text.split_once(' ') {
            Some(("refuse", nanos)) => Ok(Self::Refuse(length(nanos)?)),
            Some(("hang", nanos)) => Ok(Self::Hang(length(nanos)?)),
            None if text == "late" => Ok(Self::Late),
            _ => Err(unclear()),
        }
    }
}

/// How late the process' own wake-ups were: a process that the machine does not let run is
/// down without knowing it.
struct Pulse {
    clock: RunClock,
    next: Offset,
    latest: Duration,
}

impl Pulse {
    const BEAT: Duration = Duration::from_millis(5);

    fn new(clock: RunClock) -> Self {
        Self { clock, next: clock.now() + Self::BEAT, latest: Duration::ZERO }
    }

    fn beat(&mut self) {
        let now = self.clock.now();
        self.latest = self.latest.max(now.since(self.next));
        self.next = now + Self::BEAT;
    }
}

/// The only thread does nothing else: what a stopped process looks like from outside.
fn stand_still(clock: &RunClock, until: Offset) {
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// The same port again, although connections to it have just been closed.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn tell(word: &str, before: Offset, after: Offset) -> io::Result<()> {
    say(&format!("{word} {} {}", before.nanos(), after.nanos()))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
