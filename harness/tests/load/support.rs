//! A generator on a thread of its own, and what it told.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use harness::clock::RunClock;
use harness::event::{LoadSecond, What};
use harness::load::generator::Generator;
use harness::sample::door::Door;
use harness::scenario::plan::LoadPlan;
use harness::system::{Observation, Rate, Request};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn plan(requests_per_second: f64, sockets: u32) -> LoadPlan {
    LoadPlan { requests_per_second, path: "/".to_owned(), sockets, socket_path: "/ws".to_owned() }
}

pub(crate) struct Loading {
    pub(crate) rate: watch::Sender<Rate>,
    seconds: Mutex<Vec<LoadSecond>>,
    seen: tokio::sync::Mutex<mpsc::Receiver<Observation>>,
    cancel: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Loading {
    pub(crate) fn start(plan: LoadPlan, light_path: Option<&str>, address: SocketAddr) -> Self {
        let (into, seen) = mpsc::channel(4096);
        let (rate, wanted) = watch::channel(Rate::full());
        let cancel = CancellationToken::new();
        let generator = Generator {
            plan,
            light_path: light_path.map(str::to_owned),
            clock: RunClock::start(),
            door: Door::direct(address),
            rate: wanted,
            into,
            counting: None,
            cancel: cancel.clone(),
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(generator.run()).unwrap_or_else(|error| panic!("{error}"));
        });
        Self { rate, seconds: Mutex::new(Vec::new()), seen: tokio::sync::Mutex::new(seen), cancel, thread }
    }

    async fn next(&self) -> Option<Observation> {
        let next = tokio::time::timeout(PATIENCE, async { self.seen.lock().await.recv().await });
        let next = next.await.expect("nothing was told");
        if let Some(Observation::Record(What::Load(second))) = &next {
            self.seconds.lock().expect("nobody panicked").push(second.clone());
        }
        next
    }

    /// The next so many requests that have ended.
    pub(crate) async fn requests(&self, number: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while requests.len() < number {
            match self.next().await.expect("the load goes on until it is told to end") {
                Observation::Request(request) => requests.push(request),
                Observation::Record(_) => {}
            }
        }
        requests
    }

    /// Seconds until one is like that; all of them so far.
    pub(crate) async fn until(&self, is: impl Fn(&LoadSecond) -> bool) -> Vec<LoadSecond> {
        loop {
            if self.seconds.lock().expect("nobody panicked").iter().any(&is) {
                return self.seconds.lock().expect("nobody panicked").clone();
            }
            self.next().await.expect("the load goes on until it is told to end");
        }
    }

    /// Ends it; every second of it.
    pub(crate) async fn end(self) -> Vec<LoadSecond> {
        self.cancel.cancel();
        while self.next().await.is_some() {}
        self.thread.join().expect("the load did not crash");
        self.seconds.into_inner().expect("nobody panicked")
    }
}
