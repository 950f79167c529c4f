//! Objects of Chaos Mesh as faults, where it is installed.

use std::fmt;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Receipt;
use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::system::SystemError;

/// The API group that Chaos Mesh serves.
pub const GROUP: &str = "chaos-mesh.org";
/// Marks what a fault made; its value is the fault's name.
const LABEL: &str = "gameday.dev/fault";
const LABEL_VALUE: &str = "chaos";
/// How long Chaos Mesh may take to inject everywhere.
pub(super) const INJECTED_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to recover, once its object is deleted.
pub(super) const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Creates an object of Chaos Mesh; healed by deleting it, which makes Chaos Mesh undo what it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Chaos {
    /// What sort of chaos.
    pub kind: ChaosKind,
    /// Its `spec`, as Chaos Mesh documents it. It works in the system's namespace, whatever its
    /// selectors leave out.
    pub spec: Map<String, Value>,
}

/// What sort of chaos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChaosKind {
    /// Loss, delay, partition.
    NetworkChaos,
    /// Processes that take CPU or memory.
    StressChaos,
    /// A clock that is wrong.
    TimeChaos,
}

/// What healing needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ChaosReceipt {
    /// Namespace of the object.
    pub namespace: String,
    /// Its kind.
    pub kind: ChaosKind,
    /// Its name.
    pub name: String,
    /// Its `spec`.
    pub spec: Map<String, Value>,
}

impl fmt::Display for ChaosKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NetworkChaos => "NetworkChaos",
            Self::StressChaos => "StressChaos",
            Self::TimeChaos => "TimeChaos",
        })
    }
}

impl ChaosKind {
    /// How the API calls it; Chaos Mesh's plurals are their singulars.
    fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", &self.to_string());
        ApiResource::from_gvk_with_plural(&kind, &self.to_string().to_lowercase())
    }
}

impl Chaos {
    /// Makes sure that the cluster knows such objects, and that this one touches nobody else.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where it does not, or a selector names another namespace.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let name = format!("gameday-{}", self.kind.to_string().to_lowercase());
        let there = api(cluster, &cluster.namespace, self.kind).get_opt(&name).await;
        let there = there.map_err(|error| SystemError::from_api(&format!("read {} `{name}`", self.kind), &error))?;
        if there.is_some_and(|there| !is_ours(&there)) {
            let message = format!("create {} `{name}`: there is one, and no fault made it", self.kind);
            return Err(SystemError { message, transient: false });
        }
        let spec = within(&self.spec, &cluster.home, &cluster.namespace).map_err(|other| SystemError {
            message: format!(
                "create {} `{name}`: its selector names namespace `{other}`, which is not ours",
                self.kind
            ),
            transient: false,
        })?;
        Ok(Receipt::Chaos(ChaosReceipt { namespace: cluster.namespace.clone(), kind: self.kind, name, spec }))
    }
}

/// The spec with every selector in the namespace of the run, which stands for the system's; the
/// name of another one where a selector has it.
fn within(spec: &Map<String, Value>, home: &str, namespace: &str) -> Result<Map<String, Value>, String> {
    let mut spec = spec.clone();
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    confine(selector, home, namespace)?;
    if let Some(selector) = spec.get_mut("target").and_then(|target| target.get_mut("selector")) {
        confine(selector, home, namespace)?;
    }
    Ok(spec)
}

fn confine(selector: &mut Value, home: &str, namespace: &str) -> Result<(), String> {
    let named = selector.get("namespaces").and_then(Value::as_array).into_iter().flatten();
    // Pods by name stand below their namespace there.
    let keyed = selector.get("pods").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let names = named.map(|name| name.as_str().unwrap_or_default().to_owned()).chain(keyed.cloned());
    if let Some(other) = names.into_iter().find(|name| name != home && name != namespace) {
        return Err(other);
    }
    if let Some(selector) = selector.as_object_mut() {
        selector.insert("namespaces".to_owned(), json!([namespace]));
    }
    Ok(())
}

impl ChaosReceipt {
    /// Creates the object, and waits until Chaos Mesh says that all of it is injected.
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        let api = api(cluster, &self.namespace, self.kind);
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": self.kind,
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": { LABEL: LABEL_VALUE } },
            "spec": self.spec,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&self.name, &parameters, &Patch::Apply(object)).await;
        applied.map_err(|error| SystemError::from_api(&format!("create {self}"), &error))?;
        let mut last = String::from("nothing");
        let looking = async {
            loop {
                let found = api.get(&self.name).await;
                let found = found.map_err(|error| SystemError::from_api(&format!("read {self}"), &error))?;
                match not_injected(&found.data) {
                    None => return Ok(()),
                    Some(seen) => last = seen,
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(INJECTED_WITHIN, looking).await.unwrap_or_else(|_| {
            let within = INJECTED_WITHIN.as_secs();
            let message = format!("see {self} injected everywhere within {within} s; last seen: {last}");
            Err(SystemError { message, transient: false })
        })
    }

    /// Deletes the object and waits until it is gone, which is when Chaos Mesh has undone it.
    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let api = api(cluster, &self.namespace, self.kind);
        let failed = |error: &kube::Error| SystemError::from_api(&format!("delete {self}"), error);
        let mut undone = Vec::new();
        let mut held = Vec::new();
        let deleting = async {
            loop {
                let found = api.get_opt(&self.name).await.map_err(|error| failed(&error))?;
                let Some(found) = found.filter(is_ours) else { return Ok(()) };
                held = found.metadata.finalizers.clone().unwrap_or_default();
                if found.metadata.deletion_timestamp.is_none() {
                    let preconditions = Preconditions { uid: found.metadata.uid.clone(), ..Preconditions::default() };
                    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                    match api.delete(&self.name, &parameters).await {
                        Ok(_) => undone = vec![format!("{self} deleted")],
                        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                        Err(error) => return Err(failed(&error)),
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let deleted = tokio::time::timeout(GONE_WITHIN, deleting).await;
        match deleted {
            Ok(result) => result.map(|()| undone),
            Err(_) => Err(SystemError { message: self.stuck(&held), transient: false }),
        }
    }

    fn stuck(&self, held: &[String]) -> String {
        let within = GONE_WITHIN.as_secs();
        let why = if held.is_empty() { "nothing holds it".to_owned() } else { format!("{} holds it", held.join(", ")) };
        format!(
            "see {self} gone within {within} s: {why}; Chaos Mesh's controller must undo the chaos and let it go, \
             so look at its logs before anybody removes the finalizer by hand"
        )
    }
}

/// What Chaos Mesh says while not all of it is injected.
fn not_injected(object: &Value) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let Some(conditions) = conditions.filter(|conditions| !conditions.is_empty()) else {
        return Some("no conditions".to_owned());
    };
    let is = |of: &str| conditions.iter().any(|condition| condition["type"] == of && condition["status"] == "True");
    if is("AllInjected") && is("Selected") {
        return None;
    }
    let told = |condition: &Value| {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        format!("{} is {} {}", text("type"), text("status"), text("reason")).trim().to_owned()
    };
    Some(conditions.iter().map(told).collect::<Vec<_>>().join(", "))
}

fn is_ours(object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(LABEL)).is_some_and(|value| value == LABEL_VALUE)
}

fn api(cluster: &Cluster, namespace: &str, kind: ChaosKind) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), namespace, &kind.resource())
}

/// Whether the cluster serves objects of Chaos Mesh.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub async fn is_installed(cluster: &Cluster) -> Result<bool, SystemError> {
    let groups = cluster.client.list_api_groups().await;
    let groups = groups.map_err(|error| SystemError::from_api("list API groups", &error))?;
    Ok(groups.groups.iter().any(|group| group.name == GROUP))
}

impl fmt::Display for ChaosReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn chaos_stays_in_the_namespace_of_the_run() {
        let check = |spec: Value, expect: Result<Value, &str>| {
            let confined = within(&map(spec), "home", "lane").map(Value::Object);
            assert_eq!(confined, expect.map_err(str::to_owned));
        };
        let ours = json!({ "namespaces": ["lane"] });
        check(json!({ "action": "delay" }), Ok(json!({ "action": "delay", "selector": ours })));
        check(json!({ "selector": { "namespaces": ["home"] } }), Ok(json!({ "selector": ours })));
        check(json!({ "selector": { "namespaces": ["home", "kube-system"] } }), Err("kube-system"));
        check(json!({ "selector": { "pods": { "other": ["a"] } } }), Err("other"));
        check(
            json!({ "selector": {}, "target": { "mode": "all", "selector": { "labelSelectors": { "app": "redis" } } } }),
            Ok(json!({ "selector": ours, "target": { "mode": "all",
                "selector": { "labelSelectors": { "app": "redis" }, "namespaces": ["lane"] } } })),
        );
        check(json!({ "target": { "selector": { "namespaces": ["other"] } } }), Err("other"));
    }

    #[test]
    fn injected_is_what_chaos_mesh_calls_so() {
        let check = |conditions: Value, expect: Option<&str>| {
            let object = json!({ "status": { "conditions": conditions } });
            assert_eq!(not_injected(&object).as_deref(), expect, "{object}");
        };
        let condition = |of: &str, status: &str| json!({ "type": of, "status": status, "reason": "" });
        check(json!([condition("Selected", "True"), condition("AllInjected", "True")]), None);
        check(
            json!([condition("Selected", "True"), condition("AllInjected", "False")]),
            Some("Selected is True, AllInjected is False"),
        );
        // With nobody selected all of nothing is injected.
        check(
            json!([condition("Selected", "False"), condition("AllInjected", "True")]),
            Some("Selected is False, AllInjected is True"),
        );
        check(json!([]), Some("no conditions"));
        assert_eq!(not_injected(&json!({})).as_deref(), Some("no conditions"));
    }

    #[test]
    fn resources_are_named_as_chaos_mesh_serves_them() {
        for (kind, plural) in [
            (ChaosKind::NetworkChaos, "networkchaos"),
            (ChaosKind::StressChaos, "stresschaos"),
            (ChaosKind::TimeChaos, "timechaos"),
        ] {
            let resource = kind.resource();
            assert_eq!((resource.plural.as_str(), resource.api_version.as_str()), (plural, "chaos-mesh.org/v1alpha1"));
        }
    }
}
