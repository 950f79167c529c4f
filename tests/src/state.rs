//! What a system is, as far as a fault could change it.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NAMESPACE: &str = "hsc-jit";
/// What `kubectl rollout restart` leaves in a template: a remedy that a run carried out is
/// not undone, and changes nothing but this.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// The run that deployed an object last: every gate is another one.
const DEPLOYED_BY: &str = "gameday.dev/run";
/// The programs of the system; probes come and go.
const PROGRAMS: [&str; 2] = ["standin", "redis-server"];

/// Namespaces of the cluster; specs, settings, Secrets, Ingress annotations, ready pods and
/// processes of the system, and how the double of the LLM's API behaves, on a cluster whose
/// outermost process is `cluster`.
///
/// # Panics
/// Where the cluster does not answer.
pub async fn of_system(kubeconfig: &Path, cluster: u32) -> Value {
    let client = client(kubeconfig).await;
    let pods = objects::<Pod>(&client).await;
    let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await;
    let namespaces = namespaces.expect("the cluster answers").items.into_iter().map(|one| one.metadata.name);
    json!({
        "namespaces": namespaces.collect::<Vec<_>>(),
        "deployments": part(objects::<Deployment>(&client).await, "/spec"),
        "stateful-sets": part(objects::<StatefulSet>(&client).await, "/spec"),
        "services": part(objects::<Service>(&client).await, "/spec"),
        "config-maps": part(objects::<ConfigMap>(&client).await, "/data"),
        "load-balancers": part(objects::<Ingress>(&client).await, "/metadata/annotations"),
        "secrets": part(objects::<Secret>(&client).await, "/data"),
        "llm-double": double(&client).await,
        "pods": readiness(&pods),
        "processes": processes_below(cluster),
    })
}

/// Deletes the pods of the system whose container was started again: the kubelet would let the
/// next restart of the same pod wait, longer each time.
///
/// # Panics
/// Where the cluster does not answer.
pub async fn replace_restarted_pods(kubeconfig: &Path) {
    let pods: Api<Pod> = Api::namespaced(client(kubeconfig).await, NAMESPACE);
    for pod in pods.list(&ListParams::default()).await.expect("the cluster answers").items {
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        if statuses.iter().any(|status| status.restart_count > 0) {
            let name = pod.metadata.name.unwrap_or_default();
            pods.delete(&name, &DeleteParams::default()).await.expect("a pod can be deleted");
        }
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can be read");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig is valid")).expect("the kubeconfig is complete")
}

async fn objects<K>(client: &Client) -> Vec<Value>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.list(&ListParams::default()).await.expect("the cluster answers");
    found.items.iter().map(|object| serde_json::to_value(object).expect("an object is JSON")).collect()
}

/// How the double of the LLM's API behaves; what it has counted goes on. Null while it restarts.
async fn double(client: &Client) -> Value {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/outside:8080/proxy/control");
    let mut control = answer(client, &path).await.unwrap_or_default();
    if let Some(control) = control.as_object_mut() {
        control.remove("counters");
    }
    control
}

async fn answer(client: &Client, path: &str) -> Option<Value> {
    let request = http::Request::get(path).body(Vec::new()).expect("the path is valid");
    client.request(request).await.ok()
}

fn part(objects: Vec<Value>, pointer: &str) -> BTreeMap<String, Value> {
    let named = objects.into_iter().map(|mut object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(DEPLOYED_BY);
        }
        if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.remove(RESTARTED);
            }
            if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
                *annotations = Value::Null;
            }
        }
        (name, without_nulls(object.pointer(pointer).cloned().unwrap_or_default()))
    });
    named.collect()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// How many pods of each label `app` are there, and how many of them are ready and staying.
fn readiness(pods: &[Value]) -> BTreeMap<String, (usize, usize)> {
    let mut found = BTreeMap::<String, (usize, usize)>::new();
    for pod in pods {
        let entry = found.entry(pod["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned()).or_default();
        let conditions = pod["status"]["conditions"].as_array();
        let ready =
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
        entry.0 += 1;
        entry.1 += usize::from(ready && pod["metadata"]["deletionTimestamp"].is_null());
    }
    found
}

/// How many processes of the system run below a process, and how many of them are stopped.
fn processes_below(ancestor: u32) -> BTreeMap<String, (usize, usize)> {
    let all: BTreeMap<u32, Process> = std::fs::read_dir("/proc")
        .expect("processes can be listed")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect();
    let is_below = |pid: u32| {
        let parents = std::iter::successors(Some(pid), |pid| all.get(pid).map(|process| process.parent));
        parents.take_while(|pid| *pid > 1).any(|pid| pid == ancestor)
    };
    let mut found = BTreeMap::<String, (usize, usize)>::new();
    for (pid, process) in &all {
        if PROGRAMS.contains(&process.name.as_str()) && is_below(*pid) {
            let entry = found.entry(process.name.clone()).or_default();
            entry.0 += 1;
            entry.1 += usize::from(process.state == 'T');
        }
    }
    found
}

struct Process {
    name: String,
    state: char,
    parent: u32,
}

impl Process {
    /// `None` where it has ended meanwhile.
    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may itself contain brackets and spaces.
        let (before, after) = text.rsplit_once(')')?;
        let mut fields = after.split_whitespace();
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
        })
    }
}
