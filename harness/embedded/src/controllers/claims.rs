//! PersistentVolumeClaims: each gets a volume of its own at once, and the volume goes with it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Note};
use crate::kinds::{CLAIM, VOLUME};
use crate::object::{self, Key};
use crate::store::Store;

const COMPONENT: &str = "persistentvolume-controller";

/// What a look at a claim sees.
pub(crate) struct View {
    /// The claim, `None` where it is gone.
    pub(crate) claim: Option<Arc<Value>>,
    /// The volumes that were made for claims of this name.
    pub(crate) volumes: Vec<Arc<Value>>,
}

/// Reads the view.
pub(crate) fn view(store: &Store, key: &Key) -> View {
    let is_of_claim = |volume: &Arc<Value>| {
        let claim = &volume["spec"]["claimRef"];
        claim["namespace"] == key.namespace.as_str() && claim["name"] == key.name.as_str()
    };
    let volumes = store.list(&VOLUME, None).0.into_iter().filter(is_of_claim).collect();
    View { claim: store.get(key), volumes }
}

/// Makes the claim's volume, binds the two, and deletes volumes whose claim is gone.
#[must_use]
pub(crate) fn reconcile(view: &View, _now: Timestamp) -> Vec<Action> {
    let uid = view.claim.as_deref().map_or("", object::uid);
    let (own, left): (Vec<_>, Vec<_>) =
        view.volumes.iter().partition(|volume| volume["spec"]["claimRef"]["uid"] == uid);
    let mut actions: Vec<Action> = left
        .into_iter()
        .map(|volume| Action::Delete {
            key: Key::of(&VOLUME, volume),
            uid: object::uid(volume).to_owned(),
            propagation: None,
            done: None,
        })
        .collect();
    if let Some(claim) = view.claim.as_ref().filter(|claim| !object::is_terminating(claim)) {
        if own.is_empty() {
            actions.push(Action::Create { kind: &VOLUME, object: volume_for(claim), done: None, failed: None });
        }
        if claim["status"]["phase"] != "Bound" {
            actions.push(bind(claim));
        }
    }
    actions
}

/// The name of the volume that is made for a claim.
fn volume_name(claim: &Value) -> String {
    format!("pvc-{}", object::uid(claim))
}

fn volume_for(claim: &Value) -> Value {
    let name = volume_name(claim);
    let mut volume = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": COMPONENT}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "claimRef": {
                "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": object::namespace(claim),
                "name": object::name(claim), "uid": object::uid(claim),
                "resourceVersion": claim["metadata"]["resourceVersion"],
            },
            "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Filesystem",
            // Relative to the node's directory of volumes.
            "local": {"path": format!("{}/{}", object::namespace(claim), object::name(claim))},
        },
        "status": {"phase": "Bound"},
    });
    if let Some(class) = claim["spec"].get("storageClassName") {
        volume["spec"]["storageClassName"] = class.clone();
    }
    volume
}

fn bind(claim: &Arc<Value>) -> Action {
    let name = volume_name(claim);
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
    let done = Some(Note::normal(COMPONENT, &CLAIM, claim, "ProvisioningSucceeded", message));
    Action::Replace { kind: &CLAIM, object: bound, done }
}
