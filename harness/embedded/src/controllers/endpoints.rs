//! EndpointSlices, and the older Endpoints, of Services: which addresses stand behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

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
    /// Where the Service stands, or stood.
    pub(crate) key: Key,
    /// The Service, `None` where it is gone.
    pub(crate) service: Option<Arc<Value>>,
    /// The pods it selects.
    pub(crate) pods: Vec<Arc<Value>>,
    /// Its slices.
    pub(crate) slices: Vec<Arc<Value>>,
    /// The Endpoints of its name.
    pub(crate) endpoints: Option<Arc<Value>>,
}

/// Reads the view.
pub(crate) fn view(store: &Store, key: &Key) -> View {
    let service = store.get(key);
    let selector = service.as_ref().map_or(Value::Null, |service| service["spec"]["selector"].clone());
    let (mut pods, _) = store.list(&POD, Some(&key.namespace));
    pods.retain(|pod| selects(&selector, pod));
    let (mut slices, _) = store.list(&ENDPOINT_SLICE, Some(&key.namespace));
    slices.retain(|slice| {
        let labels = facts::labels(slice);
        labels[SERVICE_NAME] == key.name.as_str() && labels[SLICE_MANAGER.0] == SLICE_MANAGER.1
    });
    let endpoints = store.get(&Key::new(&ENDPOINTS, &key.namespace, &key.name));
    View { key: key.clone(), service, pods, slices, endpoints }
}

/// Whether a Service with this selector selects the pod; one without a selector selects nothing.
pub(crate) fn selects(selector: &Value, pod: &Value) -> bool {
    selector.as_object().is_some_and(|selector| !selector.is_empty()) && facts::has_labels(selector, facts::labels(pod))
}

/// Brings slices and Endpoints up to date. A Service without a selector keeps what others made for it.
#[must_use]
pub(crate) fn reconcile(view: &View, _now: Timestamp) -> Vec<Action> {
    let Some(service) = &view.service else {
        // Slices have the Service as their owner; Endpoints go by name.
        return view.endpoints.iter().filter(|ours| is_ours(ours)).map(|gone| delete(&ENDPOINTS, gone)).collect();
    };
    let has_selector = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if !has_selector || object::is_terminating(service) || service["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let mut actions = slice_actions(service, view);
    actions.extend(endpoints_action(service, view));
    actions
}

fn is_ours(endpoints: &Value) -> bool {
    facts::labels(endpoints)[MANAGER.0] == MANAGER.1
}

fn delete(kind: &'static crate::kinds::Kind, object: &Value) -> Action {
    let (key, uid) = (Key::of(kind, object), object::uid(object).to_owned());
    Action::Delete { key, uid, propagation: None, done: None }
}

/// The state of an address, as a slice shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Readiness {
    ready: bool,
    serving: bool,
    terminating: bool,
}

impl Readiness {
    fn of(service: &Value, pod: &Value) -> Self {
        let (serving, terminating) = (facts::is_ready(pod), object::is_terminating(pod));
        let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
        Self { ready, serving, terminating }
    }
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

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod)})
}

/// The host name under a headless Service, where the pod has one there.
fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let under = pod["spec"]["subdomain"] == object::name(service);
    pod["spec"]["hostname"].as_str().filter(|_| under)
}

fn with_place(mut endpoint: Value, service: &Value, pod: &Value) -> Value {
    endpoint["targetRef"] = target(pod);
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        endpoint["nodeName"] = node.into();
    }
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let Readiness { ready, serving, terminating } = Readiness::of(service, pod);
    let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
    with_place(json!({"addresses": [pod["status"]["podIP"]], "conditions": conditions}), service, pod)
}

fn label_all(service: &Value, manager: (&str, &str)) -> Value {
    let mut labels = facts::labels(service).as_object().cloned().unwrap_or_default();
    if service["spec"]["clusterIP"] == "None" {
        labels.insert(HEADLESS.to_owned(), "".into());
    }
    labels.insert(manager.0.to_owned(), manager.1.into());
    labels.into()
}

/// One slice for each set of ports; pods without the named port stand in one without ports.
/// A Service without any keeps one slice with null lists.
fn slice_actions(service: &Arc<Value>, view: &View) -> Vec<Action> {
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for pod in backends(view) {
        let ports = ports_on(service, pod);
        let ports = if ports.is_empty() { Value::Null } else { ports.into() };
        let group = groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint(service, pod));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = groups.into_values().collect();
    if groups.is_empty() {
        groups.push((Value::Null, Vec::new()));
    }
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
    actions.extend(free.into_iter().map(|slice| delete(&ENDPOINT_SLICE, slice)));
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

fn endpoints_action(service: &Value, view: &View) -> Option<Action> {
    let subsets = subsets(service, view);
    let labels = label_all(service, MANAGER);
    let Some(before) = view.endpoints.as_ref() else {
        let mut endpoints = json!({
            "metadata": {"name": view.key.name, "namespace": view.key.namespace, "labels": labels},
        });
        if !subsets.is_empty() {
            endpoints["subsets"] = subsets.into();
        }
        return Some(Action::Create { kind: &ENDPOINTS, object: endpoints, done: None, failed: None });
    };
    let mut changed = Value::clone(before);
    changed["metadata"]["labels"] = labels;
    if subsets.is_empty() {
        changed.as_object_mut().map(|fields| fields.remove("subsets"));
    } else {
        changed["subsets"] = subsets.into();
    }
    (changed != **before).then_some(Action::Replace { kind: &ENDPOINTS, object: changed, done: None })
}

/// Addresses by their ports, sorted by address; terminating pods are left out unless all are published.
fn subsets(service: &Value, view: &View) -> Vec<Value> {
    let publish_all = service["spec"]["publishNotReadyAddresses"] == true;
    let no_ports = service["spec"]["ports"].as_array().is_none_or(Vec::is_empty);
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in backends(view).filter(|pod| publish_all || !object::is_terminating(pod)) {
        let ports = ports_on(service, pod);
        if ports.is_empty() && !no_ports {
            continue;
        }
        let group = groups.entry(Value::from(ports.clone()).to_string()).or_default();
        group.ports = ports;
        let list = if Readiness::of(service, pod).ready { &mut group.ready } else { &mut group.not_ready };
        list.push(with_place(json!({"ip": pod["status"]["podIP"]}), service, pod));
    }
    groups.into_values().map(Subset::into_value).collect()
}

/// Addresses with the same ports.
#[derive(Default)]
struct Subset {
    ports: Vec<Value>,
    ready: Vec<Value>,
    not_ready: Vec<Value>,
}

impl Subset {
    fn into_value(mut self) -> Value {
        for list in [&mut self.ready, &mut self.not_ready] {
            list.sort_by_key(|address| address["ip"].as_str().unwrap_or_default().to_owned());
        }
        let lists = [("addresses", self.ready), ("notReadyAddresses", self.not_ready), ("ports", self.ports)];
        let shown = lists.into_iter().filter(|(_, list)| !list.is_empty());
        Value::Object(shown.map(|(field, list)| (field.to_owned(), list.into())).collect())
    }
}
