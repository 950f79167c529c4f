//! A cluster without processes: the store, the controllers, a kubelet that is a plain function
//! of ticks, and time that only moves when told to.

use std::collections::HashMap;
use std::sync::Arc;

use embedded_cluster::controllers::{Controllers, DeleteOptions, Deleted, delete_at};
use embedded_cluster::kinds::{DEPLOYMENT, EVENT, Kind, NAMESPACE, NODE, POD, REPLICA_SET};
use embedded_cluster::object::{self, Key, format_timestamp};
use embedded_cluster::shape;
use embedded_cluster::store::{Change, Store, Verb};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) const NAMESPACE_NAME: &str = "n";
/// How many seconds a world may take to come to rest.
const TICKS_MAX: usize = 120;

/// How long pods take, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) now: Timestamp,
    pub(crate) pace: Pace,
    controllers: Controllers,
    /// Seconds since a pod got its node, or since its deletion began.
    ages: HashMap<(String, bool), u32>,
    next_address: u32,
    recorded_from: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let store = Store::new();
        store.create(&NODE, json!({"metadata": {"name": "node"}})).unwrap();
        store
            .create(&NAMESPACE, json!({"metadata": {"name": NAMESPACE_NAME}, "spec": {"finalizers": ["kubernetes"]}}))
            .unwrap();
        let controllers = Controllers::new(store.clone(), seed);
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let pace = Pace { start: 1, end: 2 };
        let mut world = Self { store, now, pace, controllers, ages: HashMap::new(), next_address: 1, recorded_from: 0 };
        world.step();
        world.recorded_from = world.store.version();
        world
    }

    pub(crate) fn step(&mut self) {
        let due = self.controllers.step(self.now);
        assert!(due > self.now, "the controllers did not come to rest: {:?}", self.last_changes(20));
    }

    fn last_changes(&self, count: usize) -> Vec<String> {
        let changes = self.store.changes_since(self.store.version().saturating_sub(count as u64)).unwrap();
        changes.iter().map(|change| format!("{:?} {} {}", change.verb, change.kind.kind, change.object)).collect()
    }

    /// One second: the kubelet does what is due, one pod after the other, with the controllers in between.
    pub(crate) fn tick(&mut self) {
        self.now += SignedDuration::from_secs(1);
        self.step();
        let (pods, _) = self.store.list(&POD, None);
        for pod in pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()) {
            let ending = object::is_terminating(pod);
            let age = self.ages.entry((object::uid(pod).to_owned(), ending)).or_default();
            *age += 1;
            let age = *age;
            self.keep(pod, ending, age);
            self.step();
        }
    }

    pub(crate) fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// Ticks until nothing changes any more.
    pub(crate) fn settle(&mut self) {
        self.step();
        let mut quiet = 0;
        for _ in 0..TICKS_MAX {
            let before = self.store.version();
            self.tick();
            quiet = if self.store.version() == before { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
        }
        panic!("no rest after {TICKS_MAX} seconds; last: {:?}", self.last_changes(5));
    }

    fn keep(&mut self, pod: &Arc<Value>, ending: bool, age: u32) {
        let key = Key::of(&POD, pod);
        let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let broken = pod["spec"]["containers"].to_string().contains("none");
        if ending && age >= self.pace.end {
            if finished {
                let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
                delete_at(&self.store, &key, &options, self.now).unwrap();
            } else {
                self.set_phase(&key, "Succeeded", false);
            }
        } else if !ending && pod["status"]["phase"] == "Pending" && age >= self.pace.start && !broken {
            self.set_phase(&key, "Running", true);
        }
    }

    /// Writes a pod's status as a kubelet would.
    pub(crate) fn set_phase(&mut self, key: &Key, phase: &str, ready: bool) {
        let now = format_timestamp(self.now);
        let address = format!("10.0.0.{}", self.next_address);
        self.next_address += 1;
        self.store
            .update(key, |pod| {
                pod["status"]["phase"] = phase.into();
                if !pod["status"]["podIP"].is_string() {
                    pod["status"]["podIP"] = address.into();
                }
                let before = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let mut conditions: Vec<Value> =
                    before.iter().filter(|condition| condition["type"] != "Ready").cloned().collect();
                let word = if ready { "True" } else { "False" };
                let since = before.iter().find(|one| one["type"] == "Ready" && one["status"] == word);
                let since = since.map_or_else(|| now.into(), |one| one["lastTransitionTime"].clone());
                conditions.push(json!({"type": "Ready", "status": word, "lastTransitionTime": since}));
                pod["status"]["conditions"] = conditions.into();
                Ok(())
            })
            .unwrap();
    }

    /// A write by a client: the generation counts as the API server counts it.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        self.store
            .update(key, |object| {
                let before = object.clone();
                change(object);
                let annotated =
                    key.kind == &DEPLOYMENT && before["metadata"]["annotations"] != object["metadata"]["annotations"];
                if key.kind.has_generation && (before["spec"] != object["spec"] || annotated) {
                    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
                    object["metadata"]["generation"] = (generation + 1).into();
                }
                Ok(())
            })
            .unwrap();
        embedded_cluster::controllers::finish_deletion(&self.store, key);
    }

    pub(crate) fn create(&mut self, kind: &'static Kind, mut object: Value) -> Key {
        object["metadata"]["creationTimestamp"] = format_timestamp(self.now).into();
        if kind.namespaced {
            object["metadata"]["namespace"] = NAMESPACE_NAME.into();
        }
        shape::fill_defaults(kind, &mut object);
        let created = self.store.create(kind, object).unwrap();
        Key::of(kind, &created)
    }

    pub(crate) fn delete(&mut self, key: &Key, options: &DeleteOptions) -> Deleted {
        delete_at(&self.store, key, options, self.now).unwrap()
    }

    pub(crate) fn get(&self, key: &Key) -> Value {
        self.store.get(key).map_or(Value::Null, |object| Value::clone(&object))
    }

    pub(crate) fn list(&self, kind: &'static Kind) -> Vec<Arc<Value>> {
        self.store.list(kind, None).0
    }

    pub(crate) fn names(&self, kind: &'static Kind) -> Vec<String> {
        self.list(kind).iter().map(|object| object::name(object).to_owned()).collect()
    }

    /// Forgets what happened so far.
    pub(crate) fn record_from_here(&mut self) {
        self.recorded_from = self.store.version();
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        self.store.changes_since(self.recorded_from).unwrap()
    }

    pub(crate) fn changes_of(&self, kind: &'static Kind) -> Vec<Change> {
        self.changes().into_iter().filter(|change| change.kind == kind).collect()
    }

    /// Messages of a component's events, in order; repeats with their count.
    pub(crate) fn events(&self, component: &str) -> Vec<String> {
        let letters = self.letters();
        let from_component = |change: &&Change| {
            change.kind == &EVENT && change.object["source"]["component"] == component && change.verb != Verb::Deleted
        };
        let line = |change: &Change| {
            let message = change.object["message"].as_str().unwrap();
            let count = change.object["count"].as_i64().unwrap();
            let message = letters.iter().fold(message.to_owned(), |text, (name, letter)| text.replace(name, letter));
            let message = message.replace("Scaled ", "").replace("replica set ", "");
            if count == 1 { message } else { format!("{message} x{count}") }
        };
        self.changes().iter().filter(from_component).map(line).collect()
    }

    /// ReplicaSets' names, each with a letter in order of their first change.
    pub(crate) fn letters(&self) -> Vec<(String, String)> {
        let mut letters: Vec<(String, String)> = Vec::new();
        for change in self.changes_of(&REPLICA_SET) {
            let name = object::name(&change.object);
            if !letters.iter().any(|(known, _)| known == name) {
                let letter = char::from(b'A' + u8::try_from(letters.len()).unwrap());
                letters.push((name.to_owned(), letter.to_string()));
            }
        }
        letters
    }

    /// Each ReplicaSet's wanted sizes in order, `A 3 2 1 0 gone`.
    pub(crate) fn sizes(&self) -> Vec<String> {
        let changes = self.changes_of(&REPLICA_SET);
        let line = |(name, letter): &(String, String)| {
            let own = changes.iter().filter(|change| object::name(&change.object) == name);
            let mut sizes: Vec<String> = own
                .map(|change| match change.verb {
                    Verb::Deleted => "gone".to_owned(),
                    _ => change.object["spec"]["replicas"].to_string(),
                })
                .collect();
            sizes.dedup();
            format!("{letter} {}", sizes.join(" "))
        };
        self.letters().iter().map(line).collect()
    }

    /// The reasons of `Progressing` and the status of `Available`, in order, `ReplicaSetUpdated True`.
    pub(crate) fn progress(&self) -> Vec<String> {
        let line = |change: &Change| {
            let condition = |kind: &str, field: &str| {
                let conditions = change.object["status"]["conditions"].as_array()?.iter();
                conditions.into_iter().find(|one| one["type"] == kind)?[field].as_str().map(str::to_owned)
            };
            let reason = condition("Progressing", "reason").unwrap_or_default();
            let available = condition("Available", "status").unwrap_or_default();
            format!("{reason} {available}").trim().to_owned()
        };
        let changes = self.changes_of(&DEPLOYMENT);
        let mut lines: Vec<String> = changes.iter().filter(|change| change.verb != Verb::Deleted).map(line).collect();
        lines.dedup();
        lines
    }
}

/// A template with this image.
pub(crate) fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}], "terminationGracePeriodSeconds": 30},
    })
}

/// A Deployment `web` as the API server stores it.
pub(crate) fn deployment(replicas: i64, surge: impl Into<Value>, unavailable: impl Into<Value>) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1"),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge.into(), "maxUnavailable": unavailable.into()},
            },
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        },
        "status": {},
    })
}

pub(crate) fn web() -> Key {
    Key::new(&DEPLOYMENT, NAMESPACE_NAME, "web")
}
