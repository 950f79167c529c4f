//! Watches pods and gives each a worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::worker::Worker;
use super::{Node, volumes};
use crate::kinds;
use crate::object;
use crate::store::{Change, Verb};

/// Runs the pods of this node until cancelled; then everything that runs is killed.
pub(super) async fn run(node: Node, cancel: CancellationToken) {
    let mut agent = Agent { node, workers: BTreeMap::new(), tasks: JoinSet::new() };
    let mut seen = agent.list();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = agent.node.shared.store.changed_after(seen) => {}
            Some(_) = agent.tasks.join_next() => { agent.forget_finished(); continue; }
        }
        match agent.node.shared.store.changes_since(seen) {
            Ok(changes) => {
                for change in changes {
                    seen = change.version;
                    agent.take(&change);
                }
            }
            Err(_) => seen = agent.list(),
        }
    }
    agent.tasks.shutdown().await;
}

struct Agent {
    node: Node,
    /// Where each worker gets its pod from, by uid.
    workers: BTreeMap<String, watch::Sender<Option<Arc<Value>>>>,
    tasks: JoinSet<()>,
}

impl Agent {
    /// Looks at everything; returns the version it is of.
    fn list(&mut self) -> u64 {
        let (pods, version) = self.node.shared.store.list(&kinds::POD, None);
        for (uid, worker) in &self.workers {
            if !pods.iter().any(|pod| object::uid(pod) == uid) {
                worker.send_replace(None);
            }
        }
        for pod in &pods {
            self.see(pod);
        }
        version
    }

    fn take(&mut self, change: &Change) {
        let kind = change.kind;
        if *kind == kinds::POD {
            match change.verb {
                Verb::Added | Verb::Modified => self.see(&change.object),
                Verb::Deleted => {
                    if let Some(worker) = self.workers.get(object::uid(&change.object)) {
                        worker.send_replace(None);
                    }
                }
            }
        } else if [&kinds::CONFIG_MAP, &kinds::SECRET].contains(&kind) {
            self.node.shared.configs.send_modify(|count| *count += 1);
        } else if *kind == kinds::CLAIM && change.verb == Verb::Deleted {
            volumes::remove_claim(&self.node.shared.settings.dir.join("volumes"), &change.object);
        }
    }

    fn see(&mut self, pod: &Arc<Value>) {
        if pod["spec"]["nodeName"] != self.node.shared.settings.name.as_str() {
            return;
        }
        let uid = object::uid(pod);
        if let Some(worker) = self.workers.get(uid) {
            worker.send_replace(Some(Arc::clone(pod)));
            return;
        }
        // A pod that ended before has no worker, and needs none.
        if ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default()) {
            return;
        }
        let (sender, receiver) = watch::channel(Some(Arc::clone(pod)));
        self.workers.insert(uid.to_owned(), sender);
        self.tasks.spawn(Worker::new(self.node.clone(), Arc::clone(pod), receiver).run());
    }

    fn forget_finished(&mut self) {
        self.workers.retain(|_, worker| worker.receiver_count() > 0);
    }
}
