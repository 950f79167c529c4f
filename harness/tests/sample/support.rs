//! A sampler on a thread of its own, and what it recorded.

use std::sync::Arc;
use std::time::Duration;

use harness::clock::RunClock;
use harness::event::{Offset, PodFacts, Sample, Seen, What};
use harness::fault::{Fault, PodDelete};
use harness::load::table::SocketTable;
use harness::sample::door::Door;
use harness::sample::sampler::{Punctuality, Sampler};
use harness::sample::{Check, HttpCheck, Pods, Target};
use harness::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, LoadPlan, Plan, PlannedCheck, Promise, Role, ScenarioId, Symptom, Through,
    WorkloadKind, WorkloadRef,
};
use harness::system::{Observation, Rate};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn workload(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, name: name.to_owned() }
}

pub(crate) fn http(target: Target) -> Check {
    Check::Http(HttpCheck { target, path: "/ready".to_owned(), status: 200, json: serde_json::Map::new() })
}

/// One check at an interval; slow after 400 ms, given up after 800 ms.
pub(crate) fn plan(check: Check, interval: Duration) -> Plan {
    let workload = workload(WorkloadKind::Deployment, "backend");
    Plan {
        id: ScenarioId("a/b".to_owned()),
        title: String::new(),
        file: String::new(),
        line: 1,
        suites: Vec::new(),
        round: None,
        needs: Vec::new(),
        promise: Promise { document: String::new(), section: String::new(), says: String::new() },
        workload: workload.clone(),
        service: "backend".to_owned(),
        port: 8000,
        through: Through::Direct,
        checks: vec![PlannedCheck {
            name: CheckName("check".to_owned()),
            check,
            role: Role::Recovery,
            cost: Cost::Low,
            interval,
            timeout: Duration::from_millis(800),
            slow: None,
        }],
        fault: Fault::PodDelete(PodDelete { of: workload }),
        proof: Vec::new(),
        symptom: Symptom::Required,
        remedy: Vec::new(),
        budget: Budget { max: Duration::from_secs(10), from: BudgetFrom::Fault, source: String::new() },
        hold: Duration::from_secs(1),
        slow: Duration::from_millis(400),
        settle_within: Duration::from_secs(10),
        samples_per_pod_second_max: 1000.0,
        exclusive: false,
        load: LoadPlan::default(),
    }
}

pub(crate) fn pod(name: &str, of: WorkloadRef) -> PodFacts {
    PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        workload: Some(of),
        phase: "Running".to_owned(),
        ready: true,
        terminating: false,
        container_ids: Vec::new(),
        restarts: 0,
        reason: None,
        ended: None,
    }
}

/// A sampler at work.
pub(crate) struct Sampling {
    pub(crate) clock: RunClock,
    pub(crate) rate: watch::Sender<Rate>,
    pub(crate) pods: watch::Sender<Pods>,
    pub(crate) sockets: Arc<SocketTable>,
    seen: mpsc::Receiver<Observation>,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<Punctuality>>,
}

impl Sampling {
    pub(crate) fn start(plan: Plan, service: Door, api: Option<Door>, pods: Vec<PodFacts>) -> Self {
        let clock = RunClock::start();
        let (into, seen) = mpsc::channel(4096);
        let (rate, wanted) = watch::channel(Rate::full());
        let (pods, known) = watch::channel(Pods::from(pods));
        let cancel = CancellationToken::new();
        let sockets = Arc::new(SocketTable::new(plan.load.sockets));
        let sampler = Sampler {
            plan: Arc::new(plan),
            clock,
            seed: 1,
            service,
            api,
            namespace: "ns".to_owned(),
            rate: wanted,
            pods: known,
            sockets: Arc::clone(&sockets),
            into,
            cancel: cancel.clone(),
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(sampler.run()).unwrap_or_else(|error| panic!("{error}"))
        });
        Self { clock, rate, pods, sockets, seen, cancel, thread: Some(thread) }
    }

    /// The next sample, whatever it saw.
    pub(crate) async fn next(&mut self) -> Sample {
        tokio::time::timeout(PATIENCE, async {
            loop {
                match self.seen.recv().await.expect("the sampler goes on until it is told to end") {
                    Observation::Record(What::Sample(sample)) => return sample,
                    Observation::Record(_) | Observation::Request(_) => {}
                }
            }
        })
        .await
        .expect("no sample came")
    }

    /// The next sample that is not missing by our own slip on a busy machine.
    pub(crate) async fn next_punctual(&mut self) -> Sample {
        loop {
            let sample = self.next().await;
            if !reason(&sample).starts_with("our own slip") {
                return sample;
            }
        }
    }

    /// Samples until one is like that; it is the last of them.
    pub(crate) async fn until(&mut self, is: impl Fn(&Sample) -> bool) -> Vec<Sample> {
        let mut samples = Vec::new();
        let looking = async {
            while !samples.last().is_some_and(&is) {
                samples.push(self.next().await);
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        assert!(found.is_ok(), "no such sample within {PATIENCE:?}; the last one: {:?}", samples.last());
        samples
    }

    /// Ends it; how punctual it was, and what it still recorded.
    pub(crate) async fn end(mut self) -> (Punctuality, Vec<Sample>) {
        self.cancel.cancel();
        let mut rest = Vec::new();
        while let Some(observation) = self.seen.recv().await {
            if let Observation::Record(What::Sample(sample)) = observation {
                rest.push(sample);
            }
        }
        let punctuality = self.thread.take().expect("ended once").join().expect("the sampler did not crash");
        (punctuality, rest)
    }
}

pub(crate) fn is_good(sample: &Sample) -> bool {
    sample.seen == Seen::Good
}

pub(crate) fn is_bad(sample: &Sample) -> bool {
    matches!(sample.seen, Seen::Bad { .. })
}

pub(crate) fn reason(sample: &Sample) -> &str {
    match &sample.seen {
        Seen::Good => "",
        Seen::Bad { reason } | Seen::Missing { reason } => reason,
    }
}

pub(crate) fn later(at: Offset, millis: u64) -> Offset {
    at + Duration::from_millis(millis)
}
