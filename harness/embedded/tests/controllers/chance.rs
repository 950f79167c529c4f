//! Whatever happens, in whatever order: the promises that hold throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use embedded_cluster::controllers::{DeleteOptions, Propagation};
use embedded_cluster::kinds::{self, CONFIG_MAP, DEPLOYMENT, EVENT, POD, STATEFUL_SET};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, Pace, World, deployment, template, web};

#[derive(Debug, Clone)]
enum Chance {
    Image(u8),
    Scale(i64),
    /// A pod becomes unready.
    Sick(usize),
    /// A pod becomes ready, whether it was or not.
    Well(usize),
    Fail(usize),
    Delete(usize, Option<i64>),
    Pace(u32, u32),
    Pause(bool),
    Seconds(u32),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        2 => (0..4_u8).prop_map(Chance::Image),
        1 => (0..7_i64).prop_map(Chance::Scale),
        3 => (0..9_usize).prop_map(Chance::Sick),
        2 => (0..9_usize).prop_map(Chance::Well),
        1 => (0..9_usize).prop_map(Chance::Fail),
        2 => (0..9_usize, prop::option::of(0..3_i64)).prop_map(|(index, grace)| Chance::Delete(index, grace)),
        1 => (1..5_u32, 1..5_u32).prop_map(|(start, end)| Chance::Pace(start, end)),
        1 => any::<bool>().prop_map(Chance::Pause),
        4 => (1..4_u32).prop_map(Chance::Seconds),
    ]
}

fn happen(world: &mut World, key: &Key, event: &Chance) {
    let pods = world.list(&POD);
    let pod =
        |index: usize| pods.get(index).filter(|pod| pod["status"]["phase"] == "Running").map(|pod| Key::of(&POD, pod));
    match event {
        Chance::Image(version) => world.edit(key, |object| {
            let image = if *version == 3 { "none".to_owned() } else { format!("v{version}") };
            object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        }),
        Chance::Scale(replicas) => world.edit(key, |object| object["spec"]["replicas"] = (*replicas).into()),
        Chance::Sick(index) => pod(*index).iter().for_each(|pod| world.set_phase(pod, "Running", false)),
        Chance::Well(index) => pod(*index).iter().for_each(|pod| world.set_phase(pod, "Running", true)),
        Chance::Fail(index) => pod(*index).iter().for_each(|pod| world.set_phase(pod, "Failed", false)),
        Chance::Delete(index, grace) => pod(*index).iter().for_each(|pod| {
            world.delete(pod, &DeleteOptions { grace_seconds: *grace, ..DeleteOptions::default() });
        }),
        Chance::Pace(start, end) => world.pace = Pace { start: *start, end: *end },
        Chance::Pause(paused) => {
            if key.kind == &DEPLOYMENT {
                world.edit(key, |object| object["spec"]["paused"] = (*paused).into());
            }
        }
        Chance::Seconds(_) => {}
    }
}

fn is_available(pod: &Value) -> bool {
    !object::is_terminating(pod) && pod["status"]["phase"] == "Running" && object::condition_is_true(pod, "Ready")
}

fn is_active(pod: &Value) -> bool {
    !object::is_terminating(pod) && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Limits of a rollout, followed pod by pod through every change.
struct Limits {
    surge: i64,
    unavailable: i64,
}

impl Limits {
    /// Lets `act` happen and checks what the controllers did meanwhile: only they begin deletions then.
    fn watch(&self, world: &mut World, may_lose: bool, act: impl FnOnce(&mut World)) {
        let desired = world.get(&web())["spec"]["replicas"].as_i64().unwrap();
        let since = world.store.version();
        let mut pods: BTreeMap<String, Arc<Value>> =
            world.list(&POD).into_iter().map(|pod| (object::uid(&pod).to_owned(), pod)).collect();
        act(world);
        for change in world.store.changes_since(since).unwrap().iter().filter(|change| change.kind == &POD) {
            let uid = object::uid(&change.object).to_owned();
            let previous = match change.verb {
                Verb::Deleted => pods.remove(&uid),
                _ => pods.insert(uid, Arc::clone(&change.object)),
            };
            let tally =
                |wanted: fn(&Value) -> bool| i64::try_from(pods.values().filter(|pod| wanted(pod)).count()).unwrap();
            if change.verb == Verb::Added {
                let (active, most) = (tally(is_active), desired + self.surge);
                assert!(active <= most, "{active} pods where {most} are the most");
            }
            let lost = previous.is_some_and(|pod| is_available(&pod)) && object::is_terminating(&change.object);
            if lost && !may_lose {
                let (available, fewest) = (tally(is_available), desired - self.unavailable);
                assert!(available >= fewest, "{available} available where {fewest} are the fewest");
            }
        }
    }
}

/// No object has an owner that is not there.
fn check_owners(world: &World) {
    let all: Vec<Arc<Value>> =
        kinds::ALL.iter().filter(|kind| **kind != &EVENT).flat_map(|kind| world.list(kind)).collect();
    let uids: BTreeSet<&str> = all.iter().map(|object| object::uid(object)).collect();
    for object in &all {
        for owner in object["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
            assert!(uids.contains(owner["uid"].as_str().unwrap()), "{} has a dead owner", object::name(object));
        }
    }
}

fn heal(world: &mut World, key: &Key) {
    world.pace = Pace { start: 1, end: 1 };
    world.edit(key, |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = "v1".into();
        object["spec"]["paused"] = Value::Null;
    });
    world.settle();
    for pod in world.list(&POD).iter().filter(|pod| pod["status"]["phase"] == "Running") {
        world.set_phase(&Key::of(&POD, pod), "Running", true);
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_deployment_keeps_its_limits_and_heals(
        seed in any::<u64>(),
        replicas in 0..6_i64,
        surge in 0..3_i64,
        unavailable in 0..3_i64,
        events in prop::collection::vec(chance(), 1..30),
    ) {
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        let limits = Limits { surge, unavailable };
        let mut world = World::new(seed);
        world.create(&DEPLOYMENT, deployment(replicas, surge, unavailable));
        world.settle();
        for event in &events {
            happen(&mut world, &web(), event);
            // Scaling down takes what is too many, available or not.
            limits.watch(&mut world, matches!(event, Chance::Scale(_)), World::step);
            if let Chance::Seconds(seconds) = event {
                limits.watch(&mut world, false, |world| world.seconds(*seconds));
            }
        }
        heal(&mut world, &web());
        let desired = world.get(&web())["spec"]["replicas"].as_i64().unwrap();
        let status = world.get(&web())["status"].clone();
        prop_assert_eq!(status["availableReplicas"].as_i64().unwrap_or(0), desired);
        prop_assert_eq!(status["updatedReplicas"].as_i64().unwrap_or(0), desired);
        let active = world.list(&POD).iter().filter(|pod| is_active(pod)).count();
        prop_assert_eq!(i64::try_from(active).unwrap(), desired);
        check_owners(&world);
    }

    #[test]
    fn a_stateful_set_keeps_its_order_and_heals(
        seed in any::<u64>(),
        replicas in 0..5_i64,
        events in prop::collection::vec(chance(), 1..30),
    ) {
        let db = Key::new(&STATEFUL_SET, NAMESPACE_NAME, "db");
        let mut world = World::new(seed);
        world.create(&STATEFUL_SET, json!({
            "metadata": {"name": "db"}, "status": {"replicas": 0, "availableReplicas": 0},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1"),
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            },
        }));
        world.settle();
        for event in &events {
            happen(&mut world, &db, event);
            check_order(&mut world, World::step);
            if let Chance::Seconds(seconds) = event {
                check_order(&mut world, |world| world.seconds(*seconds));
            }
        }
        world.edit(&db, |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = "v1".into());
        world.settle();
        // A pod that is not ready stays until someone deletes it.
        for pod in world.list(&POD).iter().filter(|pod| !is_available(pod)) {
            world.delete(&Key::of(&POD, pod), &DeleteOptions::default());
        }
        heal(&mut world, &db);
        let set = world.get(&db);
        let names: Vec<String> = (0..set["spec"]["replicas"].as_i64().unwrap()).map(|n| format!("db-{n}")).collect();
        prop_assert_eq!(world.names(&POD), names);
        prop_assert_eq!(&set["status"]["currentRevision"], &set["status"]["updateRevision"]);
        prop_assert!(world.list(&POD).iter().all(|pod| is_available(pod)));
        check_owners(&world);
    }

    #[test]
    fn garbage_collection_leaves_what_has_a_living_owner(
        owners in prop::collection::vec(prop::collection::btree_set((0..8_usize, any::<bool>()), 0..3), 1..9),
        deletions in prop::collection::vec((0..9_usize, 0..4_u8), 1..6),
    ) {
        let mut world = World::new(901);
        let mut model: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (index, wanted) in owners.iter().enumerate() {
            let wanted: BTreeMap<usize, bool> = wanted.iter().copied().filter(|(owner, _)| *owner < index).collect();
            let references: Vec<Value> = wanted.iter().map(|(owner, blocks)| {
                let owner = world.get(&map_key(*owner));
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "name": object::name(&owner), "uid": object::uid(&owner),
                    "blockOwnerDeletion": blocks,
                })
            }).collect();
            let metadata = json!({"name": map_key(index).name, "ownerReferences": references});
            world.create(&CONFIG_MAP, json!({"metadata": metadata}));
            model.insert(index, wanted.into_keys().collect());
        }
        for (index, policy) in deletions {
            let propagation = match policy {
                0 => None,
                1 => Some(Propagation::Background),
                2 => Some(Propagation::Foreground),
                _ => Some(Propagation::Orphan),
            };
            if model.contains_key(&index) {
                world.delete(&map_key(index), &DeleteOptions { propagation, ..DeleteOptions::default() });
                world.step();
                forget(&mut model, index, propagation == Some(Propagation::Orphan));
            }
            let names: Vec<String> = model.keys().map(|index| map_key(*index).name).collect();
            prop_assert_eq!(world.names(&CONFIG_MAP), names);
            check_owners(&world);
        }
    }
}

fn map_key(index: usize) -> Key {
    Key::new(&CONFIG_MAP, NAMESPACE_NAME, &format!("m{index}"))
}

/// What deletion means: dependents lose the owner, and go if it was the last and did not orphan them.
fn forget(model: &mut BTreeMap<usize, BTreeSet<usize>>, index: usize, orphan: bool) {
    model.remove(&index);
    let mut left: Vec<usize> = Vec::new();
    for (dependent, owners) in model.iter_mut() {
        if owners.remove(&index) && owners.is_empty() && !orphan {
            left.push(*dependent);
        }
    }
    left.into_iter().for_each(|dependent| forget(model, dependent, false));
}

/// A pod is only made once all pods before it are ready.
fn check_order(world: &mut World, act: impl FnOnce(&mut World)) {
    let since = world.store.version();
    let mut pods: BTreeMap<String, Arc<Value>> =
        world.list(&POD).into_iter().map(|pod| (object::name(&pod).to_owned(), pod)).collect();
    act(world);
    for change in world.store.changes_since(since).unwrap().iter().filter(|change| change.kind == &POD) {
        let name = object::name(&change.object).to_owned();
        if change.verb == Verb::Added {
            let ordinal: u32 = name.strip_prefix("db-").unwrap().parse().unwrap();
            let before = (0..ordinal).map(|lower| pods.get(&format!("db-{lower}")));
            assert!(before.into_iter().all(|pod| pod.is_some_and(|pod| is_available(pod))), "{name} came too early");
        }
        match change.verb {
            Verb::Deleted => pods.remove(&name),
            _ => pods.insert(name, Arc::clone(&change.object)),
        };
    }
}
