//! Events about pods and their containers.

use serde_json::Value;

use crate::events::{self, Severity};
use crate::kinds;
use crate::store::Store;

/// Who speaks in the node agent's events.
const COMPONENT: &str = "kubelet";

/// Records what happens to one pod.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    store: Store,
    pod: Value,
    container: Value,
}

impl Recorder {
    /// A recorder for this pod and its container.
    pub(super) fn new(store: &Store, pod: &Value, container: &str) -> Self {
        let mut about = pod.clone();
        about["fieldPath"] = format!("spec.containers{{{container}}}").into();
        Self { store: store.clone(), pod: pod.clone(), container: about }
    }

    /// About the pod as a whole.
    pub(super) fn pod(&self, severity: Severity, reason: &str, message: &str) {
        events::record(&self.store, COMPONENT, &kinds::POD, &self.pod, severity, reason, message);
    }

    /// About its container.
    pub(super) fn container(&self, severity: Severity, reason: &str, message: &str) {
        events::record(&self.store, COMPONENT, &kinds::POD, &self.container, severity, reason, message);
    }
}
