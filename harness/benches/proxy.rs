//! What the fault proxy costs: round trips through it and past it in the same run, and how long
//! an order takes until the last of 200 live connections has met it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use harness::clock::RunClock;
use harness::proxy::{Options, Proxy, Trick};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// About as long as a frame with a question.
const MESSAGE: [u8; 64] = [7; 64];
/// Round trips each way of which percentiles are made.
const ROUND_TRIPS: usize = 20_000;
/// Live connections that an order must reach.
const LIVE: usize = 200;
/// Orders of which percentiles are made.
const ORDERS: usize = 50;
/// What the proxy may add to a round trip, at the 99th percentile.
const ADDED_MAX: Duration = Duration::from_micros(100);
/// How long an order may take until the last live connection has met it.
const REACHED_MAX: Duration = Duration::from_millis(10);
/// What takes longer is counted as this: a minute.
const LONGEST_NANOS: u64 = 60_000_000_000;
/// Connections that must fit into memory.
const MANY: usize = 2_000;

criterion_group!(benches, round_trips, orders, memory);
criterion_main!(benches);

fn round_trips(criterion: &mut Criterion) {
    let service = echo();
    let proxy = before(service);
    let connect = |address| {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket can be set so");
        stream
    };
    let (mut straight, mut proxied) = (connect(service), connect(proxy.address()));
    criterion.bench_function("proxy/round trip past it", |bencher| bencher.iter(|| round_trip(&mut straight)));
    criterion.bench_function("proxy/round trip through it", |bencher| bencher.iter(|| round_trip(&mut proxied)));
    let clock = RunClock::start();
    let timed = |stream: &mut TcpStream| {
        let sent = clock.now();
        round_trip(stream);
        clock.now().since(sent)
    };
    let (mut past, mut through) = (histogram(), histogram());
    for _ in 0..times(ROUND_TRIPS) {
        // One after the other, so that both meet the same machine.
        record(&mut past, timed(&mut straight));
        record(&mut through, timed(&mut proxied));
    }
    println!("round trip past the proxy: {}", told(&past));
    println!("round trip through the proxy: {}", told(&through));
    let added = |quantile| {
        Duration::from_nanos(through.value_at_quantile(quantile).saturating_sub(past.value_at_quantile(quantile)))
    };
    let within = if added(0.99) <= ADDED_MAX { "within" } else { "OVER" };
    println!("added by the proxy: p50 {:.1?}, p99 {:.1?} (p99 {within} {ADDED_MAX:?})", added(0.5), added(0.99));
}

fn orders(criterion: &mut Criterion) {
    let runtime = runtime();
    let proxy = before(echo());
    let clock = RunClock::start();
    let mut reached = histogram();
    for _ in 0..times(ORDERS) {
        let took = runtime.block_on(async {
            let mut clients = join_all((0..LIVE).map(|_| opened(proxy.address()))).await;
            let sent = clock.now();
            let ordering = proxy.remote().set(&[Trick::Reset {}]);
            let meeting = join_all(clients.iter_mut().map(|client| async {
                client.read(&mut [0; 8]).await.expect_err("it is reset");
                clock.now().since(sent)
            }));
            let (ordered, met) = tokio::join!(ordering, meeting);
            ordered.expect("the proxy answers");
            met.into_iter().max().unwrap_or_default()
        });
        record(&mut reached, took);
    }
    let judged = judged(&reached, REACHED_MAX);
    println!("from a reset ordered to the last of {LIVE} live connections: {} ({judged})", told(&reached));
    criterion.bench_function("proxy/order", |bencher| {
        bencher.iter(|| runtime.block_on(proxy.remote().set(&[])).expect("the proxy answers"));
    });
}

/// Both ends of each connection and the Service are in this process too: the proxy's part is less.
fn memory(_: &mut Criterion) {
    let proxy = before(echo());
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let before = resident();
    let clients = runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..times(MANY) {
            clients.push(opened(proxy.address()).await.into_std().expect("a socket can be kept"));
        }
        clients
    });
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("{} connections, all ends in this process: {} KiB more", clients.len(), after.saturating_sub(before));
    }
}

fn round_trip(stream: &mut TcpStream) {
    stream.write_all(&MESSAGE).expect("it takes a message");
    stream.read_exact(&mut [0; MESSAGE.len()]).expect("it says it back");
}

/// A connection that has gone all the way.
async fn opened(address: SocketAddr) -> tokio::net::TcpStream {
    let mut client = tokio::net::TcpStream::connect(address).await.expect("it listens");
    client.write_all(&MESSAGE).await.expect("it takes a message");
    client.read_exact(&mut [0; MESSAGE.len()]).await.expect("it says it back");
    client
}

fn before(upstream: SocketAddr) -> Proxy {
    let options = Options { upstream, clock: RunClock::start(), seed: 1, idle_timeout: None };
    Proxy::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// A service on a thread of its own that says everything back, until this process ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound port has an address");
    listener.set_nonblocking(true).expect("a socket can be set so");
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listening = tokio::net::TcpListener::from_std(listener).expect("this thread has a runtime");
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listening.accept().await {
                connections.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let mut buffer = [0; 256];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    address
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// `cargo test --benches` only wants to know that it runs.
fn times(wanted: usize) -> usize {
    if std::env::args().any(|argument| argument == "--bench") { wanted } else { wanted.min(5) }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NANOS, 3).expect("three digits are possible")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

fn told(histogram: &Histogram<u64>) -> String {
    let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
    format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), Duration::from_nanos(histogram.max()))
}

fn judged(histogram: &Histogram<u64>, most: Duration) -> String {
    let within = Duration::from_nanos(histogram.value_at_quantile(0.99)) <= most;
    format!("p99 {} {most:?}", if within { "within" } else { "OVER" })
}
