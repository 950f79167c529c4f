//! EndpointSlices and Endpoints against the recording `75-services/752-endpointslices`.

use embedded_cluster::controllers::{DeleteOptions, Deleted};
use embedded_cluster::kinds::{ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE};
use embedded_cluster::object::{self, Key};
use serde_json::{Value, json};

use crate::world::{NAMESPACE_NAME, Pace, World};

fn service(name: &str, target: impl Into<Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "s"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": target.into()}],
        },
    })
}

fn pod(world: &mut World, name: &str, ports: Value) -> Key {
    let object = json!({
        "metadata": {"name": name, "labels": {"app": "s"}}, "status": {"phase": "Pending"},
        "spec": {"containers": [{"name": "c", "image": "v1", "ports": ports}], "terminationGracePeriodSeconds": 30},
    });
    world.create(&POD, object)
}

/// A Service's slices as `ports: pod ready serving terminating, …`, with their generations.
fn slices(world: &World, service: &str) -> Vec<String> {
    let of_service =
        |slice: &&std::sync::Arc<Value>| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service;
    let line = |slice: &std::sync::Arc<Value>| {
        let ports = match slice["ports"].as_array() {
            Some(ports) => {
                ports.iter().map(|port| format!("{}:{}", port["name"].as_str().unwrap(), port["port"])).collect()
            }
            None => vec!["null".to_owned()],
        };
        let endpoint = |endpoint: &Value| {
            let flag = |name: &str, letter: char| if endpoint["conditions"][name] == true { letter } else { '-' };
            let (ready, serving, ending) = (flag("ready", 'r'), flag("serving", 's'), flag("terminating", 't'));
            format!("{} {ready}{serving}{ending}", endpoint["targetRef"]["name"].as_str().unwrap())
        };
        let endpoints = slice["endpoints"]
            .as_array()
            .map_or("null".to_owned(), |all| all.iter().map(endpoint).collect::<Vec<_>>().join(", "));
        format!("{} {endpoints}", ports.join(","))
    };
    let mut lines: Vec<String> = world.list(&ENDPOINT_SLICE).iter().filter(of_service).map(line).collect();
    lines.sort();
    lines
}

fn subsets(world: &World, service: &str) -> Value {
    let endpoints = world.get(&Key::new(&ENDPOINTS, NAMESPACE_NAME, service));
    let names = |list: &Value| -> Vec<Value> {
        list.as_array().into_iter().flatten().map(|address| address["targetRef"]["name"].clone()).collect()
    };
    endpoints["subsets"].as_array().map_or(Value::Null, |subsets| {
        subsets.iter().map(|subset| json!([names(&subset["addresses"]), names(&subset["notReadyAddresses"])])).collect()
    })
}

#[test]
fn slices_follow_their_pods() {
    let mut world = World::new(752);
    world.pace = Pace { start: 1, end: 3 };
    world.create(&SERVICE, service("s", 8080));
    let mut published = service("nr", 8080);
    published["spec"]["publishNotReadyAddresses"] = true.into();
    let published = world.create(&SERVICE, published);
    world.create(&SERVICE, service("named", "http"));
    world.step();
    for name in ["s", "nr", "named"] {
        assert_eq!(slices(&world, name), ["null null"]);
        assert_eq!(subsets(&world, name), Value::Null);
    }
    let http = json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}]);
    let bad = pod(&mut world, "bad", http.clone());
    let good = pod(&mut world, "good", http);
    let done = pod(&mut world, "done", Value::Null);
    world.step();
    for (key, ready) in [(&bad, false), (&good, true), (&done, true)] {
        world.set_phase(key, "Running", ready);
        world.step();
    }
    assert_eq!(slices(&world, "s"), ["http:8080 bad ---, good rs-, done rs-"]);
    assert_eq!(slices(&world, "nr"), ["http:8080 bad r--, good rs-, done rs-"]);
    assert_eq!(slices(&world, "named"), ["http:8080 bad ---, good rs-", "null done rs-"]);
    assert_eq!(subsets(&world, "s"), json!([[["good", "done"], ["bad"]]]));
    assert_eq!(subsets(&world, "named"), json!([[["good"], ["bad"]]]));
    world.set_phase(&done, "Running", false);
    world.step();
    assert_eq!(slices(&world, "nr"), ["http:8080 bad r--, good rs-, done r--"]);
    world.set_phase(&done, "Succeeded", false);
    world.delete(&good, &DeleteOptions::default());
    world.step();
    assert_eq!(slices(&world, "s"), ["http:8080 bad ---, good -st"], "607: it leaves before it ends");
    assert_eq!(slices(&world, "nr"), ["http:8080 bad r--, good rst"]);
    assert_eq!(slices(&world, "named"), ["http:8080 bad ---, good -st"]);
    assert_eq!(subsets(&world, "s"), json!([[[], ["bad"]]]));
    assert_eq!(subsets(&world, "nr"), json!([[["bad", "good"], []]]));
    world.settle();
    assert_eq!(slices(&world, "s"), ["http:8080 bad ---"]);
    let s = Key::new(&SERVICE, NAMESPACE_NAME, "s");
    world.edit(&s, |service| service["spec"]["selector"] = json!({"app": "zz"}));
    world.step();
    assert_eq!(slices(&world, "s"), ["null null"], "an empty slice stays, with null lists");
    assert_eq!(subsets(&world, "s"), Value::Null);
    assert!(matches!(world.delete(&published, &DeleteOptions::default()), Deleted::Object(_)));
    world.step();
    assert!(slices(&world, "nr").is_empty());
    assert_eq!(world.names(&ENDPOINTS), ["named", "s"]);
}

#[test]
fn a_slice_as_it_is_stored() {
    let mut world = World::new(752);
    let mut headless = service("s", "http");
    headless["spec"]["clusterIP"] = "None".into();
    world.create(&SERVICE, headless);
    let key = pod(&mut world, "good", json!([{"name": "http", "containerPort": 8080}]));
    world.edit(&key, |pod| {
        pod["spec"]["hostname"] = "good".into();
        pod["spec"]["subdomain"] = "s".into();
    });
    world.settle();
    let mut slice = Value::clone(&world.list(&ENDPOINT_SLICE)[0]);
    assert!(object::name(&slice).starts_with("s-"));
    assert_eq!(slice["metadata"]["generation"], 2);
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    let labels = json!({
        "team": "a", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "s", "service.kubernetes.io/headless": "",
    });
    assert_eq!(slice["metadata"]["labels"], labels);
    slice.as_object_mut().unwrap().remove("metadata");
    let pod = world.get(&key);
    let target = json!({"kind": "Pod", "namespace": NAMESPACE_NAME, "name": "good", "uid": object::uid(&pod)});
    let expect = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "endpoints": [{
            "addresses": [pod["status"]["podIP"]], "conditions": {"ready": true, "serving": true, "terminating": false},
            "hostname": "good", "nodeName": "node", "targetRef": target,
        }],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    assert_eq!(slice, expect);
}

#[test]
fn a_service_without_selector_has_no_slices() {
    let mut world = World::new(1);
    let mut bare = service("s", 8080);
    bare["spec"].as_object_mut().unwrap().remove("selector");
    world.create(&SERVICE, bare);
    pod(&mut world, "good", Value::Null);
    world.settle();
    assert_eq!((world.list(&ENDPOINT_SLICE).len(), world.list(&ENDPOINTS).len()), (0, 0));
}
