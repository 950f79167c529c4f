//! An annotation set or removed, as somebody does who changes a setting by hand.

use kube::api::{DynamicObject, Patch, PatchParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Receipt;
use crate::cluster::{Cluster, objects};
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::object::ObjectRef;
use crate::system::SystemError;

/// How often putting it back is tried while others change the object.
const CONFLICTS_MAX: u32 = 10;

/// Sets or removes an annotation; healed by putting back what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Annotate {
    /// Of which object: `ingress/NAME`, `service/NAME`, `deployment/NAME` or `statefulset/NAME`.
    pub object: ObjectRef,
    /// The annotation's name.
    pub key: String,
    /// Its value; where absent, the annotation is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Annotate {
    /// Reads what is there now. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where the object is not there.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let found = objects::api(cluster, &self.object).get(&self.object.name).await;
        let found = found.map_err(|error| SystemError::from_api(&format!("read {}", self.object), &error))?;
        Ok(Receipt::Annotate {
            namespace: cluster.namespace.clone(),
            object: self.object.clone(),
            key: self.key.clone(),
            value_before: annotation(&found, &self.key),
            value_fault: self.value.clone(),
        })
    }

    /// What is done, in words.
    #[must_use]
    pub fn told(&self) -> String {
        told(&self.object, &self.key, self.value.as_deref())
    }
}

/// What a change of an annotation is, in words.
pub(super) fn told(object: &ObjectRef, key: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("annotation {key} of {object} set to `{value}`"),
        None => format!("annotation {key} of {object} removed"),
    }
}

pub(super) async fn inject(receipt: &Receipt, cluster: &Cluster) -> Result<(), SystemError> {
    let Receipt::Annotate { object, key, value_fault, .. } = receipt else { unreachable!("dispatched by kind") };
    let written = write(cluster, object, key, value_fault.as_deref(), None).await;
    written.map_err(|error| SystemError::from_api(&format!("annotate {object}"), &error))
}

pub(super) async fn heal(receipt: &Receipt, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
    let Receipt::Annotate { object, key, value_before, value_fault, .. } = receipt else {
        unreachable!("dispatched by kind")
    };
    let failed = |error: &kube::Error| SystemError::from_api(&format!("put back annotation {key} of {object}"), error);
    let mut undone = Vec::new();
    for _ in 0..CONFLICTS_MAX {
        let found = objects::api(cluster, object).get_opt(&object.name).await.map_err(|error| failed(&error))?;
        // An object that is gone has no annotations, and any other value is somebody's decision
        // since then: the remedy's, or a person's.
        let Some(found) = found.filter(|found| annotation(found, key) == *value_fault) else { return Ok(undone) };
        if value_before == value_fault {
            return Ok(undone);
        }
        let seen = found.metadata.resource_version.as_deref();
        match write(cluster, object, key, value_before.as_deref(), seen).await {
            // The next look verifies it.
            Ok(()) => undone = vec![told(object, key, value_before.as_deref())],
            // Somebody was faster: look again at what is there now.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let message = format!("put back annotation {key} of {object}: others changed it {CONFLICTS_MAX} times meanwhile");
    Err(SystemError { message, transient: true })
}

fn annotation(object: &DynamicObject, key: &str) -> Option<String> {
    object.metadata.annotations.as_ref()?.get(key).cloned()
}

/// Writes an annotation; with a version only where the object is still of it.
async fn write(
    cluster: &Cluster,
    object: &ObjectRef,
    key: &str,
    value: Option<&str>,
    seen: Option<&str>,
) -> Result<(), kube::Error> {
    let mut metadata = json!({ "annotations": { key: value } });
    if let Some(version) = seen {
        metadata["resourceVersion"] = version.into();
    }
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    objects::api(cluster, object).patch(&object.name, &parameters, &patch).await.map(drop)
}
