//! The follower against recordings of a real Kubernetes 1.36: `recordings/*.ndjson` are the
//! watch events of Deployments, ReplicaSets, StatefulSets and Pods, cut down to the fields
//! that are read here.

use kube::runtime::watcher::Event;
use serde_json::Value;

use super::*;

const LIMITS: RolloutConfig = RolloutConfig {
    pull_grace: Duration::from_secs(30),
    crash_grace: Duration::from_secs(5),
    progress_deadline: Duration::from_secs(120),
};

const ROLLING: &str = include_str!("../recordings/502-rolling.ndjson");
const RECREATE: &str = include_str!("../recordings/505-recreate.ndjson");
const BAD_IMAGE: &str = include_str!("../recordings/506-bad-image.ndjson");
const STATEFUL: &str = include_str!("../recordings/703-stateful.ndjson");

fn event<K: DeserializeOwned>(line: &Value) -> Event<K> {
    let object = serde_json::from_value(line["object"].clone()).unwrap();
    if line["type"] == "DELETED" { Event::Delete(object) } else { Event::Apply(object) }
}

fn change(line: &Value) -> Change {
    match line["object"]["kind"].as_str().unwrap() {
        "Deployment" => Change::Deployment(event(line)),
        "ReplicaSet" => Change::ReplicaSet(event(line)),
        "StatefulSet" => Change::StatefulSet(event(line)),
        "Pod" => Change::Pod(event(line)),
        other => panic!("{other}"),
    }
}

/// Replays a recording; looks at every event from `changed` (milliseconds) on. Returns when
/// and how it ended, or nothing where the recording ended first.
fn replay(recording: &str, workload: &str, changed: u64, limits: RolloutConfig) -> Option<(u64, String)> {
    let mut follower = Follower::new(&[workload.parse().unwrap()], Baseline::default(), limits);
    follower.mirror.apply(Change::Deployment(Event::InitDone));
    follower.mirror.apply(Change::ReplicaSet(Event::InitDone));
    follower.mirror.apply(Change::StatefulSet(Event::InitDone));
    follower.mirror.apply(Change::Pod(Event::InitDone));
    for line in recording.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let at = line["at"].as_u64().unwrap();
        follower.mirror.apply(change(&line));
        if at < changed {
            continue;
        }
        match follower.look(Offset::from_millis(at)) {
            None => {}
            Some(Ok(_)) => return Some((at, "done".to_owned())),
            Some(Err(error)) => return Some((at, error.to_string())),
        }
    }
    None
}

#[test]
fn done_is_when_the_last_old_pod_is_gone() {
    let check = |recording, workload, changed, expect: u64| {
        assert_eq!(replay(recording, workload, changed, LIMITS), Some((expect, "done".to_owned())), "{workload}");
    };
    // kubectl's `rollout status` said done at 12930, with an old pod still running.
    check(ROLLING, "deployment/web", 7756, 13811);
    // Recreate: for two seconds the controller has seen the change, and only old pods exist.
    check(RECREATE, "deployment/web", 2126, 7937);
    check(STATEFUL, "statefulset/db", 9047, 23916);
    // The undo that followed.
    check(STATEFUL, "statefulset/db", 24762, 32663);
    check(BAD_IMAGE, "deployment/web", 24443, 26718);
}

#[test]
fn a_rollout_that_nothing_changed_is_done_at_once() {
    assert_eq!(replay(ROLLING, "deployment/web", 7442, LIMITS), Some((7442, "done".to_owned())));
}

#[test]
fn an_image_that_does_not_exist_is_bad_after_its_grace_or_the_deadline() {
    let (at, reason) = replay(BAD_IMAGE, "deployment/web", 7500, LIMITS).unwrap();
    assert_eq!(at, 18116, "its progress deadline of 10 s comes before the grace of 30 s");
    assert!(reason.starts_with("deployment/web: ProgressDeadlineExceeded: ReplicaSet"), "{reason}");
    assert!(reason.contains("0 of 2 new pods ready, 2 old left; pod web-59586467cd-spt4h: ErrImagePull"), "{reason}");

    let hasty = RolloutConfig { pull_grace: Duration::from_secs(5), ..LIMITS };
    let (at, reason) = replay(BAD_IMAGE, "deployment/web", 7500, hasty).unwrap();
    assert_eq!(at, 18116, "the next look after the grace");
    assert!(reason.starts_with("deployment/web: pod web-59586467cd-spt4h: ErrImagePull: "), "{reason}");
}

#[test]
fn a_workload_that_vanishes_is_bad() {
    let mut follower = Follower::new(&["deployment/web".parse().unwrap()], Baseline::default(), LIMITS);
    assert_eq!(follower.look(Offset::ZERO), None, "before the first listing, absence means nothing");
    for change in [
        Change::Deployment(Event::InitDone),
        Change::ReplicaSet(Event::InitDone),
        Change::StatefulSet(Event::InitDone),
        Change::Pod(Event::InitDone),
    ] {
        follower.mirror.apply(change);
    }
    let error = follower.look(Offset::ZERO).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "deployment/web: it was deleted while it was rolled out");
}
