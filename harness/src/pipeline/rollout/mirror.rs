//! The objects of a rollout, kept up to date from watches.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// One event of one of the four watches.
#[derive(Debug)]
pub(super) enum Change {
    Deployment(Event<Deployment>),
    ReplicaSet(Event<ReplicaSet>),
    StatefulSet(Event<StatefulSet>),
    Pod(Event<Pod>),
}

/// What the watches have shown so far.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pub(super) deployments: Kept<Deployment>,
    pub(super) replica_sets: Kept<ReplicaSet>,
    pub(super) stateful_sets: Kept<StatefulSet>,
    pub(super) pods: Kept<Pod>,
}

/// The objects of one kind, by name.
#[derive(Debug)]
pub(super) struct Kept<K> {
    objects: BTreeMap<String, K>,
    /// A new listing that is not complete yet.
    incoming: BTreeMap<String, K>,
    complete: bool,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), incoming: BTreeMap::new(), complete: false }
    }
}

impl<K: ResourceExt> Kept<K> {
    pub(super) fn get(&self, name: &str) -> Option<&K> {
        self.objects.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.objects.values()
    }

    fn apply(&mut self, event: Event<K>) {
        match event {
            Event::Apply(object) => {
                self.objects.insert(object.name_any(), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&object.name_any());
            }
            Event::Init => self.incoming.clear(),
            Event::InitApply(object) => {
                self.incoming.insert(object.name_any(), object);
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.incoming);
                self.complete = true;
            }
        }
    }
}

impl Mirror {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Deployment(event) => self.deployments.apply(event),
            Change::ReplicaSet(event) => self.replica_sets.apply(event),
            Change::StatefulSet(event) => self.stateful_sets.apply(event),
            Change::Pod(event) => self.pods.apply(event),
        }
    }

    /// Whether every watch has shown everything once. Before that, what is absent may exist.
    pub(super) fn is_complete(&self) -> bool {
        self.deployments.complete && self.replica_sets.complete && self.stateful_sets.complete && self.pods.complete
    }
}

/// Restart counts from before the rollout: restarts of other days are not its fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Baseline {
    restarts: BTreeMap<String, u32>,
}

impl Baseline {
    /// Remembers the restart counts of these pods.
    pub(crate) fn of(pods: &[Pod]) -> Self {
        let restarts = pods.iter().map(|pod| (pod.uid().unwrap_or_default(), restarts(pod)));
        Self { restarts: restarts.collect() }
    }

    /// Restarts since then.
    pub(super) fn since(&self, pod: &Pod) -> u32 {
        let before = pod.uid().and_then(|uid| self.restarts.get(&uid).copied()).unwrap_or(0);
        restarts(pod).saturating_sub(before)
    }
}

fn restarts(pod: &Pod) -> u32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    containers.iter().map(|container| u32::try_from(container.restart_count).unwrap_or(0)).sum()
}
