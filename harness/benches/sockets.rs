//! How punctual the load is while it holds thousands of WebSockets: 2,000 sockets, a fifth of them
//! asking, and 500 requests a second against one backend of the stand-in, for half a minute.
//!
//! Not criterion's: what counts is a 99th percentile, and our own memory. `cargo build -p standin`
//! makes the backend; `STANDIN=PATH` names another one. `SECONDS=10` is shorter.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::clock::RunClock;
use harness::event::{SocketChange, What};
use harness::load::generator::Generator;
use harness::load::table::{SocketTable, Standing};
use harness::sample::door::Door;
use harness::scenario::plan::LoadPlan;
use harness::system::{Observation, Rate};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const SOCKETS: u32 = 2_000;
const REQUESTS_PER_SECOND: f64 = 500.0;
/// How long opening all sockets may take.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

fn main() {
    // `cargo test --benches` only wants to know that it runs, and there is no backend then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(measure(Duration::from_secs(seconds)));
}

async fn measure(time: Duration) {
    harness::descriptors::raise_limit();
    let backend = Backend::start().await;
    let table = Arc::new(SocketTable::new(SOCKETS));
    let plan = LoadPlan {
        requests_per_second: REQUESTS_PER_SECOND,
        path: "/ping".to_owned(),
        sockets: SOCKETS,
        sockets_asking: SOCKETS / 5,
        socket_path: "/ws".to_owned(),
        ..LoadPlan::default()
    };
    let (into, mut seen) = mpsc::channel(16_384);
    let (_rate, rate) = watch::channel(Rate::full());
    let cancel = CancellationToken::new();
    let generator = Generator {
        plan,
        name: "bench".to_owned(),
        seed: 1,
        table: Arc::clone(&table),
        light_path: None,
        clock: RunClock::start(),
        door: Door::direct(backend.address),
        rate,
        into,
        counting: None,
        cancel: cancel.clone(),
    };
    // As in a run: on a thread and a runtime of its own.
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(generator.run()).unwrap_or_else(|error| panic!("{error}"))
    });
    let mut told = Told::default();
    let opening = async {
        while !matches!(table.standing(), Standing::Complete(_)) {
            told.take(seen.recv().await);
        }
    };
    let opened = tokio::time::timeout(OPEN_WITHIN, opening).await;
    assert!(opened.is_ok(), "{SOCKETS} sockets were not open within {OPEN_WITHIN:?}: {:?}", table.standing());
    let holding = async {
        loop {
            told.take(seen.recv().await);
        }
    };
    // The time is up when it is up: holding ends by nothing else.
    let _ = tokio::time::timeout(time, holding).await;
    let memory = peak_mib();
    cancel.cancel();
    while let Some(observation) = seen.recv().await {
        told.take(Some(observation));
    }
    let punctuality = load.join().expect("the load did not crash");
    println!("{SOCKETS} sockets and {REQUESTS_PER_SECOND} requests/s held for {} s", time.as_secs());
    println!("{}", punctuality.note());
    println!(
        "sockets: {} ended, {} lost; requests: {} good, {} lost",
        told.ended, told.lost, told.good, told.lost_requests
    );
    println!("peak memory of the load's process: {memory} MiB");
    drop(backend);
}

/// What the record says.
#[derive(Default)]
struct Told {
    ended: u64,
    lost: u64,
    good: u64,
    lost_requests: u64,
}

impl Told {
    fn take(&mut self, observation: Option<Observation>) {
        match observation {
            Some(Observation::Record(What::Socket(event))) => {
                if let SocketChange::Ended { lost, .. } = event.what {
                    self.ended += 1;
                    self.lost += u64::from(lost);
                }
            }
            Some(Observation::Record(What::Load(second))) => {
                self.good += u64::from(second.requests_good);
                self.lost_requests += u64::from(second.requests_lost);
            }
            Some(Observation::Record(What::Note { text })) => println!("note: {text}"),
            Some(Observation::Record(_) | Observation::Request(_)) => {}
            None => panic!("the load ended by itself"),
        }
    }
}

/// One backend of the stand-in, without Redis and without a model; killed when dropped.
struct Backend {
    address: SocketAddr,
    child: Child,
}

impl Backend {
    async fn start() -> Self {
        let beside = std::env::current_exe().expect("this program has a path");
        // Benchmarks lie in `deps`, one below the programs.
        let beside = beside.parent().and_then(|deps| deps.parent()).expect("it lies in a target directory");
        let program = std::env::var_os("STANDIN").map_or_else(|| beside.join("standin"), Into::into);
        let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/standin/catalog");
        let mut child = Command::new(&program)
            .arg("backend")
            .env("LISTEN", "127.0.0.1:0")
            .env("CATALOG_DIR", catalog)
            .env("REDIS_URL", "redis://127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `cargo build -p standin` makes it", program.display()));
        let stdout = child.stdout.take().expect("it is piped");
        let stdout = tokio::process::ChildStdout::from_std(stdout).expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let line = lines.next_line().await.expect("a pipe").expect("the backend listens before it ends");
            let line: serde_json::Value = serde_json::from_str(&line).expect("a log line is JSON");
            if line["message"] == "listening" {
                break line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
            }
        };
        // What it goes on to say is read and forgotten, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, child }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") / 1024
}
