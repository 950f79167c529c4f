//! A key of a Secret replaced by a bad value, and the pods that read it restarted.
//!
//! Nobody but the cluster ever holds the original for longer than a call: it is copied into a
//! Secret of ours beside the system's, from which healing puts it back. Receipt, journal
//! and ledger know names and salted hashes, which tell one value from another and no more.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Receipt, workload};
use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::salted;
use crate::scenario::plan::WorkloadRef;
use crate::system::SystemError;

mod held;
pub(crate) mod kept;

/// Length of a wrong value: that of a real key of the Gemini API.
const WRONG_LENGTH: usize = 39;
/// Length of a short value: the runbook calls a key of 20 characters and less invalid.
const SHORT_LENGTH: usize = 12;
/// An annotation that is written and taken away again, to outdate writes that are under way.
const FENCE: &str = "gameday.dev/fence";

/// Replaces one key of a Secret, then restarts a workload as `kubectl rollout restart` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// Which of its keys.
    pub key: String,
    /// What it holds then.
    pub value: BadValue,
    /// Whose pods read it at their start.
    pub restart: WorkloadRef,
}

/// A value that no provider takes: letters from the run's seed, in small, so that neither a
/// person nor a scanner takes it for a key that leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BadValue {
    /// As long as a real key.
    Wrong,
    /// Nothing.
    Empty,
    /// 12 characters.
    Short,
}

impl std::fmt::Display for BadValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Wrong => "a wrong value",
            Self::Empty => "an empty value",
            Self::Short => "a value of 12 characters",
        })
    }
}

impl BadValue {
    fn text(self, seed: u64) -> String {
        let length = match self {
            Self::Wrong => WRONG_LENGTH,
            Self::Empty => 0,
            Self::Short => SHORT_LENGTH,
        };
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.lowercase()).take(length).collect()
    }
}

/// What healing needs to know. It does not know the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretReceipt {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of its keys.
    pub key: String,
    /// What it holds by the fault.
    pub value: BadValue,
    /// What the bad value is made from.
    pub seed: u64,
    /// Salt of the hashes.
    pub salt: String,
    /// Salted hash of the original.
    pub hash_before: String,
    /// Salted hash of the bad value.
    pub hash_fault: String,
    /// The Secret of ours that keeps the original.
    pub kept: String,
    /// Whose pods read the key at their start.
    pub restart: WorkloadRef,
}

impl SecretKey {
    /// Reads the key's hash. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where Secret, key or workload are not there.
    pub async fn prepare(&self, cluster: &Cluster, seed: u64) -> Result<Receipt, SystemError> {
        workload::replicas(cluster, &self.restart).await?;
        let (namespace, name, key) = (cluster.namespace.clone(), self.name.clone(), self.key.clone());
        let salt = salted::salt(seed, &format!("{namespace}/{name}/{key}"));
        let found = read(cluster, &name).await?;
        let before = value(&found, &key).ok_or_else(|| SystemError {
            message: format!("read secret `{name}`: it has no key `{key}`"),
            transient: false,
        })?;
        let (hash_before, hash_fault) =
            (salted::hash(&salt, before), salted::hash(&salt, self.value.text(seed).as_bytes()));
        if hash_before == hash_fault {
            let message = format!("replace key `{key}` of secret `{name}`: it holds {} already", self.value);
            return Err(SystemError { message, transient: false });
        }
        let kept = format!("gameday-kept-{salt}");
        let (value, restart) = (self.value, self.restart.clone());
        Ok(Receipt::Secret(SecretReceipt {
            namespace,
            name,
            key,
            value,
            seed,
            salt,
            hash_before,
            hash_fault,
            kept,
            restart,
        }))
    }
}

impl SecretReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        let found = read(cluster, &self.name).await?;
        match self.hash(&found).as_deref() {
            // A try before this one got so far.
            Some(hash) if hash == self.hash_fault => {}
            Some(hash) if hash == self.hash_before => {
                let bad = ByteString(self.value.text(self.seed).into_bytes());
                self.write(cluster, &found, bad).await?;
            }
            _ => return Err(self.changed("replace")),
        }
        workload::restart(cluster, &self.restart).await.map(drop)
    }

    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let mut undone = Vec::new();
        let found = read(cluster, &self.name).await?;
        let kept = kept::find(cluster, &self.kept).await?;
        match (self.hash(&found), kept) {
            (Some(hash), Some(original)) if hash == self.hash_fault => {
                let written = self.write(cluster, &found, original).await?;
                if self.hash(&written).as_deref() != Some(&self.hash_before) {
                    return Err(self.changed("restore"));
                }
                undone.push(format!("key `{}` of secret/{} restored", self.key, self.name));
            }
            (Some(hash), None) if hash == self.hash_fault => {
                let (key, name, kept) = (&self.key, &self.name, &self.kept);
                let message =
                    format!("restore key `{key}` of secret `{name}`: its original in secret `{kept}` is gone");
                return Err(SystemError { message, transient: false });
            }
            // A write of ours may be under way still; it must not arrive after the original is let go.
            (Some(hash), Some(_)) if hash == self.hash_before => self.fence(cluster).await?,
            // Somebody else's value, or nothing of ours: the remedy's, or a person's decision.
            _ => {}
        }
        undone.extend(held::release(self, cluster).await?);
        Ok(undone)
    }

    /// Replaces the value, if nobody wrote to the Secret since it was read.
    async fn write(&self, cluster: &Cluster, read: &Secret, value: ByteString) -> Result<Secret, SystemError> {
        let version = &read.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "data": { &self.key: value } });
        self.patch(cluster, patch).await
    }

    /// Makes every write that was read for before now come too late.
    async fn fence(&self, cluster: &Cluster) -> Result<(), SystemError> {
        for value in [json!(self.kept), json!(null)] {
            self.patch(cluster, json!({ "metadata": { "annotations": { FENCE: value } } })).await?;
        }
        Ok(())
    }

    async fn patch(&self, cluster: &Cluster, patch: serde_json::Value) -> Result<Secret, SystemError> {
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = api(cluster).patch(&self.name, &parameters, &Patch::Merge(patch)).await;
        patched.map_err(|error| {
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            let failed = SystemError::from_api(&format!("write secret `{}`", self.name), &error);
            // Somebody wrote in between: the next try sees what.
            SystemError { transient: failed.transient || conflict, ..failed }
        })
    }

    fn hash(&self, secret: &Secret) -> Option<String> {
        value(secret, &self.key).map(|value| salted::hash(&self.salt, value))
    }

    fn changed(&self, doing: &str) -> SystemError {
        let (key, name) = (&self.key, &self.name);
        SystemError {
            message: format!("{doing} key `{key}` of secret `{name}`: somebody else has changed it meanwhile"),
            transient: false,
        }
    }
}

async fn read(cluster: &Cluster, name: &str) -> Result<Secret, SystemError> {
    let found = api(cluster).get(name).await;
    found.map_err(|error| SystemError::from_api(&format!("read secret `{name}`"), &error))
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}

fn api(cluster: &Cluster) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_follow_from_the_seed_and_look_like_no_key() {
        for (value, length) in [(BadValue::Wrong, 39), (BadValue::Empty, 0), (BadValue::Short, 12)] {
            let text = value.text(7);
            assert_eq!(text.len(), length);
            assert!(text.bytes().all(|letter| letter.is_ascii_lowercase()), "{text}");
            assert_eq!(text, value.text(7));
            assert!(length == 0 || text != value.text(8));
        }
    }
}
