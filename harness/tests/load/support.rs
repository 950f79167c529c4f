//! A generator on a thread of its own, and what it told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::clock::RunClock;
use harness::event::{LoadSecond, SocketEvent, What};
use harness::load::generator::Generator;
use harness::load::table::SocketTable;
use harness::sample::door::Door;
use harness::scenario::plan::LoadPlan;
use harness::system::{Observation, Rate, Request};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn plan(requests_per_second: f64, sockets: u32) -> LoadPlan {
    LoadPlan {
        requests_per_second,
        path: "/".to_owned(),
        sockets,
        sockets_asking: sockets,
        socket_path: "/ws".to_owned(),
        ..LoadPlan::default()
    }
}

pub(crate) struct Loading {
    pub(crate) rate: watch::Sender<Rate>,
    pub(crate) table: Arc<SocketTable>,
    seconds: Mutex<Vec<LoadSecond>>,
    sockets: Mutex<Vec<SocketEvent>>,
    seen: tokio::sync::Mutex<mpsc::Receiver<Observation>>,
    cancel: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Loading {
    pub(crate) fn start(plan: LoadPlan, light_path: Option<&str>, address: SocketAddr) -> Self {
        let (into, seen) = mpsc::channel(4096);
        let (rate, wanted) = watch::channel(Rate::full());
        let cancel = CancellationToken::new();
        let table = Arc::new(SocketTable::new(plan.sockets));
        let generator = Generator {
            plan,
            name: "load".to_owned(),
            seed: 1,
            table: Arc::clone(&table),
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
        let (seconds, sockets) = (Mutex::default(), Mutex::default());
        Self { rate, table, seconds, sockets, seen: tokio::sync::Mutex::new(seen), cancel, thread }
    }

    async fn next(&self) -> Option<Observation> {
        let next = tokio::time::timeout(PATIENCE, async { self.seen.lock().await.recv().await });
        let next = next.await.expect("nothing was told");
        if let Some(Observation::Record(What::Load(second))) = &next {
            self.seconds.lock().expect("nobody panicked").push(second.clone());
        }
        if let Some(Observation::Record(What::Socket(event))) = &next {
            self.sockets.lock().expect("nobody panicked").push(event.clone());
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

    /// What became of sockets, until it is like that.
    pub(crate) async fn sockets(&self, is: impl Fn(&[SocketEvent]) -> bool) -> Vec<SocketEvent> {
        let waiting = async {
            loop {
                let events = self.sockets.lock().expect("nobody panicked").clone();
                if is(&events) {
                    return events;
                }
                self.next().await.expect("the load goes on until it is told to end");
            }
        };
        let known = || self.sockets.lock().expect("nobody panicked").clone();
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never was so: {:?}", known()))
    }

    /// Ends it; every second of it.
    pub(crate) async fn end(self) -> Vec<LoadSecond> {
        self.cancel.cancel();
        while self.next().await.is_some() {}
        self.thread.join().expect("the load did not crash");
        self.seconds.into_inner().expect("nobody panicked")
    }
}
