//! Traffic during a rollout: what its users would lose is counted, request by request and
//! socket by socket.
//!
//! It begins when the Service answers and before the first write, is seen to flow, and ends when old pods are gone and a
//! margin has passed. Where nothing serves there is nothing to lose, and no traffic. What
//! cannot be counted is told, and never counts as nothing lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Tell;
use super::api::{ask, ask_optional};
use crate::clock::RunClock;
use crate::cluster::{Cluster, pods};
use crate::config::{Config, TrafficConfig};
use crate::duration;
use crate::event::{LostRequest, RolloutStep, TrafficFacts, What};
use crate::load::LOST_AFTER;
use crate::load::counting::{Counting, Flow};
use crate::load::generator::Generator;
use crate::load::punctuality::Punctuality;
use crate::load::requests;
use crate::load::table::SocketTable;
use crate::sample::Pods;
use crate::sample::door::Door;
use crate::sample::thread::Thread;
use crate::scenario::plan::LoadPlan;
use crate::system::live::pods::watch as watch_pods;
use crate::system::{Observation, Rate};

/// Good requests to a Service before its traffic counts as flowing.
const FLOWING: u64 = 20;
/// How long it may take until traffic flows; sockets are opened over one second.
const FLOWS_WITHIN: Duration = Duration::from_secs(10);
/// Pause before a Service that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long traffic goes on after the last old pod is gone: endpoint changes reach the rules
/// of a node some hundreds of milliseconds late.
const MARGIN: Duration = Duration::from_secs(1);
/// What the load may have told before it is taken in.
const OBSERVED_MAX: usize = 8192;
/// Lost requests of one Service that are told one by one; its seconds count them all.
const LOST_TOLD_MAX: usize = 20;

/// Traffic that runs. It ends when this is dropped, but only [`Traffic::end`] lets it be counted
/// to its end.
pub(super) struct Traffic {
    clock: RunClock,
    tell: Tell,
    collecting: JoinSet<()>,
    _ends: DropGuard,
}

/// A Service that serves, and the flow of its traffic.
struct Flowing {
    service: String,
    sockets: u32,
    flow: watch::Receiver<Flow>,
}

impl Traffic {
    /// Starts the traffic of `gate.toml` to every Service that serves now, and waits until it
    /// flows, for at most 10 s. Nothing where nothing serves. Cancelled by being dropped.
    pub(super) async fn start(config: &Config, cluster: &Cluster, clock: RunClock, tell: &Tell) -> Option<Self> {
        let (mut wanted, mut unknown) = (Vec::new(), Vec::new());
        for one in &config.traffic {
            match serves(cluster, &one.service).await {
                Ok(true) => wanted.push(one),
                Ok(false) => {}
                Err(reason) => unknown.push((one, reason)),
            }
        }
        if wanted.is_empty() && unknown.is_empty() {
            return None;
        }
        let all = wanted.iter().copied().chain(unknown.iter().map(|(one, _)| *one));
        tell.moment(clock.now(), RolloutStep::TrafficStarted { traffic: all.map(facts).collect() }).await;
        for (one, reason) in unknown {
            unmeasured(tell, clock, &one.service, reason).await;
        }
        let cancel = CancellationToken::new();
        let mut traffic =
            Self { clock, tell: tell.clone(), collecting: JoinSet::new(), _ends: cancel.clone().drop_guard() };
        traffic.watch_pods(cluster, &cancel);
        let mut flowing = Vec::new();
        for one in wanted {
            match traffic.send(cluster, one, &cancel).await {
                Ok(flow) => flowing.push(flow),
                Err(reason) => unmeasured(tell, clock, &one.service, reason).await,
            }
        }
        traffic.wait_until_it_flows(flowing).await;
        Some(traffic)
    }

    /// Lets traffic go on for the margin and until its last request is settled, then ends it.
    /// Cancelled by being dropped.
    pub(super) async fn end(mut self) {
        sleep_until(self.clock.instant(self.clock.now() + MARGIN + LOST_AFTER)).await;
        drop(self._ends);
        while self.collecting.join_next().await.is_some() {}
        self.tell.moment(self.clock.now(), RolloutStep::TrafficEnded).await;
    }

    async fn wait_until_it_flows(&self, flowing: Vec<Flowing>) {
        let until = self.clock.instant(self.clock.now() + FLOWS_WITHIN);
        for Flowing { service, sockets, mut flow } in flowing {
            let flows = flow.wait_for(|flow| flow.requests_good >= FLOWING && flow.sockets_open >= sockets);
            let flows = tokio::time::timeout_at(until, flows).await.ok().and_then(Result::ok).map(|flow| *flow);
            match flows {
                Some(Flow { requests_good, sockets_open, .. }) => {
                    let step = RolloutStep::TrafficFlows { service, requests_good, sockets_open };
                    self.tell.moment(self.clock.now(), step).await;
                }
                None => {
                    let reason = not_flowing(*flow.borrow(), sockets);
                    unmeasured(&self.tell, self.clock, &service, reason).await;
                }
            }
        }
    }

    /// Starts the traffic to one Service, on a thread of its own.
    async fn send(
        &mut self,
        cluster: &Cluster,
        wanted: &TrafficConfig,
        cancel: &CancellationToken,
    ) -> Result<Flowing, String> {
        let reached = cluster.reach(&wanted.service).await.map_err(|error| error.to_string())?;
        if let Some(text) = reached.news() {
            self.tell.tell(What::Note { text }).await;
        }
        let door = Door::to(&reached);
        self.wait_until_it_answers(door.clone(), &wanted.load).await?;
        let (into, observed) = mpsc::channel(OBSERVED_MAX);
        let (flow, flowing) = watch::channel(Flow::default());
        let (lost, lost_seen) = mpsc::channel(LOST_TOLD_MAX);
        let generator = Generator {
            plan: wanted.load.clone(),
            name: "rollout".to_owned(),
            // Nothing backs off here.
            seed: 0,
            table: Arc::new(SocketTable::new(wanted.load.sockets)),
            light_path: None,
            clock: self.clock,
            door,
            rate: watch::channel(Rate::full()).1,
            into,
            counting: Some(Counting { flow, lost }),
            cancel: cancel.child_token(),
        };
        let thread = Thread::start("traffic", generator.run()).map_err(|error| error.to_string())?;
        let service = wanted.service.clone();
        let collector = Collector { service, clock: self.clock, tell: self.tell.clone() };
        self.collecting.spawn(collector.collect(observed, lost_seen, thread));
        Ok(Flowing { service: wanted.service.clone(), sockets: wanted.load.sockets, flow: flowing })
    }

    /// Waits until fresh requests are answered one after the other. The rules of a node follow
    /// its pods some hundreds of milliseconds late: right after an installation a Service may
    /// refuse although its pods are ready, and that is no loss of the rollout that follows.
    async fn wait_until_it_answers(&self, door: Door, load: &LoadPlan) -> Result<(), String> {
        if load.requests_per_second == 0.0 {
            return Ok(());
        }
        let target = requests::Target::new(door, load.path.clone());
        let until = self.clock.now() + FLOWS_WITHIN;
        let (mut in_a_row, mut last) = (0, "no answer".to_owned());
        while in_a_row < FLOWING {
            let now = self.clock.now();
            if now >= until {
                let within = duration::text(FLOWS_WITHIN);
                return Err(format!(
                    "it did not answer {FLOWING} requests in a row within {within}; last seen: {last}"
                ));
            }
            let sent = requests::send(target.clone(), now, true, self.clock).await;
            match sent.map(|sent| sent.lost) {
                Ok(None) => in_a_row += 1,
                Ok(Some(reason)) | Err(reason) => {
                    (in_a_row, last) = (0, reason);
                    sleep_until(self.clock.instant(now + ASK_AGAIN)).await;
                }
            }
        }
        Ok(())
    }

    /// Records what becomes of the pods meanwhile.
    fn watch_pods(&mut self, cluster: &Cluster, cancel: &CancellationToken) {
        let (into, mut seen) = mpsc::channel(OBSERVED_MAX);
        let (cluster, cancel, tell) = (cluster.clone(), cancel.clone(), self.tell.clone());
        self.collecting.spawn(async move {
            let (table, _nobody_asks) = watch::channel(Pods::from([]));
            let watching = async {
                if let Err(error) = watch_pods(&cluster, &table, &into, &cancel).await {
                    tell.tell(What::Note { text: error.to_string() }).await;
                }
                drop(into);
            };
            let telling = async {
                while let Some(observation) = seen.recv().await {
                    if let Observation::Record(what) = observation {
                        tell.tell(what).await;
                    }
                }
            };
            tokio::join!(watching, telling);
        });
    }
}

/// Takes in what the traffic to one Service tells.
struct Collector {
    service: String,
    clock: RunClock,
    tell: Tell,
}

impl Collector {
    async fn collect(
        self,
        mut observed: mpsc::Receiver<Observation>,
        mut lost: mpsc::Receiver<LostRequest>,
        mut thread: Thread<Punctuality>,
    ) {
        let mut told = 0;
        loop {
            tokio::select! {
                Some(observation) = observed.recv() => self.observed(observation).await,
                Some(lost) = lost.recv(), if told < LOST_TOLD_MAX => {
                    told += 1;
                    self.step(|service| RolloutStep::RequestLost { service, lost }).await;
                }
                else => break,
            }
        }
        if let Err(error) = thread.ended().await {
            unmeasured(&self.tell, self.clock, &self.service, error.to_string()).await;
        }
    }

    async fn observed(&self, observation: Observation) {
        match observation {
            Observation::Record(What::Load(second)) => {
                self.step(|service| RolloutStep::Second { service, second }).await;
            }
            Observation::Record(what) => self.tell.tell(what).await,
            // Seconds count them.
            Observation::Request(_) => {}
        }
    }

    async fn step(&self, step: impl FnOnce(String) -> RolloutStep) {
        self.tell.moment(self.clock.now(), step(self.service.clone())).await;
    }
}

/// Whether a Service has a pod that is ready and stays.
async fn serves(cluster: &Cluster, service: &str) -> Result<bool, String> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = ask_optional(&format!("get service/{service}"), || services.get(service)).await;
    let Some(found) = found.map_err(|error| error.to_string())? else { return Ok(false) };
    let selector: BTreeSet<String> = found
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if selector.is_empty() {
        return Err("it selects no pods".to_owned());
    }
    let selected = ListParams::default().labels(&selector.into_iter().collect::<Vec<_>>().join(","));
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = ask("list the pods of a service", || api.list(&selected)).await.map_err(|error| error.to_string())?;
    Ok(listed.items.iter().map(pods::facts).any(|pod| pod.ready && !pod.terminating))
}

async fn unmeasured(tell: &Tell, clock: RunClock, service: &str, reason: String) {
    tell.moment(clock.now(), RolloutStep::Unmeasured { service: service.to_owned(), reason }).await;
}

fn not_flowing(flow: Flow, sockets: u32) -> String {
    format!(
        "traffic did not flow within {}: {} good and {} lost requests, {} of {sockets} sockets open",
        duration::text(FLOWS_WITHIN),
        flow.requests_good,
        flow.requests_lost,
        flow.sockets_open
    )
}

fn facts(traffic: &TrafficConfig) -> TrafficFacts {
    TrafficFacts {
        service: traffic.service.clone(),
        requests_per_second: traffic.load.requests_per_second,
        path: traffic.load.path.clone(),
        sockets: traffic.load.sockets,
    }
}
