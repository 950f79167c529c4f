//! A live cluster: the Kubernetes API on one side, the measuring threads on the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::{Observation, Observations, Rate, System, SystemError};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::cluster::reach::Reached;
use crate::duration;
use crate::event::{PodFacts, What};
use crate::fault::{Fault, Reach, Receipt};
use crate::heal::{HealError, receipts};
use crate::load::generator::Generator;
use crate::load::table::SocketTable;
use crate::proxy::Remote;
use crate::runbook::command::Command;
use crate::sample::door::Door;
use crate::sample::sampler::Sampler;
use crate::sample::thread::Thread;
use crate::sample::{Check, Pods};
use crate::scenario::plan::{Cost, Plan};

mod between;
mod command;
pub(crate) mod pods;
mod secret;

use between::Between;

/// How long it may take until the Service's address is known and the pods were seen once.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two tries.
const LOOK: Duration = Duration::from_millis(250);

/// A system on a cluster that answers.
#[derive(Clone)]
pub struct Live {
    cluster: Cluster,
    clock: RunClock,
    run: String,
    seed: u64,
    /// The fault proxy that the scenario goes through, while it is observed.
    proxy: Arc<Mutex<Option<Remote>>>,
}

impl Live {
    /// The system in the cluster's namespace, for the run with this id. The seed decides
    /// where in their intervals series of samples start.
    #[must_use]
    pub fn new(cluster: Cluster, clock: RunClock, run: String, seed: u64) -> Self {
        Self { cluster, clock, run, seed, proxy: Arc::default() }
    }

    fn proxy(&self) -> Option<Remote> {
        // Nothing that can panic runs while it is held.
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn go_through(&self, proxy: Option<Remote>) {
        *self.proxy.lock().unwrap_or_else(PoisonError::into_inner) = proxy;
    }

    /// Where the Service is, and which pods there are: what observing starts from.
    async fn first_look(&self, plan: &Plan) -> Result<(Reached, Pods), SystemError> {
        let until = self.clock.instant(self.clock.now() + FIRST_LOOK_WITHIN);
        let mut last = "no answer".to_owned();
        let looking = async {
            loop {
                let reached = self.cluster.reach(&plan.service).await.map_err(|error| error.to_string());
                match (reached, pods::list(&self.cluster).await) {
                    (Ok(reached), Ok(pods)) => return (reached, Pods::from(pods)),
                    (Err(reason), _) => last = reason,
                    (_, Err(error)) => last = error.to_string(),
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout_at(until, looking).await.map_err(|_| SystemError {
            message: format!("find the system within {}; last seen: {last}", duration::text(FIRST_LOOK_WITHIN)),
            transient: false,
        })
    }
}

impl System for Live {
    async fn pods(&self) -> Result<Vec<PodFacts>, SystemError> {
        pods::list(&self.cluster).await
    }

    async fn observe(
        &self,
        plan: &Plan,
        rate: watch::Receiver<Rate>,
        into: Observations,
        cancel: CancellationToken,
    ) -> Result<(), SystemError> {
        let unreachable = |reason: String| SystemError { message: reason, transient: false };
        let api = Door::api(&self.cluster.api).map_err(unreachable)?;
        let Some(looked) = cancel.run_until_cancelled(self.first_look(plan)).await else { return Ok(()) };
        let (reached, pods) = looked?;
        if let Some(text) = reached.news() {
            // The engine listens as long as it observes.
            let _ = into.send(Observation::Record(What::Note { text })).await;
        }
        let standing = Between::stand(plan, &self.cluster, self.clock, self.seed, reached.address, &into);
        let Some(stood) = cancel.run_until_cancelled(standing).await else { return Ok(()) };
        let mut between = stood?;
        let service = Door::direct(between.address()).on_the_way_to(&reached);
        self.go_through(between.remote());
        // Whatever ends first ends the others.
        let ours = cancel.child_token();
        let _ends_threads = ours.clone().drop_guard();
        let (tell, seen) = watch::channel(pods);
        let sockets = Arc::new(SocketTable::new(plan.load.sockets));
        let sampler = Sampler {
            plan: Arc::new(plan.clone()),
            clock: self.clock,
            seed: self.seed,
            service: service.clone(),
            api: Some(api),
            namespace: self.cluster.namespace.clone(),
            rate: rate.clone(),
            pods: seen,
            sockets: Arc::clone(&sockets),
            into: into.clone(),
            cancel: ours.clone(),
        };
        let generator = Generator {
            plan: plan.load.clone(),
            name: plan.id.0.replace('/', "-"),
            seed: self.seed,
            table: sockets,
            light_path: cheapest_path(plan),
            clock: self.clock,
            door: service,
            rate,
            into: into.clone(),
            counting: None,
            cancel: ours.clone(),
        };
        let mut sampling = Thread::start("sampler", sampler.run())?;
        let mut loading = Thread::start("load", generator.run())?;
        let watching = pods::watch(&self.cluster, &tell, &into, &ours);
        let ended = tokio::select! {
            // First, so that a cancellation is not taken for the sampler's own end.
            biased;
            watched = watching => watched,
            sampled = sampling.ended() => sampled.map(drop),
            loaded = loading.ended() => loaded.map(drop),
            tended = between.tend(&into) => tended,
        };
        ours.cancel();
        // Both end by themselves now; the first failure is the one that counts.
        let punctuality = sampling.ended().await;
        let loaded = loading.ended().await;
        // Last, so that its end is nothing that a client could see.
        self.go_through(None);
        let stood = between.end().await;
        // Slip is in every sample; only what did not become one must be told.
        if let Ok(Some(punctuality)) = &punctuality
            && punctuality.dropped > 0
        {
            // The engine may have stopped listening; then nobody reads the note.
            let _ = into.try_send(Observation::Record(What::Note { text: punctuality.note() }));
        }
        ended.and(punctuality.map(drop)).and(loaded.map(drop)).and(stood)
    }

    async fn prepare(&self, fault: &Fault) -> Result<Receipt, SystemError> {
        fault.prepare(Reach { cluster: &self.cluster, proxy: self.proxy().as_ref() }, self.seed).await
    }

    async fn keep(&self, receipt: &Receipt) -> Result<(), SystemError> {
        receipts::keep(&self.cluster, &self.run, receipt).await
    }

    async fn inject(&self, receipt: &Receipt) -> Result<(), SystemError> {
        receipt.inject(Reach { cluster: &self.cluster, proxy: self.proxy().as_ref() }).await
    }

    async fn carry_out(&self, command: &Command) -> Result<String, SystemError> {
        command::carry_out(&self.cluster, &self.run, command).await
    }

    async fn heal(&self, receipt: &Receipt) -> Result<Vec<String>, SystemError> {
        let facts = receipt.heal(Reach { cluster: &self.cluster, proxy: self.proxy().as_ref() }).await?;
        receipts::forget(&self.cluster, receipt).await.map_err(|error| SystemError {
            // The fault is gone; what is left is a ConfigMap, which another try removes.
            transient: matches!(error, HealError::Unverified { .. }),
            message: error.to_string(),
        })?;
        Ok(facts)
    }
}

/// The path of the cheapest HTTP check, for the baseline's own load.
fn cheapest_path(plan: &Plan) -> Option<String> {
    let http = plan.checks.iter().filter_map(|planned| match &planned.check {
        Check::Http(http) => Some((planned.cost, &http.path)),
        Check::Redis(_)
        | Check::Websocket(_)
        | Check::Question(_)
        | Check::Survival(_)
        | Check::Environment(_)
        | Check::Log(_)
        | Check::LlmDouble(_)
        | Check::Sockets(_)
        | Check::Metric(_)
        | Check::Cluster(_) => None,
    });
    http.min_by_key(|(cost, _)| *cost != Cost::Low).map(|(_, path)| path.clone())
}
