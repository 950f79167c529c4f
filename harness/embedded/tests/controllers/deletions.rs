//! Deletion: pods' grace, preconditions, finalizers, owners, namespaces (`60-pods`, `20-crud`, `90-gc`).

use embedded_cluster::controllers::{
    DeleteOptions, Deleted, Propagation, check_namespace_open, delete_at, finish_deletion,
};
use embedded_cluster::kinds::{CONFIG_MAP, DEPLOYMENT, ENDPOINTS, Kind, NAMESPACE, POD, SERVICE};
use embedded_cluster::object::{self, Key};
use embedded_cluster::store::Verb;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, World, deployment};

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn running_pod(world: &mut World, grace: i64) -> Key {
    let object = json!({
        "metadata": {"name": "p"}, "status": {"phase": "Running"},
        "spec": {"nodeName": "node", "containers": [], "terminationGracePeriodSeconds": grace},
    });
    world.create(&POD, object)
}

/// `[deletionTimestamp in seconds from now, grace, generation]`, or null where it is gone.
fn deletion(world: &World, key: &Key) -> Value {
    let metadata = world.get(key)["metadata"].clone();
    let Some(timestamp) = metadata["deletionTimestamp"].as_str() else { return Value::Null };
    let due: jiff::Timestamp = timestamp.parse().unwrap();
    json!([due.duration_since(world.now).as_secs(), metadata["deletionGracePeriodSeconds"], metadata["generation"]])
}

#[test]
fn grace_of_pods() {
    // The first delete, then a later one two seconds on (608).
    let check = |spec: i64, first: Option<i64>, then: Option<Option<i64>>, expect: Value| {
        let mut world = World::new(1);
        let key = running_pod(&mut world, spec);
        let options = |seconds| DeleteOptions { grace_seconds: seconds, ..DeleteOptions::default() };
        delete_at(&world.store, &key, &options(first), world.now).unwrap();
        if let Some(then) = then {
            world.now += SignedDuration::from_secs(2);
            delete_at(&world.store, &key, &options(then), world.now).unwrap();
        }
        assert_eq!(deletion(&world, &key), expect, "{spec} {first:?} {then:?}");
    };
    check(6, None, None, json!([6, 6, 2]));
    check(6, Some(60), None, json!([60, 60, 2]));
    check(6, Some(0), None, Value::Null);
    check(0, None, None, Value::Null);
    check(6, Some(-1), None, json!([1, 1, 2]));
    check(-5, None, None, json!([1, 1, 2]));
    check(60, None, Some(Some(4)), json!([2, 4, 2])); // shorter, counted from the first delete
    check(6, None, Some(Some(30)), json!([4, 6, 2])); // never longer
    check(6, None, Some(None), json!([4, 6, 2]));
    check(6, None, Some(Some(-1)), json!([-1, 1, 2]));
    check(6, None, Some(Some(0)), Value::Null);
}

#[test]
fn pods_that_never_ran_or_have_ended_go_at_once() {
    let check = |change: fn(&mut Value)| {
        let mut world = World::new(1);
        let key = running_pod(&mut world, 30);
        world.edit(&key, change);
        let Deleted::Object(last) = world.delete(&key, &DeleteOptions::default()) else { panic!("a status") };
        assert_eq!(last["metadata"]["deletionGracePeriodSeconds"], 0);
        assert_eq!(world.get(&key), Value::Null);
    };
    check(|pod| pod["spec"].as_object_mut().map_or((), |spec| drop(spec.remove("nodeName"))));
    check(|pod| pod["status"]["phase"] = "Succeeded".into());
    check(|pod| pod["status"]["phase"] = "Failed".into());
}

#[test]
fn a_forced_deletion_is_seen_as_two_changes() {
    let mut world = World::new(608);
    let key = running_pod(&mut world, 30);
    world.record_from_here();
    world.delete(&key, &grace(0));
    let verbs: Vec<_> = world.changes_of(&POD).iter().map(|change| change.verb).collect();
    assert_eq!(verbs, [Verb::Modified, Verb::Deleted]);
}

fn config_map(world: &mut World, name: &str, metadata: &Value) -> Key {
    let mut object = json!({"metadata": metadata, "data": {"a": "1"}});
    object["metadata"]["name"] = name.into();
    world.create(&CONFIG_MAP, object)
}

#[test]
fn preconditions() {
    let mut world = World::new(201);
    let key = config_map(&mut world, "a", &json!({}));
    let stored = world.get(&key);
    let check = |options: DeleteOptions, message: String| {
        let status = delete_at(&world.store, &key, &options, world.now).unwrap_err();
        assert_eq!((status.code, status.reason), (409, "Conflict"));
        assert_eq!(status.message, message);
        assert_eq!(status.body()["details"], json!({"name": "a", "kind": "ConfigMap"}));
    };
    let uid = "00000000-0000-0000-0000-000000000000";
    check(
        DeleteOptions { uid: Some(uid.into()), ..DeleteOptions::default() },
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition ({uid}) does not match the UID \
             in record ({}). The object might have been deleted and then recreated",
            object::uid(&stored)
        ),
    );
    check(
        DeleteOptions { resource_version: Some("1".into()), ..DeleteOptions::default() },
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not match \
             the ResourceVersion in record ({}). The object might have been modified",
            stored["metadata"]["resourceVersion"].as_str().unwrap()
        ),
    );
    let right = DeleteOptions { uid: Some(object::uid(&stored).into()), ..DeleteOptions::default() };
    assert!(matches!(world.delete(&key, &right), Deleted::Gone(_)));
    let gone = delete_at(&world.store, &key, &right, world.now).unwrap_err();
    assert_eq!((gone.code, gone.message.as_str()), (404, "configmaps \"a\" not found"));
}

#[test]
fn a_finalizer_holds_until_it_is_removed() {
    let mut world = World::new(902);
    let key = config_map(&mut world, "a", &json!({"finalizers": ["example.com/hold"]}));
    let Deleted::Object(held) = world.delete(&key, &DeleteOptions::default()) else { panic!("gone") };
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    let version = world.store.version();
    let again = world.delete(&key, &DeleteOptions::default());
    assert_eq!((again, world.store.version()), (Deleted::Object(held), version), "a second delete changes nothing");
    finish_deletion(&world.store, &key);
    assert_ne!(world.get(&key), Value::Null);
    world.edit(&key, |object| object["metadata"]["finalizers"] = Value::Null);
    assert_eq!(world.get(&key), Value::Null);
}

fn reference(kind: &Kind, owner: &Value) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": object::name(owner), "uid": object::uid(owner)})
}

#[test]
fn dependents_follow_their_owners() {
    let mut world = World::new(901);
    let owners = ["owner", "owner2"].map(|name| config_map(&mut world, name, &json!({})));
    let references = owners.clone().map(|owner| reference(&CONFIG_MAP, &world.get(&owner)));
    let child = config_map(&mut world, "child", &json!({"ownerReferences": [references[0]]}));
    let grandchild = reference(&CONFIG_MAP, &world.get(&child));
    config_map(&mut world, "grandchild", &json!({"ownerReferences": [grandchild]}));
    let both = config_map(&mut world, "both", &json!({"ownerReferences": references}));
    let never = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "1111"}]);
    config_map(&mut world, "dangling", &json!({"ownerReferences": never}));
    let reused = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "1111"}]);
    config_map(&mut world, "another-uid", &json!({"ownerReferences": reused}));
    let unserved = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "1111"}]);
    config_map(&mut world, "unserved-owner", &json!({"ownerReferences": unserved}));
    world.step();
    let expect = ["both", "child", "grandchild", "owner", "owner2", "unserved-owner"];
    assert_eq!(world.names(&CONFIG_MAP), expect, "owners that do not exist");
    world.delete(&owners[0], &DeleteOptions::default());
    world.step();
    assert_eq!(world.names(&CONFIG_MAP), ["both", "owner2", "unserved-owner"]);
    assert_eq!(world.get(&both)["metadata"]["ownerReferences"], json!([references[1]]));
    world.delete(&owners[1], &DeleteOptions::default());
    world.step();
    assert_eq!(world.names(&CONFIG_MAP), ["unserved-owner"]);
}

#[test]
fn a_foreground_deletion_waits_for_what_blocks_it() {
    let mut world = World::new(901);
    let owner = config_map(&mut world, "owner", &json!({}));
    let mut blocking = reference(&CONFIG_MAP, &world.get(&owner));
    blocking["blockOwnerDeletion"] = true.into();
    let held =
        config_map(&mut world, "held", &json!({"ownerReferences": [blocking], "finalizers": ["example.com/hold"]}));
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    world.delete(&owner, &foreground);
    world.step();
    assert_eq!(world.names(&CONFIG_MAP), ["held", "owner"]);
    assert!(object::is_terminating(&world.get(&held)));
    world.edit(&held, |object| object["metadata"]["finalizers"] = Value::Null);
    world.step();
    assert!(world.names(&CONFIG_MAP).is_empty());
}

#[test]
fn a_namespace_ends_its_pods_then_everything_then_itself() {
    let mut world = World::new(903);
    world.create(&DEPLOYMENT, deployment(1, "25%", "25%"));
    world.create(
        &SERVICE,
        json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    let held = config_map(&mut world, "held", &json!({"finalizers": ["example.com/hold"]}));
    world.settle();
    world.record_from_here();
    let namespace = Key::new(&NAMESPACE, "", NAMESPACE_NAME);
    let Deleted::Object(marked) = world.delete(&namespace, &DeleteOptions::default()) else { panic!("gone") };
    assert_eq!(
        (&marked["status"]["phase"], &marked["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    let refused = check_namespace_open(&world.store, &Key::new(&CONFIG_MAP, NAMESPACE_NAME, "late")).unwrap_err();
    let message = format!(
        "configmaps \"late\" is forbidden: unable to create new content in namespace {NAMESPACE_NAME} because it is being \
         terminated"
    );
    assert_eq!((refused.code, refused.reason, refused.message), (403, "Forbidden", message));
    assert_eq!(refused.details["causes"][0]["reason"], "NamespaceTerminating");
    world.step();
    assert!(object::is_terminating(&world.list(&POD)[0]), "pods end first, with their grace");
    assert_eq!(world.list(&DEPLOYMENT).len(), 1);
    world.seconds(10);
    assert_eq!((world.list(&DEPLOYMENT).len(), world.list(&POD).len(), world.list(&ENDPOINTS).len()), (0, 0, 0));
    assert_eq!(world.get(&namespace)["status"]["phase"], "Terminating", "a finalizer holds it");
    world.edit(&held, |object| object["metadata"]["finalizers"] = Value::Null);
    world.step();
    assert_eq!(world.get(&namespace), Value::Null);
    let added = world.changes().iter().filter(|change| change.verb == Verb::Added).count();
    assert_eq!(added, 0, "nothing new was made in it");
}
