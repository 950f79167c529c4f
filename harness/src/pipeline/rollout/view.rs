//! From mirrored objects to a view of one rollout.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::mirror::{Baseline, Mirror};
use super::{PodView, RolloutView, Trouble, TroubleKind};
use crate::cluster::pods;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};

const REVISION: &str = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION_HASH: &str = "controller-revision-hash";
/// What Kubernetes fills in where a Deployment says nothing.
const PROGRESS_DEADLINE_DEFAULT: u64 = 600;

/// What is seen of a workload's rollout; nothing where the workload does not exist.
pub(super) fn view(mirror: &Mirror, workload: &WorkloadRef, before: &Baseline) -> Option<RolloutView> {
    match workload.kind {
        WorkloadKind::Deployment => {
            mirror.deployments.get(&workload.name).map(|object| of_deployment(mirror, workload, object, before))
        }
        WorkloadKind::StatefulSet => {
            mirror.stateful_sets.get(&workload.name).map(|object| of_stateful_set(mirror, workload, object, before))
        }
    }
}

fn of_deployment(mirror: &Mirror, workload: &WorkloadRef, object: &Deployment, before: &Baseline) -> RolloutView {
    let revision = object.annotations().get(REVISION);
    // Two ReplicaSets of one Deployment never carry the same revision.
    let newest = mirror.replica_sets.iter().find(|set| {
        is_owned(&set.metadata, object.metadata.uid.as_deref())
            && revision.is_some()
            && set.annotations().get(REVISION) == revision
    });
    let hash = newest.and_then(|set| set.labels().get(TEMPLATE_HASH)).map(String::as_str);
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let seconds = spec.and_then(|spec| spec.progress_deadline_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let conditions = status.conditions.unwrap_or_default();
    let exceeded = conditions.into_iter().find(|condition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let updated = status.updated_replicas.unwrap_or(0).min(status.available_replicas.unwrap_or(0));
    RolloutView {
        workload: workload.clone(),
        observed: is_observed(&object.metadata, status.observed_generation),
        paused: spec.and_then(|spec| spec.paused).unwrap_or(false),
        wanted: count(spec.and_then(|spec| spec.replicas), 1),
        available: count(Some(updated), 0),
        own_deadline: Some(Duration::from_secs(seconds.unwrap_or(PROGRESS_DEADLINE_DEFAULT))),
        deadline_exceeded: exceeded.map(|condition| condition.message.unwrap_or_default()),
        pods: pods_of(mirror, workload, TEMPLATE_HASH, hash, before),
    }
}

fn of_stateful_set(mirror: &Mirror, workload: &WorkloadRef, object: &StatefulSet, before: &Baseline) -> RolloutView {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let hash = status.update_revision.as_deref();
    RolloutView {
        workload: workload.clone(),
        observed: is_observed(&object.metadata, status.observed_generation),
        paused: false,
        wanted: count(spec.and_then(|spec| spec.replicas), 1),
        available: count(status.available_replicas.or(status.ready_replicas), 0),
        own_deadline: None,
        deadline_exceeded: None,
        pods: pods_of(mirror, workload, REVISION_HASH, hash, before),
    }
}

fn pods_of(
    mirror: &Mirror,
    workload: &WorkloadRef,
    label: &str,
    newest: Option<&str>,
    before: &Baseline,
) -> Vec<PodView> {
    let of_workload = mirror.pods.iter().filter_map(|pod| {
        let facts = pods::facts(pod);
        // A finished pod that nobody deletes (evicted, …) is no pod of the rollout.
        let is_finished = matches!(facts.phase.as_str(), "Failed" | "Succeeded") && !facts.terminating;
        (facts.workload.as_ref() == Some(workload) && !is_finished).then_some((pod, facts))
    });
    of_workload
        .map(|(pod, facts)| PodView {
            new: newest.is_some() && pod.labels().get(label).map(String::as_str) == newest,
            ready: facts.ready,
            terminating: facts.terminating,
            restarts: before.since(pod),
            trouble: trouble(pod),
            name: facts.name,
            uid: facts.uid,
        })
        .collect()
}

/// The first trouble of a pod's containers; how long it lasts is for the watcher to say.
fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find_map(|waiting| kind_of(waiting).map(|kind| Trouble { kind, says: says(waiting), lasts: Duration::ZERO }))
}

fn kind_of(waiting: &ContainerStateWaiting) -> Option<TroubleKind> {
    match waiting.reason.as_deref()? {
        "InvalidImageName" | "ErrImageNeverPull" | "CreateContainerConfigError" => Some(TroubleKind::Hopeless),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => Some(TroubleKind::Pull),
        "CrashLoopBackOff" => Some(TroubleKind::CrashLoop),
        _ => None,
    }
}

fn says(waiting: &ContainerStateWaiting) -> String {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    match waiting.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => reason.to_owned(),
    }
}

fn is_owned(metadata: &ObjectMeta, uid: Option<&str>) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

fn is_observed(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.unwrap_or(0) >= metadata.generation.unwrap_or(i64::MAX)
}

fn count(number: Option<i32>, default: u32) -> u32 {
    number.map_or(default, |number| u32::try_from(number).unwrap_or(0))
}
