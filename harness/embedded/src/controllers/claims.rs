//! PersistentVolumeClaims: each is bound at once to a directory of its own, which goes with it.
//! PersistentVolumes are not served.

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{Action, Note};
use crate::kinds::CLAIM;
use crate::object;

/// Binds a claim that is not bound yet.
#[must_use]
pub(crate) fn reconcile(claim: &Arc<Value>) -> Vec<Action> {
    if object::is_terminating(claim) || claim["status"]["phase"] == "Bound" {
        return Vec::new();
    }
    let name = format!("pvc-{}", object::uid(claim));
    let mut bound = Value::clone(claim);
    let annotations = &mut bound["metadata"]["annotations"];
    annotations["pv.kubernetes.io/bind-completed"] = "yes".into();
    annotations["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    bound["spec"]["volumeName"] = name.as_str().into();
    bound["status"] = json!({
        "phase": "Bound", "accessModes": claim["spec"]["accessModes"],
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
    });
    let message = format!("Successfully provisioned volume {name}");
    let done = Some(Note::normal("persistentvolume-controller", &CLAIM, claim, "ProvisioningSucceeded", message));
    vec![Action::Replace { kind: &CLAIM, object: bound, done }]
}
