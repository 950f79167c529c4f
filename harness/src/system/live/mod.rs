//! A live cluster: the Kubernetes API on one side, the measuring threads on the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Observation, Observations, Rate, System, SystemError};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::event::{PodFacts, What};
use crate::fault::{Fault, Receipt};
use crate::heal::{HealError, receipts};
use crate::load::generator::Generator;
use crate::runbook::command::Command;
use crate::sample::door::Door;
use crate::sample::sampler::Sampler;
use crate::sample::{Check, Pods};
use crate::scenario::plan::{Cost, Plan};

mod command;
mod pods;
mod threads;

use threads::Thread;

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
}

impl Live {
    /// The system in the cluster's namespace, for the run with this id. The seed decides
    /// where in their intervals series of samples start.
    #[must_use]
    pub fn new(cluster: Cluster, clock: RunClock, run: String, seed: u64) -> Self {
        Self { cluster, clock, run, seed }
    }

    /// The ways to the system that this plan needs.
    async fn doors(&self, plan: &Plan) -> Result<(Door, Door), SystemError> {
        let permanent = |message: String| SystemError { message, transient: false };
        let api =
            Door::api(&self.cluster.api).map_err(|reason| permanent(format!("reach the API server: {reason}")))?;
        let until = self.clock.instant(self.clock.now() + FIRST_LOOK_WITHIN);
        let mut last = "no answer".to_owned();
        let address = loop {
            match tokio::time::timeout_at(until, self.cluster.service_address(&plan.service)).await {
                Ok(Ok(address)) => break address,
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => return Err(permanent(last)),
            }
            tokio::time::sleep_until(until.min(self.clock.instant(self.clock.now() + LOOK))).await;
        };
        Ok((Door::direct(address), api))
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
        let (service, api) = self.doors(plan).await?;
        // Whatever ends first ends the others.
        let ours = cancel.child_token();
        let _ends_threads = ours.clone().drop_guard();
        let (tell, seen) = watch::channel(Pods::from([]));
        let sampler = Sampler {
            plan: Arc::new(plan.clone()),
            clock: self.clock,
            seed: self.seed,
            service: service.clone(),
            api: Some(api),
            namespace: self.cluster.namespace.clone(),
            rate: rate.clone(),
            pods: seen,
            into: into.clone(),
            cancel: ours.clone(),
        };
        let generator = Generator {
            plan: plan.load.clone(),
            light_path: cheapest_path(plan),
            clock: self.clock,
            door: service,
            rate,
            into: into.clone(),
            cancel: ours.clone(),
        };
        let mut sampling = Thread::start("sampler", sampler.run())?;
        let mut loading = Thread::start("load", generator.run())?;
        let watching = pods::watch(&self.cluster, &tell, &into, &ours);
        let ended = tokio::select! {
            watched = watching => watched,
            sampled = sampling.ended() => sampled.map(|_| ()),
            loaded = loading.ended() => loaded.map(|_| ()),
        };
        ours.cancel();
        // Both end by themselves now; the first failure is the one that counts.
        let punctuality = sampling.ended().await;
        let loaded = loading.ended().await;
        if let Ok(Some(punctuality)) = &punctuality {
            // The engine may have stopped listening; then nobody reads the note.
            let _ = into.try_send(Observation::Record(What::Note { text: punctuality.note() }));
        }
        ended.and(punctuality.map(drop)).and(loaded.map(drop))
    }

    async fn prepare(&self, fault: &Fault) -> Result<Receipt, SystemError> {
        fault.prepare(&self.cluster).await
    }

    async fn keep(&self, receipt: &Receipt) -> Result<(), SystemError> {
        receipts::keep(&self.cluster, &self.run, receipt).await
    }

    async fn inject(&self, receipt: &Receipt) -> Result<(), SystemError> {
        receipt.inject(&self.cluster).await
    }

    async fn carry_out(&self, command: &Command) -> Result<String, SystemError> {
        command::carry_out(&self.cluster, command).await
    }

    async fn heal(&self, receipt: &Receipt) -> Result<Vec<String>, SystemError> {
        let facts = receipt.heal(&self.cluster).await?;
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
        Check::Redis(_) | Check::Websocket(_) => None,
    });
    http.min_by_key(|(cost, _)| *cost != Cost::Low).map(|(_, path)| path.clone())
}
