//! Pods of the API as facts of ours.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::event::PodFacts;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};

/// What a run records of a pod. The owner of a Deployment's pod is found through its
/// `pod-template-hash`, without a second request.
#[must_use]
pub fn facts(pod: &Pod) -> PodFacts {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    PodFacts {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        workload: workload(pod),
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        container_ids: containers.iter().map(|one| one.container_id.clone().unwrap_or_default()).collect(),
        restarts: containers.iter().map(|one| u32::try_from(one.restart_count).unwrap_or(0)).sum(),
        reason: containers.iter().find_map(reason).or_else(|| status.and_then(|status| status.reason.clone())),
        ended: containers.iter().find_map(ended),
    }
}

/// The workload that owns the pod: a StatefulSet, or the Deployment behind its ReplicaSet,
/// whose name is the Deployment's, a dash and the hash of the template.
fn workload(pod: &Pod) -> Option<WorkloadRef> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let (kind, name) = match owner.kind.as_str() {
        "StatefulSet" => (WorkloadKind::StatefulSet, owner.name.as_str()),
        "ReplicaSet" => {
            let hash = pod.metadata.labels.as_ref()?.get("pod-template-hash")?;
            (WorkloadKind::Deployment, owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?)
        }
        _ => return None,
    };
    Some(WorkloadRef { kind, name: name.to_owned() })
}

fn reason(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    let ended = state.terminated.as_ref().and_then(|ended| ended.reason.clone());
    waiting.or(ended)
}

/// Why the container that is shown, or else the one before it, ended.
fn ended(container: &ContainerStatus) -> Option<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    states.into_iter().flatten().find_map(|state| state.terminated.as_ref()?.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(pod: Value, expect: impl Fn(PodFacts)) {
        expect(facts(&serde_json::from_value(pod).unwrap()));
    }

    #[test]
    fn the_owner_is_the_workload_that_people_name() {
        let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
        for (owners, labels, expected) in [
            (owner("ReplicaSet", "backend-5d8f"), json!({"pod-template-hash": "5d8f"}), Some("deployment/backend")),
            (owner("ReplicaSet", "backend-5d8f"), json!({}), None),
            (owner("ReplicaSet", "bare"), json!({"pod-template-hash": "5d8f"}), None),
            (owner("StatefulSet", "redis"), json!({}), Some("statefulset/redis")),
            (owner("Job", "backup"), json!({}), None),
            (json!([]), json!({}), None),
        ] {
            check(json!({"metadata": {"ownerReferences": owners, "labels": labels}}), |facts| {
                assert_eq!(
                    facts.workload.map(|workload| workload.to_string()).as_deref(),
                    expected,
                    "{owners} {labels}"
                );
            });
        }
    }

    #[test]
    fn readiness_restarts_and_reasons_are_read_from_the_status() {
        let container = |state: Value, restarts: u32| json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "containerID": "gameday://1", "state": state});
        let waiting = container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), 3);
        let running = container(json!({"running": {}}), 1);
        check(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [running, waiting]}}),
            |facts| {
                assert!(facts.ready && facts.terminating);
                assert_eq!(facts.restarts, 4);
                assert_eq!(facts.reason.as_deref(), Some("CrashLoopBackOff"));
                assert_eq!(facts.container_ids, ["gameday://1", "gameday://1"]);
            },
        );
        check(json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}), |facts| {
            assert!(!facts.ready && !facts.terminating && facts.reason.is_none());
        });
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        for (state, last, ended) in [
            (json!({"running": {}}), killed.clone(), Some("OOMKilled")),
            (killed.clone(), json!({}), Some("OOMKilled")),
            (json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), killed, Some("Completed")),
            (json!({"running": {}}), json!({}), None),
        ] {
            let mut status = container(state, 1);
            status["lastState"] = last;
            check(json!({"metadata": {}, "status": {"containerStatuses": [status]}}), |facts| {
                assert_eq!(facts.ended.as_deref(), ended);
            });
        }
    }
}
