//! The loop's inside: which controllers must look again after a change, and in which order they do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::action::{self, Action};
use super::{budget, claims, deployment, endpoints, facts, garbage, namespace, replica_set, schedule, stateful_set};
use crate::events;
use crate::kinds::{
    self, CLAIM, CONTROLLER_REVISION, DEPLOYMENT, DISRUPTION_BUDGET, ENDPOINT_SLICE, ENDPOINTS, EVENT, Kind, NAMESPACE,
    NODE, POD, REPLICA_SET, SERVICE, STATEFUL_SET,
};
use crate::object::{self, Key};
use crate::store::{Change, Store, Verb};

/// How many rounds of looks one step takes before it lets others run.
const ROUNDS_MAX: usize = 200;
/// How long a controller rests after something it wanted was refused.
const REST: SignedDuration = SignedDuration::from_secs(1);
/// How often expired events are swept out.
const SWEEP: SignedDuration = SignedDuration::from_mins(1);

/// Who looks. The order is the order inside a round: counts are brought up to date before
/// anything is decided from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Controller {
    Schedule,
    Claims,
    Garbage,
    Namespace,
    ReplicaSet,
    StatefulSet,
    Deployment,
    Endpoints,
    Budget,
}

/// One look that is due: who looks, and at what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Look {
    controller: Controller,
    key: Key,
}

/// Every controller, with what each must look at next.
///
/// [`super::run`] drives it by the clock; a test drives it by times of its own.
#[derive(Debug)]
pub struct Controllers {
    store: Store,
    random: fastrand::Rng,
    /// Changes up to here have been seen.
    seen: u64,
    ready: BTreeMap<(Controller, &'static str, String, String), Look>,
    /// Looks to come back to, whatever happens.
    due: HashMap<Look, Timestamp>,
    /// Looks that something was refused to, and until when they rest.
    resting: HashMap<Look, Timestamp>,
    /// When to sweep out expired events.
    sweep_at: Option<Timestamp>,
}

impl Controllers {
    /// Controllers that have looked at nothing yet; the first step looks at everything. The
    /// seed decides generated names.
    #[must_use]
    pub fn new(store: Store, seed: u64) -> Self {
        let mut controllers = Self {
            store,
            random: fastrand::Rng::with_seed(seed),
            seen: 0,
            ready: BTreeMap::new(),
            due: HashMap::new(),
            resting: HashMap::new(),
            sweep_at: None,
        };
        controllers.look_at_everything();
        controllers
    }

    /// The resource version up to which changes have been seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Looks until nothing is left to do at this time; answers when to come back at the latest.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        if self.sweep_at.is_none_or(|due| due <= now) {
            events::expire(&self.store, now);
            self.sweep_at = Some(now + SWEEP);
        }
        for _ in 0..ROUNDS_MAX {
            self.collect(now);
            if self.ready.is_empty() {
                let due = self.due.values().copied().chain(self.sweep_at).min();
                return due.unwrap_or(now + SWEEP);
            }
            for look in std::mem::take(&mut self.ready).into_values() {
                self.look(look, now);
            }
        }
        now
    }

    fn collect(&mut self, now: Timestamp) {
        match self.store.changes_since(self.seen) {
            Ok(changes) => changes.iter().for_each(|change| self.note(change)),
            Err(_) => self.look_at_everything(),
        }
        let due: Vec<Look> = self.due.iter().filter(|(_, at)| **at <= now).map(|(look, _)| look.clone()).collect();
        for look in due {
            self.due.remove(&look);
            self.enqueue(look.controller, look.key);
        }
    }

    fn look_at_everything(&mut self) {
        self.seen = self.store.version();
        for kind in kinds::ALL {
            for object in self.store.list(kind, None).0 {
                let change = Change { version: self.seen, kind, verb: Verb::Added, object, previous: None };
                self.note(&change);
            }
        }
    }

    fn look(&mut self, look: Look, now: Timestamp) {
        if let Some(until) = self.resting.get(&look).copied().filter(|until| *until > now) {
            self.due.insert(look, until);
            return;
        }
        let applied = action::apply(&self.store, self.decide(&look, now), &mut self.random, now);
        self.due.remove(&look);
        if let Some(at) = applied.wake_at {
            self.due.insert(look.clone(), at);
        }
        self.resting.remove(&look);
        let Some(failure) = applied.failure else { return };
        if failure.reason == "Conflict" || failure.reason == "NotFound" {
            // Decided on a state that is no more: decide again on the one of now.
            self.enqueue(look.controller, look.key);
            return;
        }
        if look.controller == Controller::ReplicaSet && !action::is_namespace_terminating(&failure) {
            replica_set::creation_failed(&self.store, &look.key, &failure.message, now);
        }
        self.resting.insert(look.clone(), now + REST);
        self.due.insert(look, now + REST);
    }

    fn decide(&self, look: &Look, now: Timestamp) -> Vec<Action> {
        let (store, key) = (&self.store, &look.key);
        match look.controller {
            Controller::Schedule => schedule::view(store, key).map(|view| schedule::reconcile(&view, now)),
            Controller::Claims => store.get(key).map(|claim| claims::reconcile(&claim)),
            Controller::Garbage => garbage::view(store, key).map(|view| garbage::reconcile(&view)),
            Controller::Namespace => namespace::view(store, key).map(|view| namespace::reconcile(&view)),
            Controller::ReplicaSet => replica_set::view(store, key).map(|view| replica_set::reconcile(&view, now)),
            Controller::StatefulSet => stateful_set::view(store, key).map(|view| stateful_set::reconcile(&view, now)),
            Controller::Deployment => deployment::view(store, key).map(|view| deployment::reconcile(&view, now)),
            Controller::Endpoints => endpoints::view(store, key).map(|view| endpoints::reconcile(&view)),
            Controller::Budget => budget::view(store, key).map(|view| budget::reconcile(&view, now)),
        }
        .unwrap_or_default()
    }

    fn enqueue(&mut self, controller: Controller, key: Key) {
        let place = (controller, key.kind.plural, key.namespace.clone(), key.name.clone());
        self.ready.insert(place, Look { controller, key });
    }

    /// Puts in line everything that this change may matter to.
    fn note(&mut self, change: &Change) {
        self.seen = self.seen.max(change.version);
        let Change { kind, object, previous, .. } = change;
        let (kind, key) = (*kind, Key::of(kind, object));
        if kind != &EVENT {
            self.note_for_garbage(change, &key);
        }
        self.note_for_namespace(change, &key);
        if kind == &POD {
            self.enqueue_if(Controller::Schedule, &key, schedule::is_waiting(object));
            self.note_for_pod(object, previous.as_ref());
        } else if kind == &REPLICA_SET {
            self.enqueue(Controller::ReplicaSet, key);
            self.note_for_parents(&[(&DEPLOYMENT, Controller::Deployment)], object, previous.as_ref());
        } else if kind == &CONTROLLER_REVISION {
            self.note_for_parents(&[(&STATEFUL_SET, Controller::StatefulSet)], object, previous.as_ref());
        } else if kind == &DEPLOYMENT {
            self.enqueue(Controller::Deployment, key.clone());
            self.note_for_budgets(&key.namespace);
        } else if kind == &STATEFUL_SET {
            self.enqueue(Controller::StatefulSet, key.clone());
            self.note_for_budgets(&key.namespace);
        } else if kind == &SERVICE {
            self.enqueue(Controller::Endpoints, key);
        } else if kind == &ENDPOINTS {
            self.enqueue(Controller::Endpoints, Key::new(&SERVICE, &key.namespace, &key.name));
        } else if kind == &ENDPOINT_SLICE {
            let service = facts::labels(object)[endpoints::SERVICE_NAME].as_str().unwrap_or_default();
            self.enqueue(Controller::Endpoints, Key::new(&SERVICE, &key.namespace, service));
        } else if kind == &DISRUPTION_BUDGET {
            self.enqueue(Controller::Budget, key);
        } else if kind == &CLAIM {
            self.enqueue(Controller::Claims, key);
        } else if kind == &NODE && change.verb == Verb::Added {
            for pod in self.store.list(&POD, None).0 {
                self.enqueue_if(Controller::Schedule, &Key::of(&POD, &pod), schedule::is_waiting(&pod));
            }
        }
    }

    fn enqueue_if(&mut self, controller: Controller, key: &Key, wanted: bool) {
        if wanted {
            self.enqueue(controller, key.clone());
        }
    }

    /// A pod matters to its owners of before and now, and to everything that selects it.
    fn note_for_pod(&mut self, pod: &Arc<Value>, previous: Option<&Arc<Value>>) {
        let parents = [(&REPLICA_SET, Controller::ReplicaSet), (&STATEFUL_SET, Controller::StatefulSet)];
        self.note_for_parents(&parents, pod, previous);
        let namespace = object::namespace(pod);
        let states: Vec<&Arc<Value>> = std::iter::once(pod).chain(previous).collect();
        for service in self.store.list(&SERVICE, Some(namespace)).0 {
            let selected = states.iter().any(|pod| endpoints::selects(&service["spec"]["selector"], pod));
            self.enqueue_if(Controller::Endpoints, &Key::of(&SERVICE, &service), selected);
        }
        self.note_for_budgets(namespace);
    }

    fn note_for_budgets(&mut self, namespace: &str) {
        for budget in self.store.list(&DISRUPTION_BUDGET, Some(namespace)).0 {
            self.enqueue(Controller::Budget, Key::of(&DISRUPTION_BUDGET, &budget));
        }
    }

    /// A child matters to its controller of before and now; one without to every parent that may adopt it.
    fn note_for_parents(
        &mut self,
        parents: &[(&'static Kind, Controller)],
        child: &Arc<Value>,
        previous: Option<&Arc<Value>>,
    ) {
        for state in std::iter::once(child).chain(previous) {
            for (kind, controller) in parents {
                match object::controller_of(state) {
                    Some(owner) if owner["kind"] == kind.kind => {
                        let name = owner["name"].as_str().unwrap_or_default();
                        self.enqueue(*controller, Key::new(kind, object::namespace(child), name));
                    }
                    Some(_) => {}
                    None => {
                        for parent in self.store.list(kind, Some(object::namespace(child))).0 {
                            let matches = object::selects(&parent["spec"]["selector"], facts::labels(state));
                            self.enqueue_if(*controller, &Key::of(kind, &parent), matches);
                        }
                    }
                }
            }
        }
    }

    fn note_for_garbage(&mut self, change: &Change, key: &Key) {
        let Change { object, previous, verb, kind, .. } = change;
        let relations = |object: &Value| {
            let metadata = &object["metadata"];
            (metadata["ownerReferences"].clone(), metadata["deletionTimestamp"].clone(), metadata["finalizers"].clone())
        };
        let related = previous.as_ref().is_none_or(|previous| relations(previous) != relations(object));
        if *verb != Verb::Deleted && !related {
            return;
        }
        // Owners that wait for this one may have waited long enough.
        for state in std::iter::once(object).chain(previous) {
            for owner in facts::owners(state).iter().filter_map(|owner| garbage::owner_key(&key.namespace, owner)) {
                self.enqueue(Controller::Garbage, owner);
            }
        }
        if *verb != Verb::Deleted {
            self.enqueue_if(
                Controller::Garbage,
                key,
                !facts::owners(object).is_empty() || object::is_terminating(object),
            );
        }
        if *verb == Verb::Deleted || garbage::waits(object) {
            for (kind, dependent) in garbage::dependents(&self.store, kind, object) {
                self.enqueue(Controller::Garbage, Key::of(kind, &dependent));
            }
        }
    }

    fn note_for_namespace(&mut self, change: &Change, key: &Key) {
        if change.kind == &NAMESPACE {
            self.enqueue_if(Controller::Namespace, key, object::is_terminating(&change.object));
            return;
        }
        let namespace = Key::new(&NAMESPACE, "", &key.namespace);
        let terminating = self.store.get(&namespace).is_some_and(|namespace| object::is_terminating(&namespace));
        self.enqueue_if(Controller::Namespace, &namespace, terminating);
    }
}
