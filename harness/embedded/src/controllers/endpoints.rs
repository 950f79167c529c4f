//! EndpointSlices, and the older Endpoints, of Services: which addresses stand behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::action::Action;
use super::facts;
use crate::kinds::{ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE};
use crate::object::{self, Key};
use crate::store::Store;

/// The label that names a slice's Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SLICE_MANAGER: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const MANAGER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What a look at a Service sees.
pub(crate) struct View {
    /// The Service.
    pub(crate) service: Arc<Value>,
    /// The pods it selects.
    pub(crate) pods: Vec<Arc<Value>>,
    /// Its slices.
    pub(crate) slices: Vec<Arc<Value>>,
    /// The Endpoints of its name.
    pub(crate) endpoints: Option<Arc<Value>>,
}

/// Reads the view; `None` where the Service is gone.
pub(crate) fn view(store: &Store, key: &Key) -> Option<View> {
    let service = store.get(key)?;
    let selector = &service["spec"]["selector"];
    let (mut pods, _) = store.list(&POD, Some(&key.namespace));
    pods.retain(|pod| selects(selector, pod));
    let (mut slices, _) = store.list(&ENDPOINT_SLICE, Some(&key.namespace));
    slices.retain(|slice| {
        let labels = facts::labels(slice);
        labels[SERVICE_NAME] == key.name.as_str() && labels[SLICE_MANAGER.0] == SLICE_MANAGER.1
    });
    let endpoints = store.get(&Key::new(&ENDPOINTS, &key.namespace, &key.name));
    Some(View { service, pods, slices, endpoints })
}

/// Whether a Service with this selector selects the pod; one without a selector selects nothing.
pub(crate) fn selects(selector: &Value, pod: &Value) -> bool {
    selector.as_object().is_some_and(|selector| !selector.is_empty())
        && object::has_labels(selector, facts::labels(pod))
}

/// Brings slices and Endpoints up to date. A Service without a selector keeps what others made for it.
#[must_use]
pub(crate) fn reconcile(view: &View) -> Vec<Action> {
    let service = &view.service;
    let has_selector = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if !has_selector || object::is_terminating(service) {
        return Vec::new();
    }
    let groups = groups(view);
    let endpoints = endpoints_action(view, &groups);
    let mut actions = slice_actions(view, groups);
    actions.extend(endpoints);
    actions
}

/// Pods that have an address and have not ended, by name.
fn backends(view: &View) -> impl Iterator<Item = &Arc<Value>> {
    view.pods.iter().filter(|pod| pod["status"]["podIP"].is_string() && !facts::is_finished(pod))
}

/// A Service's ports on a pod; a named target port that the pod does not have is left out.
fn ports_on(service: &Value, pod: &Value) -> Vec<Value> {
    let resolved = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::String(name) => container_port(pod, name, protocol)?,
            Value::Null => port["port"].as_i64()?,
            number => number.as_i64()?,
        };
        Some(json!({"name": port["name"].as_str().unwrap_or_default(), "protocol": protocol, "port": number}))
    };
    service["spec"]["ports"].as_array().into_iter().flatten().filter_map(resolved).collect()
}

fn container_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let containers = pod["spec"]["containers"].as_array()?.iter();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let matches = |port: &&Value| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol;
    ports.find(matches)?["containerPort"].as_i64()
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let (serving, terminating) = (facts::is_ready(pod), object::is_terminating(pod));
    let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
    let target =
        json!({"kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod)});
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]], "targetRef": target,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        endpoint["nodeName"] = node.into();
    }
    // The host name under a headless Service, where the pod has one there.
    if let Some(hostname) = pod["spec"]["hostname"].as_str()
        && pod["spec"]["subdomain"] == object::name(service)
    {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

fn label_all(service: &Value, manager: (&str, &str)) -> Value {
    let mut labels = facts::labels(service).as_object().cloned().unwrap_or_default();
    if service["spec"]["clusterIP"] == "None" {
        labels.insert(HEADLESS.to_owned(), "".into());
    }
    labels.insert(manager.0.to_owned(), manager.1.into());
    labels.into()
}

/// Endpoints by their ports; pods without the named port stand under null. A Service without
/// any has one group of null lists.
fn groups(view: &View) -> Vec<(Value, Vec<Value>)> {
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for pod in backends(view) {
        let ports = or_null(ports_on(&view.service, pod));
        let group = groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint(&view.service, pod));
    }
    if groups.is_empty() { vec![(Value::Null, Vec::new())] } else { groups.into_values().collect() }
}

/// One slice for each group.
fn slice_actions(view: &View, groups: Vec<(Value, Vec<Value>)>) -> Vec<Action> {
    let service = &view.service;
    let mut free: Vec<&Arc<Value>> = view.slices.iter().collect();
    let mut actions = Vec::new();
    let mut unplaced = Vec::new();
    for (ports, endpoints) in groups {
        match free.iter().position(|slice| slice["ports"] == ports) {
            Some(index) => actions.extend(refill(free.remove(index), service, ports, endpoints)),
            None => unplaced.push((ports, endpoints)),
        }
    }
    for (ports, endpoints) in unplaced {
        match free.pop() {
            Some(slice) => actions.extend(refill(slice, service, ports, endpoints)),
            None => actions.push(new_slice(service, &ports, endpoints)),
        }
    }
    actions.extend(free.into_iter().map(|slice| Action::delete(&ENDPOINT_SLICE, slice)));
    actions
}

fn slice_labels(service: &Value) -> Value {
    let mut labels = label_all(service, SLICE_MANAGER);
    labels[SERVICE_NAME] = object::name(service).into();
    labels
}

fn or_null(list: Vec<Value>) -> Value {
    if list.is_empty() { Value::Null } else { list.into() }
}

fn new_slice(service: &Value, ports: &Value, endpoints: Vec<Value>) -> Action {
    let slice = json!({
        "metadata": {
            "generateName": format!("{}-", object::name(service)), "namespace": object::namespace(service),
            "labels": slice_labels(service), "ownerReferences": [facts::controller_reference(&SERVICE, service)],
        },
        "addressType": "IPv4", "endpoints": or_null(endpoints), "ports": ports,
    });
    Action::Create { kind: &ENDPOINT_SLICE, object: slice, done: None, failed: None }
}

/// Puts other contents in a slice; endpoints that stay keep their places, new ones come last.
fn refill(slice: &Value, service: &Value, ports: Value, mut endpoints: Vec<Value>) -> Option<Action> {
    let before: Vec<&Value> = slice["endpoints"].as_array().into_iter().flatten().collect();
    let place =
        |endpoint: &Value| before.iter().position(|old| old["targetRef"]["uid"] == endpoint["targetRef"]["uid"]);
    endpoints.sort_by_key(|endpoint| place(endpoint).unwrap_or(usize::MAX));
    let mut changed = slice.clone();
    changed["metadata"]["labels"] = slice_labels(service);
    changed["endpoints"] = or_null(endpoints);
    changed["ports"] = ports;
    (changed != *slice).then_some(Action::Replace { kind: &ENDPOINT_SLICE, object: changed, done: None })
}

/// The older form of the same, which older kubectl reads: it goes with its Service.
fn endpoints_action(view: &View, groups: &[(Value, Vec<Value>)]) -> Option<Action> {
    let service = &view.service;
    let fresh = json!({
        "metadata": {
            "name": object::name(service), "namespace": object::namespace(service),
            "ownerReferences": [facts::controller_reference(&SERVICE, service)],
        },
    });
    let mut changed = view.endpoints.as_deref().cloned().unwrap_or(fresh);
    changed["metadata"]["labels"] = label_all(service, MANAGER);
    let subsets: Vec<Value> = groups.iter().filter_map(|(ports, endpoints)| subset(ports, endpoints)).collect();
    if subsets.is_empty() {
        changed.as_object_mut().map(|fields| fields.remove("subsets"));
    } else {
        changed["subsets"] = subsets.into();
    }
    match &view.endpoints {
        None => Some(Action::Create { kind: &ENDPOINTS, object: changed, done: None, failed: None }),
        Some(before) if **before == changed => None,
        Some(_) => Some(Action::Replace { kind: &ENDPOINTS, object: changed, done: None }),
    }
}

/// Addresses with the same ports, in order; those that only end are left out.
fn subset(ports: &Value, endpoints: &[Value]) -> Option<Value> {
    let addresses = |is_ready: bool| {
        let wanted = endpoints.iter().filter(|endpoint| {
            let conditions = &endpoint["conditions"];
            conditions["ready"] == is_ready && (is_ready || conditions["terminating"] == false)
        });
        let mut addresses: Vec<Value> = wanted
            .map(|endpoint| {
                json!({"ip": endpoint["addresses"][0], "nodeName": endpoint["nodeName"], "targetRef": endpoint["targetRef"]})
            })
            .collect();
        addresses.sort_by_key(|address| address["ip"].as_str().unwrap_or_default().to_owned());
        addresses
    };
    let lists = [("addresses", addresses(true)), ("notReadyAddresses", addresses(false))];
    let shown = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let mut subset: Map<String, Value> = shown.map(|(field, list)| (field.to_owned(), list.into())).collect();
    if subset.is_empty() || ports.is_null() {
        return None;
    }
    subset.insert("ports".to_owned(), ports.clone());
    Some(subset.into())
}
