//! Timelines of StatefulSets against the recordings of a real cluster, `70-statefulsets`.

use embedded_cluster::controllers::{DeleteOptions, Deleted};
use embedded_cluster::kinds::{CLAIM, CONTROLLER_REVISION, EVENT, POD, STATEFUL_SET};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, World, template};

fn stateful_set(replicas: i64) -> Value {
    json!({
        "metadata": {"name": "db"}, "status": {"replicas": 0, "availableReplicas": 0},
        "spec": {
            "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}},
            "template": template("v1"), "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
    })
}

fn db() -> Key {
    Key::new(&STATEFUL_SET, NAMESPACE_NAME, "db")
}

fn pod(ordinal: u32) -> Key {
    Key::new(&POD, NAMESPACE_NAME, &format!("db-{ordinal}"))
}

fn set_image(world: &mut World, image: &str) {
    world.edit(&db(), |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into());
}

fn started(object: Value) -> World {
    let mut world = World::new(700);
    world.create(&STATEFUL_SET, object);
    world.settle();
    world
}

fn image(world: &World, ordinal: u32) -> Value {
    world.get(&pod(ordinal))["spec"]["containers"][0]["image"].clone()
}

/// `[replicas, ready, current, updated, available]` and the two revisions as `1` or `2`, each time they change.
fn statuses(world: &World) -> Vec<Value> {
    let mut revisions: Vec<String> = Vec::new();
    let mut lines: Vec<Value> = Vec::new();
    for change in world.changes_of(&STATEFUL_SET) {
        let status = &change.object["status"];
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        let mut number = |field: &str| {
            let name = status[field].as_str().unwrap_or_default().to_owned();
            if !revisions.contains(&name) {
                revisions.push(name.clone());
            }
            revisions.iter().filter(|known| !known.is_empty()).position(|known| *known == name).map_or(0, |at| at + 1)
        };
        let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let line = json!([counts.map(count), number("currentRevision"), number("updateRevision")]);
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Which pods came and went, in order: `+db-0`, `-db-0` when its deletion begins.
fn comings_and_goings(world: &World) -> Vec<String> {
    let line = |change: &embedded_cluster::store::Change| {
        let name = object::name(&change.object);
        let began = change.previous.as_ref().is_some_and(|previous| !object::is_terminating(previous));
        match change.verb {
            Verb::Added => Some(format!("+{name}")),
            Verb::Modified if began && object::is_terminating(&change.object) => Some(format!("-{name}")),
            _ => None,
        }
    };
    world.changes_of(&POD).iter().filter_map(line).collect()
}

#[test]
fn pods_start_in_order() {
    let world = started(stateful_set(3));
    let expect = [
        json!([[0, 0, 0, 0, 0], 0, 0]),
        json!([[0, 0, 0, 0, 0], 1, 1]),
        json!([[1, 0, 1, 1, 0], 1, 1]),
        json!([[1, 1, 1, 1, 1], 1, 1]),
        json!([[2, 1, 2, 2, 1], 1, 1]),
        json!([[2, 2, 2, 2, 2], 1, 1]),
        json!([[3, 2, 3, 3, 2], 1, 1]),
        json!([[3, 3, 3, 3, 3], 1, 1]),
    ];
    assert_eq!(statuses(&world), expect, "701");
    let revision = world.list(&CONTROLLER_REVISION)[0].clone();
    let name = object::name(&revision);
    let hash = name.strip_prefix("db-").unwrap();
    assert_eq!(revision["metadata"]["labels"], json!({"app": "web", "controller.kubernetes.io/hash": hash}));
    assert_eq!(revision["revision"], 1);
    assert_eq!(revision["data"]["spec"]["template"]["$patch"], "replace");
    let status = json!({
        "observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3,
        "currentRevision": name, "updateRevision": name, "collisionCount": 0, "availableReplicas": 3,
    });
    assert_eq!(world.get(&db())["status"], status);
    let one = world.get(&pod(1));
    let labels = json!({
        "app": "web", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": name,
        "statefulset.kubernetes.io/pod-name": "db-1",
    });
    assert_eq!(one["metadata"]["labels"], labels);
    assert_eq!((&one["spec"]["hostname"], &one["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
    assert_eq!(one["metadata"]["generateName"], "db-");
    let created = |n: u32| format!("Create Pod db-{n} in StatefulSet db successful");
    assert_eq!(world.events("statefulset-controller"), [created(0), created(1), created(2)]);
}

#[test]
fn a_deleted_pod_comes_back_under_its_name_once_it_is_gone() {
    let mut world = started(stateful_set(2));
    let uid = object::uid(&world.get(&pod(0))).to_owned();
    world.record_from_here();
    world.delete(&pod(0), &DeleteOptions::default());
    world.settle();
    assert_ne!(object::uid(&world.get(&pod(0))), uid);
    assert_eq!(comings_and_goings(&world), ["-db-0", "+db-0"]);
    let expect = [
        json!([[2, 2, 1, 1, 2], 1, 1]),
        json!([[2, 1, 1, 1, 1], 1, 1]),
        json!([[1, 1, 1, 1, 1], 1, 1]),
        json!([[2, 1, 2, 2, 1], 1, 1]),
        json!([[2, 2, 2, 2, 2], 1, 1]),
    ];
    assert_eq!(statuses(&world), expect, "702");
    assert_eq!(world.events("statefulset-controller"), ["Create Pod db-0 in StatefulSet db successful x2"]);
}

#[test]
fn an_update_goes_from_the_highest_ordinal_down() {
    let mut world = started(stateful_set(3));
    world.record_from_here();
    set_image(&mut world, "v2");
    world.settle();
    assert_eq!(comings_and_goings(&world), ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]);
    let expect = [
        json!([[3, 3, 3, 3, 3], 1, 1]),
        json!([[3, 3, 2, 0, 3], 1, 2]),
        json!([[3, 2, 2, 0, 2], 1, 2]),
        json!([[2, 2, 2, 0, 2], 1, 2]),
        json!([[3, 2, 2, 1, 2], 1, 2]),
        json!([[3, 3, 1, 1, 3], 1, 2]),
        json!([[3, 2, 1, 1, 2], 1, 2]),
        json!([[2, 2, 1, 1, 2], 1, 2]),
        json!([[3, 2, 1, 2, 2], 1, 2]),
        json!([[3, 3, 0, 2, 3], 1, 2]),
        json!([[3, 2, 0, 2, 2], 1, 2]),
        json!([[2, 2, 0, 2, 2], 1, 2]),
        json!([[3, 2, 0, 3, 2], 1, 2]),
        json!([[3, 3, 3, 3, 3], 2, 2]),
    ];
    assert_eq!(statuses(&world), expect, "703");
    set_image(&mut world, "v1");
    world.settle();
    let mut numbers: Vec<i64> =
        world.list(&CONTROLLER_REVISION).iter().map(|revision| revision["revision"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the first revision is used again, under a new number");
    assert_eq!([0, 1, 2].map(|ordinal| image(&world, ordinal)), ["v1", "v1", "v1"]);
}

#[test]
fn a_partition_keeps_the_lower_ordinals_back() {
    let mut object = stateful_set(3);
    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 2.into();
    let mut world = started(object);
    set_image(&mut world, "v2");
    world.settle();
    assert_eq!([0, 1, 2].map(|ordinal| image(&world, ordinal)), ["v1", "v1", "v2"], "704");
    world.delete(&pod(0), &DeleteOptions::default());
    world.settle();
    assert_eq!(image(&world, 0), "v1", "a pod below the partition comes back as it was");
    let status = world.get(&db())["status"].clone();
    assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(1)));
    assert_ne!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn on_delete_leaves_the_update_to_people() {
    let mut object = stateful_set(2);
    object["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut world = started(object);
    set_image(&mut world, "v2");
    world.settle();
    assert_eq!([0, 1].map(|ordinal| image(&world, ordinal)), ["v1", "v1"]);
    world.delete(&pod(0), &DeleteOptions::default());
    world.settle();
    assert_eq!([0, 1].map(|ordinal| image(&world, ordinal)), ["v2", "v1"]);
}

#[test]
fn scaling_down_takes_the_highest_ordinal_one_at_a_time() {
    let mut world = started(stateful_set(3));
    world.record_from_here();
    world.edit(&db(), |set| set["spec"]["replicas"] = 1.into());
    world.settle();
    world.edit(&db(), |set| set["spec"]["replicas"] = 2.into());
    world.settle();
    assert_eq!(comings_and_goings(&world), ["-db-2", "-db-1", "+db-1"], "705");
    let gone = world.changes_of(&POD).iter().position(|change| change.verb == Verb::Deleted).unwrap();
    let next = world
        .changes_of(&POD)
        .iter()
        .position(|change| object::name(&change.object) == "db-1" && object::is_terminating(&change.object));
    assert!(gone < next.unwrap(), "db-1 stays until db-2 is gone");
    assert!(matches!(world.delete(&db(), &DeleteOptions::default()), Deleted::Gone(_)));
    world.settle();
    assert_eq!((world.list(&POD).len(), world.list(&CONTROLLER_REVISION).len()), (0, 0));
}

fn with_claims(replicas: i64) -> Value {
    let mut object = stateful_set(replicas);
    object["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }]);
    object
}

#[test]
fn claims_are_made_bound_and_kept() {
    let mut object = with_claims(2);
    object["spec"]["template"]["spec"]["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    let mut world = started(object);
    assert_eq!(world.names(&CLAIM), ["data-db-0", "data-db-1"], "706");
    let claim = world.list(&CLAIM)[0].clone();
    assert_eq!(claim["metadata"]["labels"], json!({"app": "web"}));
    let volume = format!("pvc-{}", object::uid(&claim));
    assert_eq!(claim["spec"]["volumeName"], volume.as_str());
    let bound = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}});
    assert_eq!(claim["status"], bound);
    let volumes = json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}, {"name": "tmp", "emptyDir": {}},
    ]);
    assert_eq!(world.get(&pod(0))["spec"]["volumes"], volumes);
    let first = &world.events("statefulset-controller")[..2];
    let expect =
        ["Create Claim data-db-0 Pod db-0 in StatefulSet db success", "Create Pod db-0 in StatefulSet db successful"];
    assert_eq!(first, expect);
    world.edit(&db(), |set| set["spec"]["replicas"] = 1.into());
    world.settle();
    world.delete(&db(), &DeleteOptions::default());
    world.settle();
    assert_eq!(world.list(&POD).len(), 0);
    assert_eq!(world.names(&CLAIM), ["data-db-0", "data-db-1"], "claims outlive their set");
}

#[test]
fn parallel_pods_start_together() {
    let mut object = stateful_set(3);
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    let world = started(object);
    assert_eq!(statuses(&world)[2], json!([[3, 0, 3, 3, 0], 1, 1]), "707");
    assert_eq!(comings_and_goings(&world), ["+db-0", "+db-1", "+db-2"]);
}

#[test]
fn a_broken_update_stays_until_its_pod_is_deleted_by_hand() {
    let mut world = started(stateful_set(2));
    set_image(&mut world, "none");
    world.settle();
    assert_eq!([0, 1].map(|ordinal| image(&world, ordinal)), ["v1", "none"]);
    let uid = object::uid(&world.get(&pod(1))).to_owned();
    set_image(&mut world, "v1");
    world.settle();
    assert_eq!(object::uid(&world.get(&pod(1))), uid, "707: set back, and still stuck");
    let status = world.get(&db())["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(1), &json!(1)));
    world.delete(&pod(1), &DeleteOptions::default());
    world.settle();
    assert_eq!(image(&world, 1), "v1");
    assert_eq!(world.get(&db())["status"]["readyReplicas"], 2);
}

/// The runbook restarts a hung Redis like this; it does not help, here as on a real cluster.
#[test]
fn a_restart_does_not_replace_a_pod_that_is_not_ready() {
    let mut world = started(stateful_set(1));
    let uid = object::uid(&world.get(&pod(0))).to_owned();
    world.set_phase(&pod(0), "Running", false);
    world.settle();
    world.edit(&db(), |set| {
        set["spec"]["template"]["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "now"});
    });
    world.seconds(60);
    assert_eq!(object::uid(&world.get(&pod(0))), uid);
    world.delete(&pod(0), &DeleteOptions::default());
    world.settle();
    assert_eq!(world.get(&pod(0))["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"], "now");
    assert_eq!(world.get(&db())["status"]["readyReplicas"], 1);
}

#[test]
fn a_finished_pod_is_made_again() {
    let mut world = started(stateful_set(1));
    let uid = object::uid(&world.get(&pod(0))).to_owned();
    world.set_phase(&pod(0), "Failed", false);
    world.settle();
    assert_ne!(object::uid(&world.get(&pod(0))), uid);
}

#[test]
fn a_name_that_is_taken_is_told_and_tried_again() {
    let mut world = World::new(1);
    let foreign = json!({"metadata": {"name": "db-0"}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
    let foreign = world.create(&POD, foreign);
    world.create(&STATEFUL_SET, stateful_set(1));
    world.seconds(3);
    let warned = world.list(&EVENT).iter().any(|event| {
        event["type"] == "Warning"
            && event["message"] == "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" already exists"
    });
    assert!(warned);
    world.delete(&foreign, &DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() });
    world.settle();
    assert_eq!(world.get(&db())["status"]["readyReplicas"], 1);
}
