//! Soak: load through the Service, and a look at every pod on an open schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Sink;
use crate::clock::RunClock;
use crate::cluster::{Cluster, ClusterError, pods};
use crate::event::{PodFacts, StageResult, What};
use crate::load::generator::Generator;
use crate::load::table::SocketTable;
use crate::sample::door::Door;
use crate::sample::schedule::Grid;
use crate::sample::thread::Thread;
use crate::soak::exposition::Exposition;
use crate::soak::metric::{LoadWindow, Looks, PodLook};
use crate::soak::{Look, Soak, SoakPlan, value};
use crate::system::{Observation, Rate, SystemError};
use crate::verdict::Verdict;

/// How long a pod may take to answer one look.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// What the load may tell before it is heard; beyond it single requests are left out.
const OBSERVATIONS_MAX: usize = 16_384;

/// A release could not be soaked.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The Service could not be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The load did not start, or crashed.
    #[error("keep up the load: {0}")]
    Load(#[from] SystemError),
    /// The user stopped it.
    #[error("soak: cancelled")]
    Cancelled,
}

/// Soaks what is installed, as a stage; everything that was seen is told to the sink.
///
/// # Errors
/// [`SoakError`]; a bad release is no error here, but a verdict of the returned fold.
pub async fn soak(
    plan: &SoakPlan,
    cluster: &Cluster,
    clock: RunClock,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Soak, SoakError> {
    let stage = "soak".to_owned();
    sink(What::StageStarted { stage: stage.clone() });
    let soaked = under_load(plan, cluster, clock, cancel, sink).await;
    let (result, facts) = match &soaked {
        Ok(soak) => (result(soak), facts(soak)),
        Err(SoakError::Cancelled) => (StageResult::Cancelled, Vec::new()),
        Err(error) => (StageResult::Failed { error: error.to_string() }, Vec::new()),
    };
    sink(What::StageFinished { stage, result, facts });
    soaked
}

/// Whether it is inconclusive is a verdict of its own, which no stage has.
fn result(soak: &Soak) -> StageResult {
    match soak.verdict() {
        Verdict::Fail { why } => StageResult::Failed { error: why },
        Verdict::Pass | Verdict::Inconclusive { .. } => StageResult::Done,
    }
}

fn facts(soak: &Soak) -> Vec<String> {
    let worst = soak.plan().metrics.iter().filter_map(|metric| {
        let worst = soak.course(metric).worst?;
        Some(format!("{}: {} at worst", metric.name, value(worst, &metric.unit)))
    });
    let lasted = format!("{} looks in {:.0} s", soak.looks(), soak.lasted().as_secs_f64());
    std::iter::once(lasted).chain(worst).collect()
}

async fn under_load(
    plan: &SoakPlan,
    cluster: &Cluster,
    clock: RunClock,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Soak, SoakError> {
    let reached = cluster.reach(&plan.service).await?;
    if let Some(text) = reached.news() {
        sink(What::Note { text });
    }
    let door = Door::to(&reached);
    let (into, seen) = mpsc::channel(OBSERVATIONS_MAX);
    // Held to the end: the load asks for its rate.
    let (_rate, rate) = watch::channel(Rate::full());
    let ours = cancel.child_token();
    let _ends_the_load = ours.clone().drop_guard();
    let generator = Generator {
        plan: plan.load.clone(),
        name: "soak".to_owned(),
        // Nothing backs off here.
        seed: 0,
        table: Arc::new(SocketTable::new(plan.load.sockets)),
        light_path: None,
        clock,
        door,
        rate,
        into,
        counting: None,
        cancel: ours.clone(),
    };
    let mut loading = Thread::start("load", generator.run())?;
    let looked = {
        let watching = Watching { plan, cluster, clock, seen, load: LoadWindow::default(), first: None };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(SoakError::Cancelled),
            crashed = loading.ended() => crashed.map_err(SoakError::from).and(Err(SoakError::Cancelled)),
            looked = watching.run(sink) => Ok(looked),
        }
    };
    ours.cancel();
    loading.ended().await?;
    looked
}

/// Looks at the pods, and listens to the load.
struct Watching<'a> {
    plan: &'a SoakPlan,
    cluster: &'a Cluster,
    clock: RunClock,
    seen: mpsc::Receiver<Observation>,
    /// The load since the look before.
    load: LoadWindow,
    /// Restart counts at the first look, by pod.
    first: Option<BTreeMap<String, u32>>,
}

impl Watching<'_> {
    /// Until the plan's length is over, or something persists that makes going on pointless.
    async fn run(mut self, sink: Sink<'_>) -> Soak {
        let started = self.clock.now() + self.plan.warm_up;
        sink(What::SoakStarted(Box::new(self.plan.clone())));
        let mut soak = Soak::new(self.plan.clone(), started);
        let mut grid = Grid::new(started, self.plan.every);
        let mut before: Option<Looks> = None;
        while soak.ends_early().is_none() && soak.lasted() + self.plan.every / 2 < self.plan.length {
            let wake = self.clock.instant(grid.next());
            tokio::select! {
                Some(observation) = self.seen.recv() => self.hear(observation, sink),
                () = sleep_until(wake) => {
                    while grid.due(self.clock.now()).is_some() {}
                    let (restarts, now) = self.look().await;
                    while let Ok(observation) = self.seen.try_recv() {
                        self.hear(observation, sink);
                    }
                    let load = std::mem::take(&mut self.load);
                    // The first look is where the others count from.
                    if let Some(before) = &before {
                        let look = look_of(self.plan, before, &now, &load, restarts);
                        soak.look(self.clock.now(), look.clone());
                        sink(What::SoakLooked(look));
                    }
                    before = Some(now);
                }
            }
        }
        soak
    }

    fn hear(&mut self, observation: Observation, sink: &mut (dyn FnMut(What) + Send)) {
        match observation {
            Observation::Request(request) => match request.latency {
                Some(took) => self.load.good.push(took),
                None => self.load.lost += 1,
            },
            Observation::Record(what) => sink(what),
        }
    }

    /// Asks every pod that runs. One that does not answer is left out: it has no data.
    async fn look(&mut self) -> (u32, Looks) {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let everything = ListParams::default();
        let Ok(Ok(listed)) = timeout(ANSWER_WITHIN, api.list(&everything)).await else { return (0, Looks::new()) };
        let running: Vec<PodFacts> = listed
            .items
            .iter()
            .map(pods::facts)
            .filter(|pod| pod.workload.as_ref() == Some(&self.plan.workload) && !pod.terminating)
            .collect();
        let counts = running.iter().map(|pod| (pod.uid.clone(), pod.restarts)).collect();
        let first = self.first.get_or_insert(counts);
        // A pod that is new has restarted as often as it says.
        let since = |pod: &PodFacts| pod.restarts.saturating_sub(first.get(&pod.uid).copied().unwrap_or(0));
        let restarts = running.iter().map(since).sum();
        let asked = join_all(running.iter().map(|pod| ask(self.cluster, pod, self.plan.port))).await;
        let answered = running.iter().zip(asked).filter_map(|(pod, look)| Some((pod.uid.clone(), look?)));
        (restarts, answered.collect())
    }
}

fn look_of(plan: &SoakPlan, before: &Looks, now: &Looks, load: &LoadWindow, restarts: u32) -> Look {
    let value = |metric: &crate::soak::metric::Metric| {
        let value = metric.value(before, now, load)?;
        // Three digits say all there is to say, and survive being written and read.
        Some((metric.name.clone(), (value * 1e3).round() / 1e3))
    };
    Look { pods: now.len(), restarts, values: plan.metrics.iter().filter_map(value).collect() }
}

async fn ask(cluster: &Cluster, pod: &PodFacts, port: u16) -> Option<PodLook> {
    let (metrics, health) = tokio::join!(get(cluster, pod, port, "metrics"), get(cluster, pod, port, "health"));
    Some(PodLook { metrics: Exposition::parse(&metrics?), health: serde_json::from_str(&health?).ok()? })
}

async fn get(cluster: &Cluster, pod: &PodFacts, port: u16, path: &str) -> Option<String> {
    let (namespace, name) = (&cluster.namespace, &pod.name);
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{path}");
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    timeout(ANSWER_WITHIN, cluster.client.request_text(request)).await.ok()?.ok()
}
