//! Secrets that the system needs and nobody has to know: created where absent, with random
//! values that are never shown and never stored anywhere but in the cluster.

use std::collections::BTreeMap;
use std::io::Read;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::api::{ApiError, ask, ask_optional};
use super::deploy::managed_labels;
use crate::cluster::Cluster;
use crate::config::SecretConfig;
use crate::heal::receipts::FIELD_MANAGER;

const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Creates the Secret if it is absent. Returns the fact to report.
pub(super) async fn ensure(cluster: &Cluster, name: &str, config: &SecretConfig) -> Result<String, ApiError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let there = ask_optional(&format!("get secret/{name}"), || api.get(name)).await?;
    if let Some(there) = there {
        let data = there.data.unwrap_or_default();
        let missing: Vec<_> = config.keys.keys().filter(|key| !data.contains_key(*key)).cloned().collect();
        return Ok(match missing.as_slice() {
            [] => format!("secret/{name} was there"),
            _ => format!("secret/{name} was there, without {}: left alone", missing.join(", ")),
        });
    }
    let doing = format!("create secret/{name}");
    let secret = generated(name, config).map_err(|reason| ApiError { doing: doing.clone(), reason, status: None })?;
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match ask(&doing, || api.create(&parameters, &secret)).await {
        Ok(_) => Ok(format!("secret/{name} created with random values")),
        // Another writer, or a first try of ours whose answer was lost.
        Err(error) if error.status == Some(409) => Ok(format!("secret/{name} was there")),
        Err(error) => Err(error),
    }
}

fn generated(name: &str, config: &SecretConfig) -> Result<Secret, String> {
    let mut data = BTreeMap::new();
    for (key, length) in &config.keys {
        let value = random_text(*length).map_err(|error| format!("read /dev/urandom: {error}"))?;
        data.insert(key.clone(), ByteString(value.into_bytes()));
    }
    Ok(Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(managed_labels()), ..ObjectMeta::default() },
        data: Some(data),
        ..Secret::default()
    })
}

/// Letters and digits, all equally likely.
fn random_text(length: usize) -> std::io::Result<String> {
    let mut random = std::fs::File::open("/dev/urandom")?;
    let mut text = String::with_capacity(length);
    let mut byte = [0];
    while text.len() < length {
        random.read_exact(&mut byte)?;
        // Bytes beyond the last whole multiple would favour the first characters.
        let limit = 256 / CHARACTERS.len() * CHARACTERS.len();
        if usize::from(byte[0]) < limit {
            text.push(char::from(CHARACTERS[usize::from(byte[0]) % CHARACTERS.len()]));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_random_and_as_long_as_asked() {
        let config = SecretConfig { keys: BTreeMap::from([("key".to_owned(), 39), ("salt".to_owned(), 8)]) };
        let value =
            |secret: &Secret, key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
        let (one, two) = (generated("a", &config).unwrap(), generated("a", &config).unwrap());
        assert_eq!((value(&one, "key").len(), value(&one, "salt").len()), (39, 8));
        assert!(value(&one, "key").chars().all(|character| character.is_ascii_alphanumeric()));
        assert_ne!(value(&one, "key"), value(&two, "key"));
    }
}
