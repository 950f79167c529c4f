//! Which pods there are, and whether the workload is complete.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::PodFacts;
use crate::scenario::plan::WorkloadRef;

/// The pods as the last event showed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pods {
    workload: WorkloadRef,
    table: BTreeMap<String, PodFacts>,
    /// A uid never comes back: what a late listing says of it is old.
    gone: BTreeSet<String>,
    /// uids of pods that have been ready at some time.
    been_ready: BTreeSet<String>,
    /// Ready pods of the workload in the evidence.
    expected: Option<usize>,
}

impl Pods {
    pub(super) fn new(workload: WorkloadRef) -> Self {
        Self { workload, table: BTreeMap::new(), gone: BTreeSet::new(), been_ready: BTreeSet::new(), expected: None }
    }

    /// Takes in a full listing, and remembers how many ready pods the workload had.
    pub(super) fn evidence(&mut self, pods: &[PodFacts]) {
        self.table.clear();
        for pod in pods {
            self.seen(pod);
        }
        self.expected = Some(self.ready());
    }

    pub(super) fn seen(&mut self, pod: &PodFacts) {
        if pod.ready {
            self.been_ready.insert(pod.uid.clone());
        }
        if !self.gone.contains(&pod.uid) {
            self.table.insert(pod.uid.clone(), pod.clone());
        }
    }

    pub(super) fn gone(&mut self, uid: &str) {
        self.table.remove(uid);
        self.gone.insert(uid.to_owned());
    }

    /// Whether the pod has been ready at some time: before that it serves nobody.
    pub(super) fn has_been_ready(&self, uid: &str) -> bool {
        self.been_ready.contains(uid)
    }

    /// Every pod of the namespace that is there, by uid.
    pub(super) fn table(&self) -> &BTreeMap<String, PodFacts> {
        &self.table
    }

    /// uids of the workload's pods that are meant to stay.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.table.values().filter(|pod| self.is_member(pod)).map(|pod| pod.uid.as_str())
    }

    fn is_member(&self, pod: &PodFacts) -> bool {
        // An evicted pod stays as `Failed` and asks for nothing.
        pod.workload.as_ref() == Some(&self.workload)
            && !pod.terminating
            && !matches!(pod.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Ready pods of the workload that are meant to stay.
    pub(super) fn ready(&self) -> usize {
        self.table.values().filter(|pod| self.is_member(pod) && pod.ready).count()
    }

    pub(super) fn expected(&self) -> Option<usize> {
        self.expected
    }

    /// At least as many ready pods as the evidence has: a pod more breaks no promise.
    pub(super) fn is_complete(&self) -> bool {
        self.ready() >= self.expected.unwrap_or(1).max(1)
    }

    /// Exactly the pods of the evidence's number, all ready: nothing is on the move.
    pub(super) fn is_calm(&self) -> bool {
        let ready = self.ready();
        ready >= 1 && ready == self.expected.unwrap_or(ready) && ready == self.members().count()
    }
}
