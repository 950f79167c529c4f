//! Revisions of workloads: the templates a rollback can return to.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::api::{ApiError, ask, ask_optional};
use crate::cluster::{Cluster, pods};
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};

pub(super) mod mark;

const REVISION: &str = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION_HASH: &str = "controller-revision-hash";
/// How long a controller may take to see a change; it takes milliseconds.
const OBSERVED_WITHIN: Duration = Duration::from_secs(30);

/// What a workload is, and was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History {
    /// Its template now.
    pub(super) template: Value,
    /// The number of the newest revision that its controller has made.
    pub(super) current: Option<i64>,
    /// All revisions that are kept, oldest first.
    pub(super) revisions: Vec<Revision>,
    /// Whether its last rollout is over: every pod is of the current revision and available.
    pub(super) settled: bool,
}

/// One kept revision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Revision {
    /// Its number.
    pub(super) number: i64,
    /// The name of what keeps it; of a StatefulSet's, also the hash on its pods.
    pub(super) name: String,
    /// Its pod template.
    pub(super) template: Value,
    /// How many of its pods are ready.
    pub(super) ready: i32,
    /// Why a release of it was rolled back, where one was.
    pub(super) rolled_back: Option<String>,
}

/// No revision to return to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRevision {
    /// The one asked for is not kept.
    #[error("revision {wanted} is not in its history, which has {kept}")]
    NotKept {
        /// Asked for.
        wanted: i64,
        /// Kept.
        kept: String,
    },
    /// There is only one.
    #[error("it has no previous revision")]
    NoPrevious,
    /// There are others, but each was rolled back.
    #[error(
        "each of its previous revisions was rolled back ({0}); one is returned to when it is asked for by its number"
    )]
    AllRolledBack(String),
}

impl History {
    /// The revision to return to as kubectl chooses it: the one asked for, or the newest before
    /// the current one.
    pub(super) fn choose(&self, wanted: Option<i64>) -> Result<&Revision, NoRevision> {
        match wanted {
            Some(wanted) => self.revision(wanted).ok_or_else(|| {
                let kept: Vec<_> = self.revisions.iter().map(|revision| revision.number.to_string()).collect();
                NoRevision::NotKept { wanted, kept: if kept.is_empty() { "none".into() } else { kept.join(", ") } }
            }),
            None => self.previous().next().ok_or(NoRevision::NoPrevious),
        }
    }

    /// As [`Self::choose`], but a revision that was rolled back is only returned to when asked
    /// for: right after a roll-back it is the newest before the current one.
    pub(super) fn choose_good(&self, wanted: Option<i64>) -> Result<&Revision, NoRevision> {
        let chosen = self.choose(wanted)?;
        if wanted.is_some() || chosen.rolled_back.is_none() {
            return Ok(chosen);
        }
        self.previous().find(|revision| revision.rolled_back.is_none()).ok_or_else(|| {
            let all: Vec<_> = self.previous().map(|revision| revision.number.to_string()).collect();
            NoRevision::AllRolledBack(all.join(", "))
        })
    }

    /// The revision that serves: the current one where its rollout is over, else the one with
    /// the most ready pods. Where none is ready, the current one.
    pub(super) fn serving(&self) -> Option<&Revision> {
        let current = self.current.and_then(|number| self.revision(number));
        if self.settled {
            return current;
        }
        let serving = self.revisions.iter().filter(|revision| revision.ready > 0);
        serving.max_by_key(|revision| revision.ready).or(current)
    }

    /// The current revision.
    pub(super) fn newest(&self) -> Option<&Revision> {
        self.current.and_then(|number| self.revision(number))
    }

    fn revision(&self, number: i64) -> Option<&Revision> {
        self.revisions.iter().rev().find(|revision| revision.number == number)
    }

    /// Newest first.
    fn previous(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.iter().rev().filter(|revision| Some(revision.number) < self.current)
    }
}

/// Reads a workload's history; nothing where the workload does not exist.
pub(super) async fn history(cluster: &Cluster, workload: &WorkloadRef) -> Result<Option<History>, ApiError> {
    match workload.kind {
        WorkloadKind::Deployment => deployment_history(cluster, workload).await,
        WorkloadKind::StatefulSet => stateful_set_history(cluster, workload).await,
    }
}

async fn deployment_history(cluster: &Cluster, workload: &WorkloadRef) -> Result<Option<History>, ApiError> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Some(object) = ask_optional(&format!("get {workload}"), || api.get(&workload.name)).await? else {
        return Ok(None);
    };
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let everything = ListParams::default();
    let sets = ask(&format!("list the revisions of {workload}"), || sets.list(&everything)).await?;
    let of_set = |set: &ReplicaSet| {
        let template = serde_json::to_value(set.spec.as_ref()?.template.as_ref()?).ok()?;
        let number = set.annotations().get(REVISION)?.parse().ok()?;
        let ready = set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        let rolled_back = mark::read(set);
        Some(Revision { number, name: set.name_any(), template: without_hash(template), ready, rolled_back })
    };
    let owned = sets.items.iter().filter(|set| is_owned(set.owner_references(), object.uid().as_deref()));
    let template = object.spec.as_ref().map(|spec| serde_json::to_value(&spec.template).unwrap_or_default());
    Ok(Some(History {
        template: template.unwrap_or_default(),
        current: object.annotations().get(REVISION).and_then(|number| number.parse().ok()),
        revisions: sorted(owned.filter_map(of_set).collect()),
        settled: is_settled(&object),
    }))
}

fn is_settled(object: &Deployment) -> bool {
    let wanted = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    object.status.as_ref().is_some_and(|status| {
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        status.observed_generation >= object.metadata.generation
            && counts.iter().all(|count| count.unwrap_or(0) == wanted)
    })
}

async fn stateful_set_history(cluster: &Cluster, workload: &WorkloadRef) -> Result<Option<History>, ApiError> {
    let api: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Some(object) = ask_optional(&format!("get {workload}"), || api.get(&workload.name)).await? else {
        return Ok(None);
    };
    let kept: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let everything = ListParams::default();
    let kept = ask(&format!("list the revisions of {workload}"), || kept.list(&everything)).await?;
    let status = object.status.clone().unwrap_or_default();
    // The one before, until every pod is of the newest.
    let (serving, ready) = (status.current_revision.clone(), status.ready_replicas.unwrap_or(0));
    let of_kept = |kept: &ControllerRevision| {
        let template = kept.data.as_ref()?.0.pointer("/spec/template")?.clone();
        let (name, template) = (kept.name_any(), without_directive(template));
        let ready = if serving.as_ref() == Some(&name) { ready } else { 0 };
        Some(Revision { number: kept.revision, name, template, ready, rolled_back: mark::read(kept) })
    };
    let owned = kept.items.iter().filter(|kept| is_owned(kept.owner_references(), object.uid().as_deref()));
    let revisions: Vec<Revision> = sorted(owned.filter_map(of_kept).collect());
    let wanted = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let settled = status.observed_generation >= object.metadata.generation
        && status.current_revision == status.update_revision
        && ready == wanted;
    let newest = status.update_revision;
    let current = revisions.iter().find(|revision| Some(&revision.name) == newest.as_ref());
    let template = object.spec.as_ref().map(|spec| serde_json::to_value(&spec.template).unwrap_or_default());
    Ok(Some(History {
        template: without_directive(template.unwrap_or_default()),
        current: current.map(|revision| revision.number),
        revisions,
        settled,
    }))
}

/// Puts a revision's template back, as `kubectl rollout undo` does, and nothing more.
pub(super) async fn restore(cluster: &Cluster, workload: &WorkloadRef, revision: &Revision) -> Result<(), ApiError> {
    let patch = Patch::Strategic(patch(&revision.template));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("return {workload} to revision {}", revision.number);
    match workload.kind {
        WorkloadKind::Deployment => {
            let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            ask(&doing, || api.patch(&workload.name, &parameters, &patch)).await.map(drop)
        }
        WorkloadKind::StatefulSet => {
            let api: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            ask(&doing, || api.patch(&workload.name, &parameters, &patch)).await.map(drop)
        }
    }
}

/// Deletes pods of a StatefulSet that are not ready and not of the kept revision. Its
/// controller would wait for them for ever, and never replace them; `kubectl rollout undo`
/// leaves them so, but a roll-back is there to bring the system back.
pub(super) async fn release_stuck_pods(
    cluster: &Cluster,
    workload: &WorkloadRef,
    kept: &Revision,
) -> Result<(), ApiError> {
    if workload.kind != WorkloadKind::StatefulSet {
        return Ok(());
    }
    // Until the controller knows of the return, it may still make pods of the bad revision.
    observed(cluster, workload).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let everything = ListParams::default();
    let all = ask(&format!("list the pods of {workload}"), || api.list(&everything)).await?;
    for pod in all.items {
        let facts = pods::facts(&pod);
        let is_kept = pod.labels().get(REVISION_HASH).is_some_and(|hash| *hash == kept.name);
        if facts.workload.as_ref() != Some(workload) || facts.ready || facts.terminating || is_kept {
            continue;
        }
        let of_this_pod = DeleteParams::default()
            .preconditions(kube::api::Preconditions { uid: Some(facts.uid.clone()), resource_version: None });
        let doing = format!("delete pod/{}", facts.name);
        match ask_optional(&doing, || api.delete(&facts.name, &of_this_pod)).await {
            Ok(_) => {}
            // Another pod of that name has taken its place meanwhile.
            Err(error) if error.status == Some(409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until a StatefulSet's controller has seen its newest change.
async fn observed(cluster: &Cluster, workload: &WorkloadRef) -> Result<(), ApiError> {
    let api: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let is_observed = |set: Option<&StatefulSet>| {
        let seen = |set: &StatefulSet| set.status.as_ref()?.observed_generation;
        set.is_some_and(|set| seen(set) >= set.metadata.generation)
    };
    let failed = |reason: String| ApiError {
        doing: format!("wait until the controller of {workload} has seen the change"),
        reason,
        status: None,
    };
    match tokio::time::timeout(OBSERVED_WITHIN, await_condition(api, &workload.name, is_observed)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it has not within {} s", OBSERVED_WITHIN.as_secs()))),
    }
}

/// The template as a whole, and nothing of the one that is there.
fn patch(template: &Value) -> Value {
    let mut template = template.clone();
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The hash is the controller's mark on its own copy.
fn without_hash(mut template: Value) -> Value {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}

fn without_directive(mut template: Value) -> Value {
    if let Value::Object(fields) = &mut template {
        fields.remove("$patch");
    }
    template
}

fn is_owned(owners: &[OwnerReference], uid: Option<&str>) -> bool {
    owners.iter().any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

fn sorted(mut revisions: Vec<Revision>) -> Vec<Revision> {
    revisions.sort_by_key(|revision| revision.number);
    revisions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64) -> Revision {
        Revision { number, name: format!("r{number}"), template: Value::Null, ready: 0, rolled_back: None }
    }

    fn history(current: Option<i64>, numbers: &[i64]) -> History {
        let revisions = numbers.iter().copied().map(revision).collect();
        History { template: Value::Null, current, revisions, settled: true }
    }

    #[test]
    fn the_revision_asked_for_or_the_one_before() {
        let check = |current, numbers: &[i64], wanted, expect: Result<i64, &str>| {
            let history = history(current, numbers);
            for chosen in [history.choose(wanted), history.choose_good(wanted)] {
                let chosen = chosen.map(|revision| revision.number).map_err(|error| error.to_string());
                assert_eq!(chosen, expect.map_err(str::to_owned), "{current:?} {numbers:?} {wanted:?}");
            }
        };
        check(Some(4), &[1, 3, 4], None, Ok(3));
        check(Some(4), &[1, 3, 4], Some(1), Ok(1));
        check(Some(4), &[1, 3, 4], Some(4), Ok(4));
        check(Some(5), &[3, 4, 5], Some(1), Err("revision 1 is not in its history, which has 3, 4, 5"));
        check(Some(1), &[1], None, Err("it has no previous revision"));
        check(None, &[], None, Err("it has no previous revision"));
        check(None, &[], Some(2), Err("revision 2 is not in its history, which has none"));
    }

    #[test]
    fn what_was_rolled_back_is_returned_to_only_when_asked_for() {
        let check = |rolled_back: &[i64], wanted, expect: Result<i64, &str>| {
            let mut history = history(Some(4), &[1, 2, 3, 4]);
            for revision in history.revisions.iter_mut().filter(|one| rolled_back.contains(&one.number)) {
                revision.rolled_back = Some("crash loop".to_owned());
            }
            let chosen = history.choose_good(wanted).map(|revision| revision.number).map_err(|error| error.to_string());
            assert_eq!(chosen, expect.map_err(str::to_owned), "{rolled_back:?} {wanted:?}");
            assert_eq!(history.choose(None).map(|revision| revision.number), Ok(3), "kubectl knows no marks");
        };
        const ALL: &str = "each of its previous revisions was rolled back (3, 2, 1); one is returned to when it is asked \
                           for by its number";
        check(&[], None, Ok(3));
        check(&[3], None, Ok(2));
        check(&[3], Some(3), Ok(3));
        check(&[2, 4], None, Ok(3));
        check(&[1, 2, 3], None, Err(ALL));
    }

    #[test]
    fn what_serves_is_what_a_bad_release_returns_to() {
        let check = |settled, ready: [i32; 3], expect: i64| {
            let mut history = history(Some(3), &[1, 2, 3]);
            history.settled = settled;
            history.revisions.iter_mut().zip(ready).for_each(|(revision, ready)| revision.ready = ready);
            assert_eq!(history.serving().map(|revision| revision.number), Some(expect), "{settled} {ready:?}");
        };
        check(true, [0, 0, 3], 3);
        check(false, [0, 3, 0], 2);
        check(false, [0, 2, 1], 2);
        check(false, [3, 0, 0], 1);
        check(false, [0, 0, 0], 3);
    }

    #[test]
    fn a_patch_replaces_the_whole_template() {
        let template = without_hash(json!({"metadata": {"labels": {"app": "web", TEMPLATE_HASH: "1"}}, "spec": {}}));
        let expect = json!({"spec": {"template":
            {"$patch": "replace", "metadata": {"labels": {"app": "web"}}, "spec": {}}}});
        assert_eq!(patch(&template), expect);
        assert_eq!(without_directive(expect["spec"]["template"].clone()), template);
    }
}
