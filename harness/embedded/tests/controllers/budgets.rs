//! PodDisruptionBudgets against the recording `60-pods/613-eviction`, and scheduling.

use embedded_cluster::controllers::DeleteOptions;
use embedded_cluster::kinds::{DEPLOYMENT, DISRUPTION_BUDGET, EVENT, NODE, POD};
use embedded_cluster::object::{Key, format_timestamp};
use embedded_cluster::store::Store;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::{World, deployment, web};

fn budget(name: &str, field: &str, value: impl Into<Value>) -> Value {
    let mut budget = json!({
        "metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    });
    budget["spec"][field] = value.into();
    budget
}

/// `[expected, desired, healthy, allowed]` and the reason.
fn status(world: &World, key: &Key) -> (Vec<i64>, String) {
    let status = world.get(key)["status"].clone();
    let counts = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"];
    let reason = status["conditions"][0]["reason"].as_str().unwrap_or_default().to_owned();
    (counts.iter().map(|field| status[field].as_i64().unwrap()).collect(), reason)
}

#[test]
fn budgets_of_two_pods() {
    let check = |field: &str, value: Value, counts: [i64; 4], reason: &str| {
        let mut world = World::new(613);
        world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
        let key = world.create(&DISRUPTION_BUDGET, budget("web", field, value.clone()));
        world.settle();
        assert_eq!(status(&world, &key), (counts.to_vec(), reason.to_owned()), "{field} {value}");
    };
    check("minAvailable", json!(1), [2, 1, 2, 1], "SufficientPods");
    check("minAvailable", json!("100%"), [2, 2, 2, 0], "InsufficientPods");
    check("minAvailable", json!("50%"), [2, 1, 2, 1], "SufficientPods");
    check("minAvailable", json!(3), [2, 3, 2, 0], "InsufficientPods");
    check("maxUnavailable", json!(0), [2, 2, 2, 0], "InsufficientPods");
    check("maxUnavailable", json!(1), [2, 1, 2, 1], "SufficientPods");
    check("maxUnavailable", json!("50%"), [2, 1, 2, 1], "SufficientPods");
}

#[test]
fn a_budget_follows_its_pods() {
    let mut world = World::new(613);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    let key = world.create(&DISRUPTION_BUDGET, budget("web", "minAvailable", 1));
    world.settle();
    let victim = Key::of(&POD, &world.list(&POD)[0]);
    // What granting an eviction writes.
    let now = format_timestamp(world.now);
    world.edit(&key, |budget| {
        budget["status"]["disruptedPods"] = json!({victim.name.as_str(): now});
        budget["status"]["disruptionsAllowed"] = 0.into();
    });
    world.step();
    assert_eq!(status(&world, &key).0, [2, 1, 1, 0], "granted, not begun");
    world.delete(&victim, &DeleteOptions::default());
    world.step();
    assert_eq!(status(&world, &key).0, [3, 1, 1, 0], "ending, and its replacement made");
    assert!(world.get(&key)["status"]["disruptedPods"].is_null());
    world.settle();
    assert_eq!(status(&world, &key).0, [2, 1, 2, 1]);
    world.edit(&web(), |web| web["spec"]["replicas"] = 0.into());
    world.settle();
    assert_eq!(status(&world, &key).0, [0, 1, 0, 0]);
}

#[test]
fn a_granted_eviction_that_never_comes_is_forgotten() {
    let mut world = World::new(613);
    world.create(&DEPLOYMENT, deployment(2, "25%", "25%"));
    let key = world.create(&DISRUPTION_BUDGET, budget("web", "minAvailable", 1));
    world.settle();
    let name = world.names(&POD).remove(0);
    let now = format_timestamp(world.now);
    world.edit(&key, |budget| budget["status"]["disruptedPods"] = json!({name: now}));
    world.seconds(119);
    assert_eq!(status(&world, &key).0, [2, 1, 1, 0]);
    world.seconds(2);
    assert_eq!(status(&world, &key).0, [2, 1, 2, 1]);
}

#[test]
fn a_pod_gets_the_node() {
    let mut world = World::new(601);
    let pod =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
    let key = world.create(&POD, pod("p"));
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "wait"}]);
    let gated = world.create(&POD, gated);
    world.step();
    let scheduled = world.get(&key);
    assert_eq!(scheduled["spec"]["nodeName"], "node");
    assert_eq!(scheduled["metadata"]["generation"], 1);
    let condition = json!({
        "type": "PodScheduled", "observedGeneration": 1, "status": "True", "lastProbeTime": null,
        "lastTransitionTime": format_timestamp(world.now),
    });
    assert_eq!(scheduled["status"]["conditions"], json!([condition]));
    let event = world.list(&EVENT).iter().find(|event| event["involvedObject"]["name"] == "p").cloned().unwrap();
    assert_eq!(
        (&event["reason"], &event["message"]),
        (&json!("Scheduled"), &json!("Successfully assigned n/p to node"))
    );
    assert!(world.get(&gated)["spec"]["nodeName"].is_null());
    world.edit(&gated, |pod| pod["spec"]["schedulingGates"] = json!([]));
    world.step();
    assert_eq!(world.get(&gated)["spec"]["nodeName"], "node");
}

#[test]
fn pods_wait_for_a_node() {
    let store = Store::new();
    let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
    store.create(&POD, pod).unwrap();
    let mut controllers = embedded_cluster::controllers::Controllers::new(store.clone(), 1);
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    controllers.step(now);
    let node_of = || store.get(&Key::new(&POD, "n", "p")).unwrap()["spec"]["nodeName"].clone();
    assert_eq!(node_of(), Value::Null);
    store.create(&NODE, json!({"metadata": {"name": "late"}})).unwrap();
    controllers.step(now);
    assert_eq!(node_of(), "late");
}
