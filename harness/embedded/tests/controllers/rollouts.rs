//! Rollouts and scalings of Deployments against the recordings of a real cluster, `50-deployments`.

use std::collections::BTreeSet;
use std::sync::Arc;

use embedded_cluster::kinds::{DEPLOYMENT, POD, REPLICA_SET};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, World, deployment, web};

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
    let revision = revision.to_string();
    let sets = world.list(&REPLICA_SET);
    let is_wanted =
        |set: &&Arc<Value>| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision.as_str();
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
    let names: BTreeSet<_> = finished.map(|c| object::name(&c.object).to_owned()).collect();
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
fn a_second_change_rolls_over_the_first() {
    check(
        519,
        deployment(3, 1, 0),
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
