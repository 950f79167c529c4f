//! Deployments: which ReplicaSets there are, and how many replicas each should have.
//!
//! A look decides one step at a time, as Kubernetes' controller does, and its own changes make
//! it look again: adoption, then pause and resume, then the new ReplicaSet and its revision,
//! then one change of sizes together with the status.

pub(crate) mod rollout;
pub(crate) mod status;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::rollout::{Limits, Part, Size};
use self::status::{progress_reason, progressing, set_condition};
use super::action::{Action, Note};
use super::{adopt, facts};
use crate::kinds::{DEPLOYMENT, POD, REPLICA_SET};
use crate::object::{self, Key};
use crate::store::Store;

const COMPONENT: &str = "deployment-controller";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not take over.
const NOT_COPIED: [&str; 5] =
    [REVISION, REVISION_HISTORY, DESIRED, MOST, "kubectl.kubernetes.io/last-applied-configuration"];

/// What a look at a Deployment sees.
pub(crate) struct View {
    /// The Deployment.
    pub(crate) deployment: Arc<Value>,
    /// Every ReplicaSet of its namespace.
    pub(crate) replica_sets: Vec<Arc<Value>>,
    /// Every pod of its namespace.
    pub(crate) pods: Vec<Arc<Value>>,
}

/// Reads the view; `None` where the Deployment is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let (replica_sets, _) = store.list(&REPLICA_SET, Some(&key.namespace));
    let (pods, _) = store.list(&POD, Some(&key.namespace));
    Some(View { deployment: store.get(key)?, replica_sets, pods })
}

/// A Deployment with its ReplicaSets told apart.
struct Rollout<'a> {
    deployment: &'a Arc<Value>,
    limits: Limits,
    /// The ReplicaSet with the Deployment's template.
    new: Option<Arc<Value>>,
    /// The others, oldest first.
    old: Vec<Arc<Value>>,
    now: Timestamp,
}

/// The next step of a Deployment.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    let deployment = &view.deployment;
    let family = adopt::family(&DEPLOYMENT, deployment, &REPLICA_SET, &view.replica_sets, |_| true);
    if !family.actions.is_empty() {
        return family.actions;
    }
    let rollout = Rollout::new(deployment, family.children, now);
    if object::is_terminating(deployment) {
        return rollout.write_status(status::counted);
    }
    if let Some(condition) = pause_condition(deployment) {
        let mut changed = Value::clone(deployment);
        set_condition(&mut changed["status"], condition, now);
        return vec![replace_deployment(changed)];
    }
    let stage = rollout.sync_revision();
    if !stage.is_empty() {
        return stage;
    }
    if deployment["spec"]["paused"] == true || rollout.was_scaled() {
        return rollout.scale();
    }
    if rollout::is_rolling(deployment) { rollout.roll(view) } else { rollout.recreate(view) }
}

fn pause_condition(deployment: &Value) -> Option<status::Condition> {
    let reason = progress_reason(deployment);
    if status::deadline_seconds(deployment).is_none() || reason == Some("ProgressDeadlineExceeded") {
        return None;
    }
    let was_paused = reason == Some("DeploymentPaused");
    match deployment["spec"]["paused"] == true {
        true if !was_paused => Some(progressing("Unknown", "DeploymentPaused", "Deployment is paused")),
        false if was_paused => Some(progressing("Unknown", "DeploymentResumed", "Deployment is resumed")),
        _ => None,
    }
}

fn replace_deployment(object: Value) -> Action {
    Action::Replace { kind: &DEPLOYMENT, object, done: None }
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a Arc<Value>, mut sets: Vec<Arc<Value>>, now: Timestamp) -> Self {
        sets.sort_by(|a, b| age_key(a).cmp(&age_key(b)));
        let template = facts::bare_template(&deployment["spec"]["template"]);
        let hash = facts::template_hash(&template, facts::int(&deployment["status"]["collisionCount"]));
        // By its hash as well: a copy may have got defaults that the original lacks.
        let is_new = |set: &Arc<Value>| {
            facts::labels(set)[facts::TEMPLATE_HASH] == hash.as_str()
                || facts::bare_template(&set["spec"]["template"]) == template
        };
        let new = sets.iter().position(is_new).map(|index| sets.remove(index));
        Self { deployment, limits: Limits::of(deployment), new, old: sets, now }
    }

    fn total(&self) -> i64 {
        self.old.iter().chain(&self.new).map(|set| facts::replicas(set)).sum()
    }

    fn active(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new).filter(|set| facts::replicas(set) > 0)
    }

    fn next_revision(&self) -> i64 {
        1 + self.old.iter().map(|set| revision(set)).max().unwrap_or(0)
    }

    /// Keeps annotations, `minReadySeconds` and revision numbers in step with an existing new ReplicaSet.
    fn sync_revision(&self) -> Vec<Action> {
        let Some(new) = &self.new else { return Vec::new() };
        let mut set = Value::clone(new);
        set_revision(&mut set, self.next_revision());
        copy_annotations(self.deployment, &mut set);
        copy_min_ready(self.deployment, &mut set);
        if set != **new {
            return vec![Action::Replace { kind: &REPLICA_SET, object: set, done: None }];
        }
        let mut deployment = Value::clone(self.deployment);
        deployment["metadata"]["annotations"][REVISION] = new["metadata"]["annotations"][REVISION].clone();
        if progress_reason(&deployment).is_none() && status::deadline_seconds(&deployment).is_some() {
            let message = format!("Found new replica set \"{}\"", object::name(new));
            set_condition(&mut deployment["status"], progressing("True", "FoundNewReplicaSet", message), self.now);
        }
        if deployment == **self.deployment { Vec::new() } else { vec![replace_deployment(deployment)] }
    }

    /// Whether an active ReplicaSet was sized for another number of replicas.
    fn was_scaled(&self) -> bool {
        let desired = self.limits.desired.to_string();
        self.active()
            .filter_map(|set| set["metadata"]["annotations"][DESIRED].as_str())
            .any(|sized_for| sized_for != desired)
    }

    fn scale(&self) -> Vec<Action> {
        let mut actions: Vec<Action> =
            self.scaled_sizes().into_iter().flat_map(|(set, size)| self.resize(&set, size)).collect();
        if self.deployment["spec"]["paused"] == true {
            actions.extend(self.clean_up());
        }
        actions.extend(self.write_status(status::counted));
        actions
    }

    /// The sizes after `spec.replicas` changed.
    fn scaled_sizes(&self) -> Vec<(Arc<Value>, i64)> {
        let mut active: Vec<Arc<Value>> = self.active().cloned().collect();
        if active.len() <= 1 {
            let only = active.pop().or_else(|| self.new.clone()).or_else(|| self.old.last().cloned());
            return only.into_iter().map(|set| (set, self.limits.desired)).collect();
        }
        let no_old_wanted = !rollout::is_rolling(self.deployment);
        if no_old_wanted || self.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            let old = self.old.iter().filter(|set| facts::replicas(set) > 0);
            return old.map(|set| (Arc::clone(set), 0)).collect();
        }
        active.sort_by(|a, b| age_key(a).cmp(&age_key(b)));
        if self.limits.most() > self.total() {
            active.reverse();
        }
        // A stable sort: among equals the order by age stays.
        active.sort_by_key(|set| -facts::replicas(set));
        let parts: Vec<Part> = active.iter().map(|set| self.part(set)).collect();
        let sizes = rollout::proportional_sizes(self.limits, &parts);
        active.into_iter().zip(sizes).collect()
    }

    fn part(&self, set: &Value) -> Part {
        let annotated = set["metadata"]["annotations"][MOST].as_str().and_then(|most| most.parse().ok());
        let before = annotated.filter(|most| *most != 0);
        let most_before = before.unwrap_or_else(|| facts::int(&self.deployment["status"]["replicas"]));
        Part { size: facts::replicas(set), most_before }
    }

    fn is_saturated(&self, new: &Value) -> bool {
        let desired = self.limits.desired;
        facts::replicas(new) == desired
            && new["metadata"]["annotations"][DESIRED].as_str() == Some(&desired.to_string())
            && facts::int(&new["status"]["availableReplicas"]) == desired
    }

    fn roll(&self, view: &View) -> Vec<Action> {
        let Some(new) = &self.new else { return self.create(view) };
        let size = rollout::next_new_size(self.limits, true, facts::replicas(new), self.total());
        let mut actions = Vec::new();
        if size != facts::replicas(new) {
            actions.extend(self.resize(new, size));
        } else {
            let sizes: Vec<Size> = self.old.iter().map(size_of).collect();
            let next = rollout::next_old_sizes(self.limits, size_of(new), &sizes);
            let changed = self.old.iter().zip(next).filter(|(set, size)| facts::replicas(set) != *size);
            actions.extend(changed.flat_map(|(set, size)| self.resize(set, size)));
        }
        self.finish(actions)
    }

    fn recreate(&self, view: &View) -> Vec<Action> {
        let shrinking: Vec<Action> =
            self.old.iter().filter(|set| facts::replicas(set) > 0).flat_map(|set| self.resize(set, 0)).collect();
        if !shrinking.is_empty() || self.old_pods_run(&view.pods) {
            let mut actions = shrinking;
            actions.extend(self.write_status(status::rolled_out));
            return actions;
        }
        let Some(new) = &self.new else { return self.create(view) };
        self.finish(self.resize(new, self.limits.desired))
    }

    fn old_pods_run(&self, pods: &[Arc<Value>]) -> bool {
        let runs = |set: &Arc<Value>| {
            facts::int(&set["status"]["replicas"]) > 0
                || pods.iter().any(|pod| facts::is_controlled_by(pod, set) && !facts::is_finished(pod))
        };
        self.old.iter().any(runs)
    }

    /// Closes a look at a rollout: history where nothing moved and all is complete, then the status.
    fn finish(&self, mut actions: Vec<Action>) -> Vec<Action> {
        if actions.is_empty() && status::is_complete(self.deployment, &self.deployment["status"]) {
            actions = self.clean_up();
        }
        actions.extend(self.write_status(status::rolled_out));
        actions
    }

    /// Deletes the ReplicaSets of revisions beyond the limit, oldest first.
    fn clean_up(&self) -> Vec<Action> {
        let Some(limit) = self.deployment["spec"]["revisionHistoryLimit"].as_u64() else { return Vec::new() };
        let mut history: Vec<&Arc<Value>> = self.old.iter().filter(|set| !object::is_terminating(set)).collect();
        let surplus = history.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        history.sort_by_key(|set| revision(set));
        let at_rest = |set: &&&Arc<Value>| {
            facts::replicas(set) == 0
                && facts::int(&set["status"]["replicas"]) == 0
                && facts::int(&set["metadata"]["generation"]) <= facts::int(&set["status"]["observedGeneration"])
        };
        history[..surplus].iter().filter(at_rest).map(|set| Action::delete(&REPLICA_SET, set)).collect()
    }

    fn create(&self, view: &View) -> Vec<Action> {
        let (mut set, collisions) = self.new_replica_set(view);
        let size = rollout::next_new_size(self.limits, rollout::is_rolling(self.deployment), 0, self.total());
        set["spec"]["replicas"] = size.into();
        let next = self.next_revision();
        set_revision(&mut set, next);
        copy_annotations(self.deployment, &mut set);
        self.annotate_size(&mut set);
        let name = object::name(&set).to_owned();
        let scaled = format!("Scaled up replica set {name} from 0 to {size}");
        let done = (size > 0).then(|| self.note(scaled));
        let mut deployment = Value::clone(self.deployment);
        deployment["metadata"]["annotations"][REVISION] = next.to_string().into();
        if collisions > 0 {
            deployment["status"]["collisionCount"] = collisions.into();
        }
        // A resumed rollout keeps saying so until it gets on (50-deployments/509).
        if status::deadline_seconds(&deployment).is_some() && progress_reason(&deployment) != Some("DeploymentResumed")
        {
            let message = format!("Created new replica set \"{name}\"");
            set_condition(&mut deployment["status"], progressing("True", "NewReplicaSetCreated", message), self.now);
        }
        vec![Action::Create { kind: &REPLICA_SET, object: set, done, failed: None }, replace_deployment(deployment)]
    }

    /// The new ReplicaSet, and how many names were taken by others.
    fn new_replica_set(&self, view: &View) -> (Value, i64) {
        let template = &self.deployment["spec"]["template"];
        let mut collisions = facts::int(&self.deployment["status"]["collisionCount"]);
        let named = |collisions| {
            let hash = facts::template_hash(template, collisions);
            (format!("{}-{hash}", object::name(self.deployment)), hash)
        };
        let (mut name, mut hash) = named(collisions);
        while view.replica_sets.iter().any(|set| object::name(set) == name) {
            collisions += 1;
            (name, hash) = named(collisions);
        }
        let mut template = template.clone();
        template["metadata"]["labels"][facts::TEMPLATE_HASH] = hash.clone().into();
        let mut selector = self.deployment["spec"]["selector"].clone();
        selector["matchLabels"][facts::TEMPLATE_HASH] = hash.into();
        let mut set = json!({
            "metadata": {
                "name": name, "namespace": object::namespace(self.deployment),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [facts::controller_reference(&DEPLOYMENT, self.deployment)],
            },
            "spec": {"selector": selector, "template": template},
        });
        copy_min_ready(self.deployment, &mut set);
        (set, collisions)
    }

    fn annotate_size(&self, set: &mut Value) {
        set["metadata"]["annotations"][DESIRED] = self.limits.desired.to_string().into();
        set["metadata"]["annotations"][MOST] = self.limits.most().to_string().into();
    }

    /// Gives a ReplicaSet its size and remembers what it was sized for; nothing where both stand already.
    fn resize(&self, set: &Arc<Value>, size: i64) -> Vec<Action> {
        let before = facts::replicas(set);
        let mut resized = Value::clone(set);
        self.annotate_size(&mut resized);
        resized["spec"]["replicas"] = size.into();
        if resized == **set {
            return Vec::new();
        }
        let direction = if size > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {before} to {size}", object::name(set));
        let done = (size != before).then(|| self.note(message));
        vec![Action::Replace { kind: &REPLICA_SET, object: resized, done }]
    }

    fn note(&self, message: String) -> Note {
        Note::normal(COMPONENT, &DEPLOYMENT, self.deployment, "ScalingReplicaSet", message)
    }

    fn write_status(
        &self,
        status: impl Fn(&Value, Option<&Arc<Value>>, &[Arc<Value>], Timestamp) -> Value,
    ) -> Vec<Action> {
        let after = status(self.deployment, self.new.as_ref(), &self.old, self.now);
        if after != self.deployment["status"] {
            let mut changed = Value::clone(self.deployment);
            changed["status"] = after;
            return vec![replace_deployment(changed)];
        }
        let deadline = status::deadline_seconds(self.deployment);
        let due = deadline.and_then(|deadline| status::progress_due(self.deployment, deadline));
        // One second later, because the times in conditions have lost their fraction.
        due.map(|due| Action::WakeAt(facts::seconds_after(due, 1))).into_iter().collect()
    }
}

fn age_key(set: &Value) -> (&str, &str) {
    (set["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), object::name(set))
}

fn size_of(set: &Arc<Value>) -> Size {
    Size { wanted: facts::replicas(set), available: facts::int(&set["status"]["availableReplicas"]) }
}

fn revision(set: &Value) -> i64 {
    set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Gives a ReplicaSet the next revision; its earlier number goes to its history.
fn set_revision(set: &mut Value, next: i64) {
    let before = revision(set);
    if before >= next {
        return;
    }
    let annotations = &mut set["metadata"]["annotations"];
    if before > 0 {
        let history = annotations[REVISION_HISTORY].as_str().filter(|history| !history.is_empty());
        annotations[REVISION_HISTORY] =
            history.map_or_else(|| before.to_string(), |history| format!("{history},{before}")).into();
    }
    annotations[REVISION] = next.to_string().into();
}

fn copy_annotations(deployment: &Value, set: &mut Value) {
    let Some(annotations) = deployment["metadata"]["annotations"].as_object() else { return };
    for (key, value) in annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
        set["metadata"]["annotations"][key] = value.clone();
    }
}

fn copy_min_ready(deployment: &Value, set: &mut Value) {
    let wanted = facts::int(&deployment["spec"]["minReadySeconds"]);
    if facts::int(&set["spec"]["minReadySeconds"]) != wanted {
        set["spec"]["minReadySeconds"] = wanted.into();
    }
}
