//! Events about pods and their containers.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::events::{self, Occurrence, Severity};
use crate::kinds;
use crate::store::Store;

/// Who speaks in the node agent's events.
const COMPONENT: &str = "kubelet";

/// Records what happens to one pod.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    store: Store,
    host: String,
    pod: Arc<Value>,
    container: String,
}

impl Recorder {
    /// A recorder for this pod and its container on this node.
    pub(super) fn new(store: &Store, host: &str, pod: &Arc<Value>, container: &str) -> Self {
        let container = format!("spec.containers{{{container}}}");
        Self { store: store.clone(), host: host.to_owned(), pod: Arc::clone(pod), container }
    }

    /// About the pod as a whole.
    pub(super) fn pod(&self, severity: Severity, reason: &str, message: &str) {
        self.record(None, severity, reason, message);
    }

    /// About its container.
    pub(super) fn container(&self, severity: Severity, reason: &str, message: &str) {
        self.record(Some(&self.container), severity, reason, message);
    }

    fn record(&self, field_path: Option<&str>, severity: Severity, reason: &str, message: &str) {
        let host = Some(self.host.as_str());
        let occurrence = Occurrence { component: COMPONENT, host, field_path, severity, reason, message };
        events::record_at(&self.store, &kinds::POD, &self.pod, &occurrence, Timestamp::now());
    }
}
