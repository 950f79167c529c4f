//! StatefulSets: pods with names of their own, in order.
//!
//! A not-ready pod stops everything behind it under `OrderedReady`, an update included: it is
//! never replaced, not even by a template that would heal it. Someone has to delete it
//! (70-statefulsets/707, as on a real cluster).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::{Action, Note};
use super::revisions::{self, Revisions, revision_of};
use super::{adopt, facts};
use crate::kinds::{CLAIM, CONTROLLER_REVISION, POD, STATEFUL_SET};
use crate::object::{self, Key};
use crate::store::Store;

const COMPONENT: &str = "statefulset-controller";

/// What a look at a StatefulSet sees.
pub(crate) struct View {
    /// The StatefulSet.
    pub(crate) set: Arc<Value>,
    /// Every pod of its namespace.
    pub(crate) pods: Vec<Arc<Value>>,
    /// Every ControllerRevision of its namespace.
    pub(crate) revisions: Vec<Arc<Value>>,
    /// Every claim of its namespace.
    pub(crate) claims: Vec<Arc<Value>>,
}

/// Reads the view; `None` where the StatefulSet is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let list = |kind| store.list(kind, Some(&key.namespace)).0;
    Some(View { set: store.get(key)?, pods: list(&POD), revisions: list(&CONTROLLER_REVISION), claims: list(&CLAIM) })
}

/// The ordinal of a StatefulSet's pod, by its name.
pub(crate) fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let digits = object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?;
    digits.parse().ok().filter(|ordinal: &i64| ordinal.to_string() == digits)
}

/// The next step of a StatefulSet: adoption, then its revisions, then its status and pods.
#[must_use]
pub(crate) fn reconcile(view: &View, now: Timestamp) -> Vec<Action> {
    let set = &view.set;
    let family = adopt::family(&STATEFUL_SET, set, &POD, &view.pods, |pod| ordinal(set, pod).is_some());
    if !family.actions.is_empty() {
        return family.actions;
    }
    let history = adopt::family(&STATEFUL_SET, set, &CONTROLLER_REVISION, &view.revisions, |_| true);
    if !history.actions.is_empty() {
        return history.actions;
    }
    match Revisions::of(set, history.children, &view.revisions) {
        Ok(revisions) => {
            let pods = family.children;
            let history = revisions.truncate(set, &pods);
            let mut actions = Look::new(view, pods, revisions, now).decide();
            actions.extend(history);
            actions
        }
        Err(_) if object::is_terminating(set) => Vec::new(),
        Err(first) => vec![*first],
    }
}

/// One look at a StatefulSet's pods.
struct Look<'a> {
    view: &'a View,
    set: &'a Arc<Value>,
    pods: Vec<Arc<Value>>,
    revisions: Revisions,
    ordered: bool,
    now: Timestamp,
}

/// What to do about pods; `lost` is the revision of a pod that was just sent away to be updated.
#[derive(Default)]
struct Decision {
    actions: Vec<Action>,
    lost: Option<String>,
}

impl<'a> Look<'a> {
    fn new(view: &'a View, pods: Vec<Arc<Value>>, revisions: Revisions, now: Timestamp) -> Self {
        let ordered = view.set["spec"]["podManagementPolicy"] != "Parallel";
        Self { view, set: &view.set, pods, revisions, ordered, now }
    }

    fn decide(&self) -> Vec<Action> {
        let decision = if object::is_terminating(self.set) { Decision::default() } else { self.about_pods() };
        let mut actions = decision.actions;
        let status = self.status(decision.lost.as_deref());
        if status != self.set["status"] {
            let mut changed = Value::clone(self.set);
            changed["status"] = status;
            actions.insert(0, Action::Replace { kind: &STATEFUL_SET, object: changed, done: None });
        }
        let not_yet = |pod: &Arc<Value>| self.available_at(pod).filter(|since| *since > self.now);
        actions.extend(self.pods.iter().filter_map(not_yet).map(Action::WakeAt));
        actions
    }

    fn start(&self) -> i64 {
        facts::int(&self.set["spec"]["ordinals"]["start"])
    }

    fn wanted(&self) -> std::ops::Range<i64> {
        self.start()..self.start() + facts::replicas(self.set)
    }

    fn pod_at(&self, ordinal: i64) -> Option<&Arc<Value>> {
        self.pods.iter().find(|pod| self::ordinal(self.set, pod) == Some(ordinal))
    }

    /// Pods beyond the wanted ordinals, highest first.
    fn condemned(&self) -> Vec<&Arc<Value>> {
        let number = |pod: &Arc<Value>| ordinal(self.set, pod).unwrap_or(-1);
        let mut condemned: Vec<_> = self.pods.iter().filter(|pod| !self.wanted().contains(&number(pod))).collect();
        condemned.sort_by_key(|pod| -number(pod));
        condemned
    }

    fn available_at(&self, pod: &Value) -> Option<Timestamp> {
        facts::available_at(pod, facts::int(&self.set["spec"]["minReadySeconds"]))
    }

    fn is_running_and_ready(&self, pod: &Value) -> bool {
        pod["status"]["phase"] == "Running" && facts::is_ready(pod)
    }

    fn is_available(&self, pod: &Value) -> bool {
        self.is_running_and_ready(pod) && self.available_at(pod).is_some_and(|since| since <= self.now)
    }

    /// Living pods first, in order; then surplus ones; then, with all that as it should be, an update.
    fn about_pods(&self) -> Decision {
        let mut actions = Vec::new();
        for ordinal in self.wanted() {
            let settled = match self.pod_at(ordinal) {
                None => {
                    actions.extend(self.create(ordinal));
                    false
                }
                Some(pod) if facts::is_finished(pod) => {
                    if !object::is_terminating(pod) {
                        actions.push(self.delete(pod));
                    }
                    return Decision { actions, lost: None };
                }
                Some(pod) => !object::is_terminating(pod) && self.is_available(pod),
            };
            if self.ordered && !settled {
                return Decision { actions, lost: None };
            }
        }
        let condemned = self.condemned();
        let lowest_unhealthy = condemned.iter().rev().find(|pod| !self.is_available(pod)).map(|pod| object::name(pod));
        for pod in &condemned {
            if !object::is_terminating(pod) {
                let waits = self.ordered
                    && !self.is_available(pod)
                    && lowest_unhealthy.is_some_and(|lowest| lowest != object::name(pod));
                if !waits {
                    actions.push(self.delete(pod));
                }
            }
            if self.ordered {
                break;
            }
        }
        if !actions.is_empty() || (self.ordered && !condemned.is_empty()) {
            return Decision { actions, lost: None };
        }
        self.about_update()
    }

    /// Sends away the highest pod that is not of the update revision, once all above it are healthy.
    fn about_update(&self) -> Decision {
        let strategy = &self.set["spec"]["updateStrategy"];
        if strategy["type"] == "OnDelete" {
            return Decision::default();
        }
        let partition = facts::int(&strategy["rollingUpdate"]["partition"]);
        let update = object::name(&self.revisions.update);
        for ordinal in self.wanted().rev().take_while(|ordinal| *ordinal >= self.start() + partition) {
            let Some(pod) = self.pod_at(ordinal) else { return Decision::default() };
            if revision_of(pod) != update && !object::is_terminating(pod) {
                let lost = Some(revision_of(pod).to_owned());
                return Decision { actions: vec![self.delete(pod)], lost };
            }
            if object::is_terminating(pod) || !self.is_running_and_ready(pod) {
                return Decision::default();
            }
        }
        Decision::default()
    }

    fn status(&self, lost: Option<&str>) -> Value {
        let set = self.set;
        let (current, update) = (object::name(&self.revisions.current), object::name(&self.revisions.update));
        let tally = |wanted: &dyn Fn(&Value) -> bool| {
            i64::try_from(self.pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i64::MAX)
        };
        let of = |revision: &str| {
            let living = tally(&|pod| revision_of(pod) == revision && !object::is_terminating(pod));
            living - i64::from(lost == Some(revision))
        };
        let replicas = tally(&|_| true);
        let ready = tally(&|pod| self.is_running_and_ready(pod));
        let (mut on_current, updated) = (of(current), of(update));
        let wanted = facts::replicas(set);
        let rolled_out = set["spec"]["updateStrategy"]["type"] != "OnDelete"
            && [updated, ready, replicas].iter().all(|count| *count == wanted);
        if rolled_out {
            on_current = updated;
        }
        let counts = [
            ("observedGeneration", facts::int(&set["metadata"]["generation"])),
            ("replicas", replicas),
            ("availableReplicas", tally(&|pod| self.is_available(pod))),
            ("collisionCount", 0),
            ("readyReplicas", ready),
            ("currentReplicas", on_current),
            ("updatedReplicas", updated),
        ];
        let mut status: Map<String, Value> = facts::counts(4, &counts);
        status.insert("currentRevision".to_owned(), if rolled_out { update } else { current }.into());
        status.insert("updateRevision".to_owned(), update.into());
        Value::Object(status)
    }

    fn note(&self, reason: &'static str, message: String) -> Option<Note> {
        Some(Note::normal(COMPONENT, &STATEFUL_SET, self.set, reason, message))
    }

    fn delete(&self, pod: &Value) -> Action {
        let message = format!("Delete Pod {} in StatefulSet {} successful", object::name(pod), object::name(self.set));
        Action::Delete {
            key: Key::of(&POD, pod),
            uid: object::uid(pod).to_owned(),
            propagation: None,
            done: self.note("SuccessfulDelete", message),
        }
    }

    /// The claims that are missing, then the pod.
    fn create(&self, ordinal: i64) -> Vec<Action> {
        let pod = self.pod(ordinal);
        let (name, set) = (object::name(&pod).to_owned(), object::name(self.set));
        let failed = |what: &str| {
            let message = format!("create {what} in StatefulSet {set} failed error: {{error}}");
            Some(Note::warning(COMPONENT, &STATEFUL_SET, self.set, "FailedCreate", message))
        };
        let mut actions = Vec::new();
        for template in self.claim_templates() {
            let claim = self.claim(template, &name);
            let claim_name = object::name(&claim).to_owned();
            if self.view.claims.iter().any(|there| object::name(there) == claim_name) {
                continue;
            }
            let what = format!("Claim {claim_name} Pod {name}");
            let done = self.note("SuccessfulCreate", format!("Create {what} in StatefulSet {set} success"));
            actions.push(Action::Create { kind: &CLAIM, object: claim, done, failed: failed(&what) });
        }
        let done = self.note("SuccessfulCreate", format!("Create Pod {name} in StatefulSet {set} successful"));
        actions.push(Action::Create { kind: &POD, object: pod, done, failed: failed(&format!("Pod {name}")) });
        actions
    }

    fn claim_templates(&self) -> &[Value] {
        self.set["spec"]["volumeClaimTemplates"].as_array().map_or(&[], Vec::as_slice)
    }

    fn claim(&self, template: &Value, pod: &str) -> Value {
        let mut claim = template.clone();
        claim["metadata"]["name"] = format!("{}-{pod}", object::name(template)).into();
        claim["metadata"]["namespace"] = object::namespace(self.set).into();
        for labels in [facts::labels(&self.set["spec"]["template"]), &self.set["spec"]["selector"]["matchLabels"]] {
            for (key, value) in labels.as_object().into_iter().flatten() {
                claim["metadata"]["labels"][key] = value.clone();
            }
        }
        claim
    }

    /// Below the partition a pod keeps the current revision, everywhere else it gets the one of the update.
    fn revision_for(&self, ordinal: i64) -> &Arc<Value> {
        let strategy = &self.set["spec"]["updateStrategy"];
        let kept = match &strategy["rollingUpdate"]["partition"] {
            _ if strategy["type"] == "OnDelete" => 0,
            Value::Number(partition) => partition.as_i64().unwrap_or(0),
            _ => facts::int(&self.set["status"]["currentReplicas"]),
        };
        if ordinal < self.start() + kept { &self.revisions.current } else { &self.revisions.update }
    }

    fn pod(&self, ordinal: i64) -> Value {
        let revision = self.revision_for(ordinal);
        let template = revisions::template_of(revision);
        let set = object::name(self.set);
        let name = format!("{set}-{ordinal}");
        let mut pod = json!({
            "metadata": {
                "name": name, "generateName": format!("{set}-"), "namespace": object::namespace(self.set),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [facts::controller_reference(&STATEFUL_SET, self.set)],
            },
            "spec": template["spec"],
        });
        if let Some(annotations) = template["metadata"].get("annotations") {
            pod["metadata"]["annotations"] = annotations.clone();
        }
        let labels = &mut pod["metadata"]["labels"];
        labels["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
        labels["controller-revision-hash"] = object::name(revision).into();
        labels["statefulset.kubernetes.io/pod-name"] = name.as_str().into();
        pod["spec"]["hostname"] = name.as_str().into();
        if let Some(service) = self.set["spec"]["serviceName"].as_str().filter(|service| !service.is_empty()) {
            pod["spec"]["subdomain"] = service.into();
        }
        let volumes = self.volumes(&template, &name);
        if !volumes.is_empty() {
            pod["spec"]["volumes"] = volumes.into();
        }
        pod
    }

    /// The claims as volumes, then the template's own that no claim takes the name of.
    fn volumes(&self, template: &Value, pod: &str) -> Vec<Value> {
        let mut volumes: Vec<Value> = self
            .claim_templates()
            .iter()
            .map(object::name)
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{name}-{pod}")}}))
            .collect();
        let claimed =
            |volume: &Value| self.claim_templates().iter().any(|claim| *object::name(claim) == volume["name"]);
        let own = template["spec"]["volumes"].as_array().into_iter().flatten();
        volumes.extend(own.filter(|volume| !claimed(volume)).cloned());
        volumes
    }
}
