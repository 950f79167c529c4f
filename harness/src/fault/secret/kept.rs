//! The original of a replaced key: in a labelled Secret of ours, and nowhere else.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};

use super::{SecretReceipt, api, read, value};
use crate::cluster::Cluster;
use crate::heal::receipts::{FIELD_MANAGER, RUN_LABEL};
use crate::system::SystemError;

/// Label that marks such a Secret.
const KEPT_LABEL: &str = "gameday.dev/kept";
/// Annotations that say what it is the original of.
const OF_SECRET: &str = "gameday.dev/kept-secret";
const OF_KEY: &str = "gameday.dev/kept-key";
/// Its only key.
const ORIGINAL: &str = "original";

/// Copies the original, before anything is replaced.
///
/// # Errors
/// [`SystemError`] where the API refuses, or the key is another one than the receipt's.
pub(crate) async fn keep(cluster: &Cluster, run: &str, receipt: &SecretReceipt) -> Result<(), SystemError> {
    let found = read(cluster, &receipt.name).await?;
    let original = value(&found, &receipt.key).filter(|_| receipt.hash(&found).as_ref() == Some(&receipt.hash_before));
    let original = original.ok_or_else(|| receipt.changed("keep the original of"))?;
    let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let object = Secret {
        metadata: ObjectMeta {
            name: Some(receipt.kept.clone()),
            labels: Some(BTreeMap::from([text(RUN_LABEL, run), text(KEPT_LABEL, "original")])),
            annotations: Some(BTreeMap::from([text(OF_SECRET, &receipt.name), text(OF_KEY, &receipt.key)])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ORIGINAL.to_owned(), ByteString(original.to_vec()))])),
        ..Secret::default()
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let kept = api(cluster).patch(&receipt.kept, &parameters, &Patch::Apply(&object)).await;
    kept.map(drop).map_err(|error| SystemError::from_api(&format!("keep secret `{}`", receipt.kept), &error))
}

/// The original in the Secret of this name, where there is one.
pub(super) async fn find(cluster: &Cluster, name: &str) -> Result<Option<ByteString>, SystemError> {
    let found = api(cluster).get_opt(name).await;
    let found = found.map_err(|error| SystemError::from_api(&format!("read secret `{name}`"), &error))?;
    Ok(found.and_then(original))
}

/// The original of a key that this run has replaced.
///
/// # Errors
/// [`SystemError`] where the API refuses, or the run keeps none.
pub(crate) async fn of_run(cluster: &Cluster, run: &str, secret: &str, key: &str) -> Result<ByteString, SystemError> {
    let parameters = ListParams::default().labels(&format!("{KEPT_LABEL},{RUN_LABEL}={run}"));
    let listed = api(cluster).list(&parameters).await;
    let listed = listed.map_err(|error| SystemError::from_api("list kept originals", &error))?;
    let is_it = |one: &Secret| {
        let says = |name: &str| one.metadata.annotations.as_ref()?.get(name).map(String::as_str);
        says(OF_SECRET) == Some(secret) && says(OF_KEY) == Some(key)
    };
    listed.items.into_iter().find(is_it).and_then(original).ok_or_else(|| SystemError {
        message: format!(
            "fill in key `{key}` of secret `{secret}`: this run has replaced none, so it knows no good one"
        ),
        transient: false,
    })
}

/// Removes the Secret of this name; it need not be there.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub(crate) async fn forget(cluster: &Cluster, name: &str) -> Result<(), SystemError> {
    match api(cluster).delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(SystemError::from_api(&format!("remove secret `{name}`"), &error)),
    }
}

fn original(secret: Secret) -> Option<ByteString> {
    secret.data?.remove(ORIGINAL)
}
