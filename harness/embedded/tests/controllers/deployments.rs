//! Deployments at rest: what is stored, what deletion leaves, who adopts whom (`50-deployments`).

use embedded_cluster::controllers::{DeleteOptions, Deleted, Propagation};
use embedded_cluster::kinds::{DEPLOYMENT, POD, REPLICA_SET};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, World, deployment, template, web};

#[test]
fn names_labels_and_annotations() {
    let mut world = World::new(511);
    let mut object = deployment(2, "25%", "25%");
    object["metadata"]["annotations"] = json!({"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    world.create(&DEPLOYMENT, object);
    world.settle();
    let set = world.list(&REPLICA_SET)[0].clone();
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(object::name(&set), format!("web-{hash}"));
    assert_eq!(set["metadata"]["labels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(set["spec"]["selector"], json!({"matchLabels": {"app": "web", "pod-template-hash": hash}}));
    assert_eq!(set["metadata"]["annotations"]["note"], "x");
    assert_eq!(set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"], "2");
    assert_eq!(set["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"], "3");
    assert!(set["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].is_null());
    let owner = &set["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"], &owner["blockOwnerDeletion"]),
        (&json!("Deployment"), &json!(true), &json!(true))
    );
    for pod in world.list(&POD) {
        assert!(object::name(&pod).starts_with(&format!("web-{hash}-")));
        assert_eq!(pod["metadata"]["generateName"], format!("web-{hash}-"));
        assert_eq!(object::name(&pod).len(), format!("web-{hash}-").len() + 5);
    }
    world.edit(&web(), |web| web["metadata"]["annotations"]["note"] = "y".into());
    world.settle();
    let key = Key::of(&REPLICA_SET, &set);
    assert_eq!(world.get(&key)["metadata"]["annotations"]["note"], "y");
    assert_eq!(world.get(&key)["metadata"]["generation"], 1);
    assert_eq!(world.get(&web())["status"]["observedGeneration"], 2);
    world.edit(&key, |set| set["spec"]["replicas"] = 3.into());
    world.settle();
    assert_eq!(world.get(&key)["spec"]["replicas"], 2, "the Deployment sets back what was scaled by hand");
}

#[test]
fn a_template_without_its_defaults_makes_one_replica_set() {
    let mut world = World::new(511);
    let mut bare = deployment(2, 1, 0);
    bare["metadata"]["namespace"] = NAMESPACE_NAME.into();
    world.store.create(&DEPLOYMENT, bare).unwrap();
    world.settle();
    assert_eq!((world.list(&REPLICA_SET).len(), world.list(&POD).len()), (1, 2));
}

#[test]
fn the_same_seed_gives_the_same_names() {
    let names = |seed| {
        let mut world = World::new(seed);
        world.create(&DEPLOYMENT, deployment(3, 1, 0));
        world.settle();
        world.names(&POD)
    };
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
}

fn policy(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

#[test]
fn deletion_in_the_background() {
    let mut world = World::new(512);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    let uid = object::uid(&world.get(&web())).to_owned();
    let Deleted::Gone(status) = world.delete(&web(), &policy(Propagation::Background)) else { panic!("an object") };
    let expect = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "web", "group": "apps", "kind": "deployments", "uid": uid},
    });
    assert_eq!(status, expect);
    world.settle();
    assert_eq!((world.list(&REPLICA_SET).len(), world.list(&POD).len()), (0, 0));
    let went: Vec<&str> =
        world.changes().iter().filter(|change| change.verb == Verb::Deleted).map(|change| change.kind.kind).collect();
    assert_eq!(went, ["Deployment", "ReplicaSet", "Pod", "Pod"]);
}

#[test]
fn deletion_in_the_foreground() {
    let mut world = World::new(513);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    let Deleted::Object(marked) = world.delete(&web(), &policy(Propagation::Foreground)) else { panic!("a status") };
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(marked["metadata"]["generation"], 2);
    world.step();
    assert_eq!(world.get(&web())["status"]["observedGeneration"], 2, "it is still looked at");
    let again = world.delete(&web(), &DeleteOptions::default());
    assert!(
        matches!(again, Deleted::Object(object) if object["metadata"]["finalizers"] == json!(["foregroundDeletion"]))
    );
    assert_eq!(world.list(&REPLICA_SET)[0]["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(world.list(&POD).iter().all(|pod| object::is_terminating(pod)));
    world.settle();
    let went: Vec<&str> =
        world.changes().iter().filter(|change| change.verb == Verb::Deleted).map(|change| change.kind.kind).collect();
    assert_eq!(went, ["Pod", "Pod", "ReplicaSet", "Deployment"]);
    let progress = world.progress();
    assert_eq!(progress.last().unwrap(), "NewReplicaSetAvailable False");
}

#[test]
fn orphans_are_adopted_by_the_same_deployment() {
    let mut world = World::new(514);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    let (sets, pods) = (world.names(&REPLICA_SET), world.names(&POD));
    world.delete(&web(), &policy(Propagation::Orphan));
    world.settle();
    assert_eq!(world.get(&web()), Value::Null);
    assert_eq!((world.names(&REPLICA_SET), world.names(&POD)), (sets.clone(), pods.clone()));
    assert!(world.list(&REPLICA_SET)[0]["metadata"]["ownerReferences"].is_null());
    world.record_from_here();
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    assert_eq!((world.names(&REPLICA_SET), world.names(&POD)), (sets, pods));
    assert_eq!(world.list(&REPLICA_SET)[0]["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(world.progress(), ["", "FoundNewReplicaSet", "NewReplicaSetAvailable True"]);
    assert_eq!(world.get(&web())["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
}

#[test]
fn a_replica_set_adopts_and_releases_pods() {
    let mut world = World::new(515);
    let pod = |name: &str| json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
    let lone = world.create(&POD, pod("lone"));
    world.settle();
    let set = json!({
        "metadata": {"name": "x"}, "status": {"replicas": 0},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")},
    });
    world.create(&REPLICA_SET, set);
    world.settle();
    let owner = |world: &World| world.get(&lone)["metadata"]["ownerReferences"][0]["name"].clone();
    assert_eq!((owner(&world), world.list(&POD).len()), (json!("x"), 2));
    world.edit(&lone, |pod| pod["metadata"]["labels"]["app"] = "other".into());
    world.settle();
    assert_eq!((owner(&world), world.list(&POD).len()), (Value::Null, 3));
    world.edit(&lone, |pod| pod["metadata"]["labels"]["app"] = "web".into());
    world.settle();
    assert_eq!((owner(&world), world.list(&POD).len()), (json!("x"), 2), "adopted again, and one too many went");
    assert_eq!(world.events("replicaset-controller").len(), 3, "created twice, deleted once");
}

#[test]
fn ready_is_not_yet_available() {
    let mut object = deployment(2, "25%", "25%");
    object["spec"]["minReadySeconds"] = 4.into();
    let mut world = World::new(517);
    world.create(&DEPLOYMENT, object);
    let mut seen = Vec::new();
    for second in 0..9 {
        world.tick();
        let status = world.get(&web())["status"].clone();
        seen.push((
            second,
            status["readyReplicas"].as_i64().unwrap_or(0),
            status["availableReplicas"].as_i64().unwrap_or(0),
        ));
    }
    let ready_since = seen.iter().find(|(_, ready, _)| *ready == 2).unwrap().0;
    let available_since = seen.iter().find(|(_, _, available)| *available == 2).unwrap().0;
    assert_eq!(available_since - ready_since, 4, "{seen:?}");
    assert_eq!(
        world.progress(),
        [
            "",
            "NewReplicaSetCreated",
            "NewReplicaSetCreated False",
            "ReplicaSetUpdated False",
            "NewReplicaSetAvailable True"
        ]
    );
}

#[test]
fn a_deleted_pod_is_replaced_before_it_is_gone() {
    let mut world = World::new(521);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    world.record_from_here();
    let victim = Key::of(&POD, &world.list(&POD)[0]);
    world.delete(&victim, &DeleteOptions::default());
    world.settle();
    let mut counts: Vec<Value> = world
        .changes_of(&REPLICA_SET)
        .iter()
        .map(|change| {
            let status = &change.object["status"];
            let count = |field: &str| status[field].as_i64().unwrap_or(0);
            json!([count("replicas"), count("readyReplicas"), count("availableReplicas"), count("terminatingReplicas")])
        })
        .collect();
    counts.dedup();
    assert_eq!(counts, [json!([1, 1, 1, 1]), json!([2, 1, 1, 1]), json!([2, 2, 2, 1]), json!([2, 2, 2, 0])]);
    assert_eq!(world.progress(), ["NewReplicaSetAvailable False", "NewReplicaSetAvailable True"]);
}

#[test]
fn two_deployments_with_one_selector_leave_each_other_alone() {
    let mut world = World::new(522);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    let mut other = deployment(1, "25%", "25%");
    other["metadata"]["name"] = "other".into();
    world.create(&DEPLOYMENT, other);
    world.settle();
    assert_eq!((world.list(&REPLICA_SET).len(), world.list(&POD).len()), (2, 3));
}

/// 501: what the first status of a ReplicaSet and of a Deployment look like, and the last.
#[test]
fn statuses_as_they_are_stored() {
    let mut world = World::new(501);
    world.create(&DEPLOYMENT, deployment(3, "25%", "25%"));
    world.settle();
    let sets: Vec<Value> =
        world.changes_of(&REPLICA_SET).iter().map(|change| change.object["status"].clone()).collect();
    assert_eq!(sets[0], json!({"replicas": 0}));
    assert_eq!(sets[1], json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1}));
    assert_eq!(
        sets[2],
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "terminatingReplicas": 0, "observedGeneration": 1})
    );
    let last = json!({
        "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, "terminatingReplicas": 0,
        "observedGeneration": 1,
    });
    assert_eq!(*sets.last().unwrap(), last);
    let mut status = world.get(&web())["status"].clone();
    let conditions = status.as_object_mut().unwrap().remove("conditions").unwrap();
    let last = json!({
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "terminatingReplicas": 0,
    });
    assert_eq!(status, last);
    let words: Vec<Value> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["type"], one["status"], one["reason"], one["message"]]))
        .collect();
    let name = world.names(&REPLICA_SET).remove(0);
    let expect = [
        json!(["Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."]),
        json!([
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            format!("ReplicaSet \"{name}\" has successfully progressed.")
        ]),
    ];
    assert_eq!(words, expect);
}
