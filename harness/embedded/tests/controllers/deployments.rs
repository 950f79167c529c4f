//! Timelines of Deployments against the recordings of a real cluster, `50-deployments`.

use embedded_cluster::controllers::{DeleteOptions, Deleted, Propagation};
use embedded_cluster::kinds::{DEPLOYMENT, POD, REPLICA_SET};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, World, deployment, template, web};

/// What someone does to the Deployment.
enum Step {
    Image(&'static str),
    Scale(i64),
    Set(&'static str, Value),
    /// Waits until all is quiet.
    Rest,
    Seconds(u32),
    /// `rollout undo --to-revision`.
    Undo(i64),
}

use Step::{Image, Rest, Scale, Seconds, Set, Undo};

fn play(world: &mut World, steps: &[Step]) {
    for step in steps {
        match step {
            Image(image) => {
                world.edit(&web(), |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = (*image).into())
            }
            Scale(replicas) => world.edit(&web(), |web| web["spec"]["replicas"] = (*replicas).into()),
            Set(field, value) => world.edit(&web(), |web| web["spec"][*field] = value.clone()),
            Rest => world.settle(),
            Seconds(seconds) => world.seconds(*seconds),
            Undo(revision) => undo(world, *revision),
        }
        world.step();
    }
}

fn undo(world: &mut World, revision: i64) {
    let sets = world.list(&REPLICA_SET);
    let is_wanted = |set: &&std::sync::Arc<Value>| {
        set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision.to_string()
    };
    let mut template = sets.iter().find(is_wanted).unwrap()["spec"]["template"].clone();
    template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    world.edit(&web(), |web| web["spec"]["template"] = template);
}

#[derive(Default)]
struct Expect {
    events: &'static [&'static str],
    sizes: &'static [&'static str],
    progress: &'static [&'static str],
}

fn check(case: u32, object: Value, steps: &[Step], expect: &Expect) -> World {
    let mut world = World::new(u64::from(case));
    world.create(&DEPLOYMENT, object);
    world.settle();
    // As in the recordings, conditions are watched from here on; events and sizes from the start.
    let before = world.progress().len();
    play(&mut world, steps);
    assert_eq!(world.events("deployment-controller"), expect.events, "events of {case}");
    assert_eq!(world.sizes(), expect.sizes, "sizes of {case}");
    assert_eq!(world.progress()[before..], *expect.progress, "progress of {case}");
    world
}

const ROLLED: &[&str] = &["NewReplicaSetCreated True", "ReplicaSetUpdated True", "NewReplicaSetAvailable True"];

#[test]
fn rolling_updates() {
    check(
        501,
        deployment(3, "25%", "25%"),
        &[],
        &Expect { events: &["up A from 0 to 3"], sizes: &["A 3"], progress: &[] },
    );
    check(
        502,
        deployment(3, 1, 0),
        &[Image("v2"), Rest],
        &Expect {
            events: &[
                "up A from 0 to 3",
                "up B from 0 to 1",
                "down A from 3 to 2",
                "up B from 1 to 2",
                "down A from 2 to 1",
                "up B from 2 to 3",
                "down A from 1 to 0",
            ],
            sizes: &["A 3 2 1 0", "B 1 2 3"],
            progress: ROLLED,
        },
    );
    check(
        503,
        deployment(3, 0, 1),
        &[Image("v2"), Rest],
        &Expect {
            events: &[
                "up A from 0 to 3",
                "down A from 3 to 2",
                "up B from 0 to 1",
                "down A from 2 to 1",
                "up B from 1 to 2",
                "down A from 1 to 0",
                "up B from 2 to 3",
            ],
            sizes: &["A 3 2 1 0", "B 0 1 2 3"],
            progress: ROLLED,
        },
    );
    check(
        504,
        deployment(4, "25%", "25%"),
        &[Image("v2"), Rest],
        &Expect {
            events: &[
                "up A from 0 to 4",
                "up B from 0 to 1",
                "down A from 4 to 3",
                "up B from 1 to 2",
                "down A from 3 to 2",
                "up B from 2 to 3",
                "down A from 2 to 1",
                "up B from 3 to 4",
                "down A from 1 to 0",
            ],
            sizes: &["A 4 3 2 1 0", "B 1 2 3 4"],
            progress: ROLLED,
        },
    );
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut object = deployment(2, 0, 0);
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    let world = check(
        505,
        object,
        &[Image("v2"), Rest],
        &Expect {
            events: &["up A from 0 to 2", "down A from 2 to 0", "up B from 0 to 2"],
            sizes: &["A 2 0", "B 2"],
            progress: &[
                "NewReplicaSetAvailable False",
                "NewReplicaSetCreated False",
                "ReplicaSetUpdated False",
                "NewReplicaSetAvailable True",
            ],
        },
    );
    let changes = world.changes();
    let set_b = changes.iter().rposition(|c| c.kind == &REPLICA_SET && c.verb == Verb::Added).unwrap();
    let finished = changes
        .iter()
        .filter(|c| c.kind == &POD && c.object["status"]["phase"] == "Succeeded" && c.version < changes[set_b].version);
    let names: std::collections::BTreeSet<_> = finished.map(|c| object::name(&c.object).to_owned()).collect();
    assert_eq!(names.len(), 2, "both old pods had ended before the new ReplicaSet was made");
}

#[test]
fn a_bad_image_times_out_and_is_undone() {
    let mut object = deployment(2, "25%", "25%");
    object["spec"]["progressDeadlineSeconds"] = 10.into();
    let world = check(
        506,
        object,
        &[Image("none"), Seconds(15), Undo(1), Rest],
        &Expect {
            events: &["up A from 0 to 2", "up B from 0 to 1", "down B from 1 to 0"],
            sizes: &["A 2", "B 1 0"],
            progress: &[
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "ProgressDeadlineExceeded True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
            ],
        },
    );
    let annotations = |letter: &str| {
        let letters = world.letters();
        let name = &letters.iter().find(|(_, one)| one == letter).unwrap().0;
        world.get(&Key::new(&REPLICA_SET, NAMESPACE_NAME, name))["metadata"]["annotations"].clone()
    };
    let prefix = "deployment.kubernetes.io";
    let expect = json!({
        format!("{prefix}/desired-replicas"): "2", format!("{prefix}/max-replicas"): "3",
        format!("{prefix}/revision"): "3", format!("{prefix}/revision-history"): "1",
    });
    assert_eq!(annotations("A"), expect);
    assert_eq!(annotations("B")[format!("{prefix}/revision")], "2");
    assert_eq!(world.get(&web())["metadata"]["annotations"][format!("{prefix}/revision")], "3");
    let timed_out = world.changes_of(&DEPLOYMENT).into_iter().find_map(|change| {
        let conditions = change.object["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|one| one["reason"] == "ProgressDeadlineExceeded")
    });
    let timed_out = timed_out.unwrap();
    let letters = world.letters();
    assert_eq!(timed_out["status"], "False");
    assert_eq!(timed_out["message"], format!("ReplicaSet \"{}\" has timed out progressing.", letters[1].0));
}

#[test]
fn undo_renumbers_revisions() {
    let world = check(
        507,
        deployment(1, "25%", "25%"),
        &[Image("v2"), Rest, Image("v3"), Rest, Undo(2), Rest, Undo(1), Rest],
        &Expect {
            events: &[
                "up A from 0 to 1",
                "up B from 0 to 1",
                "down A from 1 to 0",
                "up C from 0 to 1",
                "down B from 1 to 0",
                "up B from 0 to 1 x2",
                "down C from 1 to 0",
                "up A from 0 to 1 x2",
                "down B from 1 to 0 x2",
            ],
            sizes: &["A 1 0 1", "B 1 0 1 0", "C 1 0"],
            progress: &[
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
            ],
        },
    );
    let mut revisions: Vec<Value> = world
        .list(&REPLICA_SET)
        .iter()
        .map(|set| {
            let annotation =
                |name: &str| set["metadata"]["annotations"][format!("deployment.kubernetes.io/{name}")].clone();
            json!([annotation("revision"), annotation("revision-history"), set["spec"]["replicas"]])
        })
        .collect();
    revisions.sort_by_key(Value::to_string);
    assert_eq!(revisions, [json!(["3", null, 0]), json!(["4", "2", 0]), json!(["5", "1", 1])]);
}

#[test]
fn history_is_limited() {
    let mut object = deployment(1, "25%", "25%");
    object["spec"]["revisionHistoryLimit"] = 1.into();
    let rolled: Vec<&'static str> = ROLLED.repeat(3);
    let world = check(
        508,
        object,
        &[Image("v2"), Rest, Image("v3"), Rest, Image("v4"), Rest, Set("revisionHistoryLimit", json!(0)), Rest],
        &Expect {
            events: &[
                "up A from 0 to 1",
                "up B from 0 to 1",
                "down A from 1 to 0",
                "up C from 0 to 1",
                "down B from 1 to 0",
                "up D from 0 to 1",
                "down C from 1 to 0",
            ],
            sizes: &["A 1 0 gone", "B 1 0 gone", "C 1 0 gone", "D 1"],
            progress: rolled.leak(),
        },
    );
    assert_eq!(world.list(&REPLICA_SET).len(), 1);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    check(
        509,
        deployment(2, "25%", "25%"),
        &[Set("paused", json!(true)), Rest, Image("v2"), Rest, Scale(3), Rest, Set("paused", Value::Null), Rest],
        &Expect {
            events: &[
                "up A from 0 to 2",
                "up A from 2 to 3",
                "up B from 0 to 1",
                "down A from 3 to 2",
                "up B from 1 to 2",
                "down A from 2 to 1",
                "up B from 2 to 3",
                "down A from 1 to 0",
            ],
            sizes: &["A 2 3 2 1 0", "B 1 2 3"],
            progress: &[
                "DeploymentPaused True",
                "DeploymentPaused False",
                "DeploymentPaused True",
                "DeploymentResumed True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
            ],
        },
    );
}

#[test]
fn scaling_up_and_down() {
    let world = check(
        510,
        deployment(2, "25%", "25%"),
        &[Scale(4), Rest, Scale(3), Rest, Scale(1), Rest, Scale(0), Rest],
        &Expect {
            events: &[
                "up A from 0 to 2",
                "up A from 2 to 4",
                "down A from 4 to 3",
                "down A from 3 to 1",
                "down A from 1 to 0",
            ],
            sizes: &["A 2 4 3 1 0"],
            progress: &["NewReplicaSetAvailable False", "NewReplicaSetAvailable True"],
        },
    );
    let status = world.get(&web())["status"].clone();
    let mut counts = status.as_object().unwrap().clone();
    counts.remove("conditions");
    assert_eq!(
        Value::from(counts),
        json!({"observedGeneration": 5, "terminatingReplicas": 0}),
        "counts of zero are absent"
    );
}

#[test]
fn pods_go_by_deletion_cost_then_the_younger_ones() {
    let mut world = World::new(510);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    world.settle();
    let old = world.names(&POD);
    play(&mut world, &[Scale(4), Rest]);
    let key = Key::new(&POD, NAMESPACE_NAME, &old[0]);
    world.edit(&key, |pod| pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = "-10".into());
    play(&mut world, &[Scale(3), Rest]);
    assert!(!world.names(&POD).contains(&old[0]), "the cheap one went");
    play(&mut world, &[Scale(1), Rest]);
    assert_eq!(world.names(&POD), [old[1].clone()], "the younger ones went");
}

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
fn a_second_change_rolls_over_the_first() {
    let mut object = deployment(3, 1, 0);
    object["spec"]["template"] = template("v1");
    check(
        519,
        object,
        &[Image("v2 none"), Seconds(1), Image("v3"), Rest],
        &Expect {
            events: &[
                "up A from 0 to 3",
                "up B from 0 to 1",
                "down B from 1 to 0",
                "up C from 0 to 1",
                "down A from 3 to 2",
                "up C from 1 to 2",
                "down A from 2 to 1",
                "up C from 2 to 3",
                "down A from 1 to 0",
            ],
            sizes: &["A 3 2 1 0", "B 1 0", "C 0 1 2 3"],
            progress: &[
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "NewReplicaSetAvailable True",
            ],
        },
    );
}

#[test]
fn scaling_a_stuck_rollout_is_proportional() {
    check(
        520,
        deployment(4, 2, 1),
        &[Image("none"), Rest, Scale(8), Rest, Scale(3), Rest],
        &Expect {
            events: &[
                "up A from 0 to 4",
                "up B from 0 to 2",
                "down A from 4 to 3",
                "up B from 2 to 3",
                "up B from 3 to 5",
                "up A from 3 to 5",
                "down A from 5 to 2",
                "down B from 5 to 3",
            ],
            sizes: &["A 4 3 5 2", "B 2 3 5 3"],
            progress: &[
                "NewReplicaSetCreated True",
                "ReplicaSetUpdated True",
                "ReplicaSetUpdated False",
                "ReplicaSetUpdated True",
            ],
        },
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
