//! Receipts in the cluster: a labelled ConfigMap a fault, so that another machine can heal.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::fault::Receipt;
use crate::fault::secret::kept;
use crate::heal::HealError;
use crate::system::SystemError;

/// Label on every object of a run; its value is the run's id.
pub const RUN_LABEL: &str = "gameday.dev/run";
/// Label that marks a receipt.
pub const RECEIPT_LABEL: &str = "gameday.dev/receipt";
/// Field manager of every write of ours.
pub const FIELD_MANAGER: &str = "gameday";

const KEY: &str = "receipt.json";

/// Leaves a receipt in the cluster, and beside it the original of what a Secret holds, which
/// must be nowhere else.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub async fn keep(cluster: &Cluster, run: &str, receipt: &Receipt) -> Result<(), SystemError> {
    if let Receipt::Secret(secret) = receipt {
        kept::keep(cluster, run, secret).await?;
    }
    let name = name_of(receipt);
    let labels = [(RUN_LABEL, run), (RECEIPT_LABEL, "fault")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let text = serde_json::to_string(receipt).expect("a receipt has string keys only");
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from(labels)),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
        ..ConfigMap::default()
    };
    api(cluster)
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object))
        .await
        .map(drop)
        .map_err(|error| SystemError::from_api(&format!("keep receipt `{name}`"), &error))
}

/// Removes a receipt from the cluster, with the original that was kept; neither need be there.
///
/// # Errors
/// [`HealError::Unverified`] where the API refuses.
pub async fn forget(cluster: &Cluster, receipt: &Receipt) -> Result<(), HealError> {
    if let Receipt::Secret(secret) = receipt {
        let forgotten = kept::forget(cluster, &secret.kept).await;
        forgotten.map_err(|error| HealError::Unverified { what: receipt.to_string(), reason: error.message })?;
    }
    let name = name_of(receipt);
    match api(cluster).delete(&name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(HealError::Unverified { what: format!("receipt `{name}`"), reason: error.to_string() }),
    }
}

/// Every receipt in the run's namespace, with the run that left it.
///
/// # Errors
/// [`SystemError`] where the API refuses, or a receipt cannot be read.
pub async fn list(cluster: &Cluster) -> Result<Vec<(String, Receipt)>, SystemError> {
    let found = api(cluster).list(&ListParams::default().labels(RECEIPT_LABEL)).await;
    let found = found.map_err(|error| SystemError::from_api("list receipts", &error))?;
    let read = |object: ConfigMap| {
        let name = object.metadata.name.unwrap_or_default();
        let run = object.metadata.labels.and_then(|labels| labels.get(RUN_LABEL).cloned()).unwrap_or_default();
        let text = object.data.and_then(|data| data.get(KEY).cloned()).unwrap_or_default();
        let receipt = serde_json::from_str(&text)
            .map_err(|error| SystemError { message: format!("read receipt `{name}`: {error}"), transient: false })?;
        Ok((run, receipt))
    };
    found.items.into_iter().map(read).collect()
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

/// The same fault has the same name on every machine.
fn name_of(receipt: &Receipt) -> String {
    let text = serde_json::to_vec(receipt).expect("a receipt has string keys only");
    let digest = Sha256::digest(text);
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("gameday-receipt-{short}")
}
