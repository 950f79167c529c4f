//! Whether an image is there.

use oci_client::Reference;
use oci_client::errors::OciDistributionError;

use super::error::status_of;
use super::{ANSWER_WITHIN, Registry, RegistryError};
use crate::image::Digest;
use crate::image::document::{DOCKER_MANIFEST, MANIFEST, Manifest};

/// How much of an image a registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of it.
    Whole,
    /// Its manifest, and not every blob that it names.
    Parts,
    /// Not even its manifest.
    Absent,
}

impl Registry {
    /// How much it has of the image with this digest in a repository, named with its whole path.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn presence(&self, repository: &str, digest: &str) -> Result<Presence, RegistryError> {
        let reference =
            Reference::with_digest(self.address.host().to_owned(), repository.to_owned(), digest.to_owned());
        let asked = self.client.pull_manifest_raw(&reference, &self.credentials.auth, &[MANIFEST, DOCKER_MANIFEST]);
        let manifest = match self.within(ANSWER_WITHIN, "ask for a manifest of", asked).await? {
            Ok((manifest, _)) => manifest,
            Err(error) if status_of(&error) == Some(404) => return Ok(Presence::Absent),
            Err(error) => return Err(self.error(error, "ask for a manifest of")),
        };
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|error| RegistryError::Unusable {
            what: "read a manifest of".to_owned(),
            registry: self.address.host().to_owned(),
            reason: error.to_string(),
        })?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.has_blob(&reference, &blob.digest).await? {
                return Ok(Presence::Parts);
            }
        }
        Ok(Presence::Whole)
    }

    /// Whether a repository has a blob.
    pub(super) async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let digest = digest.to_string();
        let asked = self.client.blob_exists(reference, &digest);
        let answer = self.within(ANSWER_WITHIN, "ask for a blob of", asked).await?;
        answer.map_err(|error| self.error(error, "ask for a blob of"))
    }

    /// The digest that it has under a name, if it has one.
    pub(super) async fn digest_of(&self, reference: &Reference) -> Result<Option<String>, RegistryError> {
        let asked = self.client.fetch_manifest_digest(reference, &self.credentials.auth);
        let answer: Result<String, OciDistributionError> =
            self.within(ANSWER_WITHIN, "ask for a name of", asked).await?;
        match answer {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if status_of(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.error(error, "ask for a name of")),
        }
    }
}
