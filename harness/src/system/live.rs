//! The live system: a Kubernetes API.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Observation, Observations, Rate, System, SystemError};
use crate::clock::RunClock;
use crate::cluster::{Cluster, pods};
use crate::event::{PodFacts, What};
use crate::fault::{Fault, Receipt};
use crate::heal::receipts;
use crate::load::generator::Generator;
use crate::runbook::command::Command;
use crate::sample::door::Door;
use crate::sample::sampler::Sampler;
use crate::sample::{Check, Pods};
use crate::scenario::plan::Plan;

mod remedy;

/// A cluster that is looked at, broken and put right for one run.
#[derive(Clone)]
pub struct Live {
    cluster: Cluster,
    clock: RunClock,
    run: String,
    seed: u64,
}

impl Live {
    /// The system on this cluster; `run` labels what is left there, `seed` is of schedules.
    #[must_use]
    pub fn new(cluster: Cluster, clock: RunClock, run: String, seed: u64) -> Self {
        Self { cluster, clock, run, seed }
    }

    fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Follows the pods until cancelled. What the API server does not say meanwhile is weather.
    async fn follow_pods(&self, pods: watch::Sender<Pods>, into: Observations) -> Result<(), SystemError> {
        let mut known = Known::default();
        let events = watcher(self.pod_api(), watcher::Config::default()).default_backoff();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let seen = match event {
                Ok(event) => known.take(event),
                Err(error) => vec![What::Note { text: format!("watch of pods: {error}") }],
            };
            pods.send_replace(known.pods());
            for what in seen {
                if into.send(Observation::Record(what)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Err(SystemError { message: "watch pods: the watch ended".to_owned(), transient: true })
    }
}

impl System for Live {
    async fn pods(&self) -> Result<Vec<PodFacts>, SystemError> {
        let found = self.pod_api().list(&ListParams::default()).await;
        let found = found.map_err(|error| SystemError::from_api("list pods", &error))?;
        Ok(found.items.iter().map(pods::facts).collect())
    }

    async fn observe(
        &self,
        plan: &Plan,
        rate: watch::Receiver<Rate>,
        into: Observations,
        cancel: CancellationToken,
    ) -> Result<(), SystemError> {
        let unreachable = |message: String| SystemError { message, transient: false };
        let address = self.cluster.service_address(&plan.service).await;
        let address = address.map_err(|error| unreachable(error.to_string()))?;
        let first = System::pods(self).await?;
        let (known, pods) = watch::channel::<Pods>(first.into());
        let sampler = Sampler {
            plan: Arc::new(plan.clone()),
            clock: self.clock,
            seed: self.seed,
            service: Door::direct(address),
            api: Some(Door::api(&self.cluster.api).map_err(unreachable)?),
            namespace: self.cluster.namespace.clone(),
            rate: rate.clone(),
            pods,
            into: into.clone(),
            cancel: cancel.clone(),
        };
        let generator = Generator {
            plan: plan.load.clone(),
            light_path: cheapest_path(plan),
            clock: self.clock,
            door: Door::direct(address),
            rate,
            into: into.clone(),
            cancel: cancel.clone(),
        };
        let sampling = on_own_thread("sampler", move || sampler.run());
        let loading = on_own_thread("load", move || generator.run());
        let following = async {
            tokio::select! {
                followed = self.follow_pods(known, into.clone()) => followed,
                () = cancel.cancelled() => Ok(()),
            }
        };
        let (sampled, loaded, followed) = tokio::join!(sampling, loading, following);
        let text = sampled?.note();
        // Nobody takes notes any more where the engine is gone.
        let _ = into.send(Observation::Record(What::Note { text })).await;
        loaded.and(followed)
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
        remedy::carry_out(&self.cluster, command).await
    }

    async fn heal(&self, receipt: &Receipt) -> Result<Vec<String>, SystemError> {
        let undone = receipt.heal(&self.cluster).await?;
        let forgotten = receipts::forget(&self.cluster, receipt).await;
        forgotten.map_err(|error| SystemError { message: error.to_string(), transient: true })?;
        Ok(undone)
    }
}

/// A path through the Service that costs little: the first plain HTTP check's.
fn cheapest_path(plan: &Plan) -> Option<String> {
    let mut checks: Vec<_> = plan.checks.iter().collect();
    checks.sort_by_key(|check| check.cost as u8);
    checks.iter().find_map(|check| match &check.check {
        Check::Http(http) => Some(http.path.clone()),
        Check::Redis(_) | Check::Websocket(_) => None,
    })
}

/// Runs what must be punctual where nothing else can delay it: on a thread and a runtime of
/// its own.
async fn on_own_thread<T, F>(name: &'static str, work: impl FnOnce() -> F + Send + 'static) -> Result<T, SystemError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, SystemError>>,
{
    let failed = |what: String| SystemError { message: format!("start the {name}: {what}"), transient: false };
    let (finished, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.map_err(|error| error.to_string()).map(|runtime| runtime.block_on(work()));
        // Whoever waited for it is gone, and with it the record.
        let _ = finished.send(result);
    });
    thread.map_err(|error| failed(error.to_string()))?;
    match result.await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(SystemError { message: format!("the {name} crashed"), transient: false }),
    }
}

/// The pods that a watch has told of.
#[derive(Debug, Default)]
struct Known {
    pods: BTreeMap<String, PodFacts>,
    /// Names seen since a watch began anew; the others are gone when it is complete.
    again: Option<Vec<String>>,
}

impl Known {
    fn take(&mut self, event: watcher::Event<Pod>) -> Vec<What> {
        match event {
            watcher::Event::Init => {
                self.again = Some(Vec::new());
                Vec::new()
            }
            watcher::Event::InitApply(pod) => {
                let facts = pods::facts(&pod);
                if let Some(again) = &mut self.again {
                    again.push(facts.name.clone());
                }
                self.see(facts)
            }
            watcher::Event::InitDone => {
                let Some(again) = self.again.take() else { return Vec::new() };
                let gone: Vec<_> = self.pods.keys().filter(|name| !again.contains(name)).cloned().collect();
                gone.iter().filter_map(|name| self.pods.remove(name)).map(gone_pod).collect()
            }
            watcher::Event::Apply(pod) => self.see(pods::facts(&pod)),
            watcher::Event::Delete(pod) => {
                let facts = pods::facts(&pod);
                self.pods.remove(&facts.name);
                vec![gone_pod(facts)]
            }
        }
    }

    fn see(&mut self, facts: PodFacts) -> Vec<What> {
        let before = self.pods.insert(facts.name.clone(), facts.clone());
        match before {
            Some(before) if before == facts => Vec::new(),
            // Between two looks one pod went and another of its name came.
            Some(before) if before.uid != facts.uid => vec![gone_pod(before), What::PodSeen(facts)],
            Some(_) | None => vec![What::PodSeen(facts)],
        }
    }

    fn pods(&self) -> Pods {
        self.pods.values().cloned().collect()
    }
}

fn gone_pod(facts: PodFacts) -> What {
    What::PodGone { name: facts.name, uid: facts.uid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use watcher::Event;

    fn pod(name: &str, uid: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}, "status": {"phase": phase}})).unwrap()
    }

    #[test]
    fn a_watch_tells_each_change_once_and_what_is_gone_after_a_gap() {
        let mut known = Known::default();
        let mut told = |event| -> Vec<String> {
            let words = |what: What| match what {
                What::PodSeen(facts) => format!("{} {} {}", facts.name, facts.uid, facts.phase),
                What::PodGone { name, uid } => format!("{name} {uid} gone"),
                other => panic!("{other:?}"),
            };
            known.take(event).into_iter().map(words).collect()
        };
        assert_eq!(told(Event::Init), [] as [&str; 0]);
        assert_eq!(told(Event::InitApply(pod("a", "1", "Running"))), ["a 1 Running"]);
        assert_eq!(told(Event::InitApply(pod("b", "2", "Running"))), ["b 2 Running"]);
        assert_eq!(told(Event::InitDone), [] as [&str; 0]);
        assert_eq!(told(Event::Apply(pod("a", "1", "Running"))), [] as [&str; 0], "nothing that we record changed");
        assert_eq!(told(Event::Apply(pod("a", "1", "Failed"))), ["a 1 Failed"]);
        assert_eq!(told(Event::Delete(pod("a", "1", "Failed"))), ["a 1 gone"]);
        assert_eq!(told(Event::Init), [] as [&str; 0]);
        assert_eq!(told(Event::InitApply(pod("c", "3", "Pending"))), ["c 3 Pending"]);
        assert_eq!(told(Event::InitDone), ["b 2 gone"], "it went while nobody watched");
        assert_eq!(told(Event::Apply(pod("c", "4", "Running"))), ["c 3 gone", "c 4 Running"]);
    }
}
