//! The pods of the namespace, listed and watched.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, pods::facts};
use crate::event::{PodFacts, What};
use crate::sample::Pods;
use crate::system::{Observation, Observations, SystemError};

/// Pause after a watch that failed: it is weather, however long it lasts.
const PAUSE: Duration = Duration::from_millis(250);
/// Notes about a watch that fails over and over, so that the record is not full of them.
const NOTES_MAX: u32 = 10;

/// Every pod, now.
pub(crate) async fn list(cluster: &Cluster) -> Result<Vec<PodFacts>, SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = api.list(&ListParams::default()).await.map_err(|error| SystemError::from_api("list pods", &error))?;
    Ok(listed.items.iter().map(facts).collect())
}

/// Watches until cancelled: changes go into the record, the table to the sampler.
pub(crate) async fn watch(
    cluster: &Cluster,
    table: &watch::Sender<Pods>,
    into: &Observations,
    cancel: &CancellationToken,
) -> Result<(), SystemError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
    let mut known = Known::default();
    let mut failures = 0;
    loop {
        let event = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        let changes = match event {
            Some(Ok(event)) => known.take_in(event),
            Some(Err(error)) => {
                failures += 1;
                let note = (failures <= NOTES_MAX).then(|| What::Note { text: format!("watching pods: {error}") });
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    () = sleep(PAUSE) => {}
                }
                note.into_iter().collect()
            }
            None => return Err(SystemError { message: "watching pods ended".to_owned(), transient: false }),
        };
        for what in changes {
            // Waiting for room is right here: a change of a pod must not be lost.
            if into.send(Observation::Record(what)).await.is_err() {
                return Ok(());
            }
        }
        let now: Pods = known.pods.values().cloned().collect();
        table.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

/// The pods as the watch showed them, by uid.
#[derive(Debug, Default)]
struct Known {
    pods: BTreeMap<String, PodFacts>,
    /// The listing that is being read, where one is.
    listing: Option<BTreeMap<String, PodFacts>>,
}

impl Known {
    /// What an event of the watch changes.
    fn take_in(&mut self, event: Event<Pod>) -> Vec<What> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(pod) => {
                let pod = facts(&pod);
                self.listing.get_or_insert_default().insert(pod.uid.clone(), pod);
                Vec::new()
            }
            // Only a whole listing says who is gone.
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let gone: Vec<PodFacts> =
                    self.pods.values().filter(|pod| !listed.contains_key(&pod.uid)).cloned().collect();
                let changes = gone.into_iter().flat_map(|pod| self.gone(pod)).collect::<Vec<_>>();
                changes.into_iter().chain(listed.into_values().filter_map(|pod| self.seen(pod))).collect()
            }
            Event::Apply(pod) => self.seen(facts(&pod)).into_iter().collect(),
            Event::Delete(pod) => self.gone(facts(&pod)).into_iter().collect(),
        }
    }

    fn seen(&mut self, pod: PodFacts) -> Option<What> {
        if self.pods.get(&pod.uid) == Some(&pod) {
            return None;
        }
        self.pods.insert(pod.uid.clone(), pod.clone());
        Some(What::PodSeen(pod))
    }

    fn gone(&mut self, pod: PodFacts) -> Option<What> {
        self.pods.remove(&pod.uid)?;
        Some(What::PodGone { name: pod.name, uid: pod.uid })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(name: &str, phase: &str) -> Pod {
        let status = serde_json::from_value(serde_json::json!({ "phase": phase })).unwrap();
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), uid: Some(format!("uid-{name}")), ..ObjectMeta::default() };
        Pod { metadata, status: Some(status), spec: None }
    }

    #[test]
    fn a_watch_tells_what_changed_and_nothing_twice() {
        let mut known = Known::default();
        let mut check = |event: Event<Pod>, expect: &[&str]| {
            let told: Vec<String> = known
                .take_in(event)
                .into_iter()
                .map(|what| match what {
                    What::PodSeen(pod) => format!("{} {}", pod.name, pod.phase),
                    What::PodGone { name, .. } => format!("{name} gone"),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(told, expect);
        };
        check(Event::Init, &[]);
        check(Event::InitApply(pod("a", "Running")), &[]);
        check(Event::InitApply(pod("b", "Running")), &[]);
        check(Event::InitDone, &["a Running", "b Running"]);
        check(Event::Apply(pod("a", "Running")), &[]);
        check(Event::Apply(pod("a", "Failed")), &["a Failed"]);
        check(Event::Delete(pod("a", "Failed")), &["a gone"]);
        check(Event::Delete(pod("a", "Failed")), &[]);
        // The watch was cut, and b left meanwhile.
        check(Event::Init, &[]);
        check(Event::InitApply(pod("c", "Pending")), &[]);
        check(Event::InitDone, &["b gone", "c Pending"]);
    }
}
