//! From a registry into an OCI layout: one image, for this machine's platform, as it is.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci_client::Reference;
use serde::Deserialize;
use tokio::fs::File;

use super::{ANSWER_WITHIN, AT_ONCE, Registry, RegistryError, Source};
use crate::image::document::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, Manifest, architecture};
use crate::image::layout::Writer;
use crate::image::{Digest, ImageError};

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its manifest, for this machine's platform.
    pub manifest: Descriptor,
    /// Bytes of blobs that the layout did not have.
    pub written: u64,
}

/// What a registry may have under a name: an image for each of several platforms.
#[derive(Deserialize)]
struct Platforms {
    manifests: Vec<OfPlatform>,
}

#[derive(Deserialize)]
struct OfPlatform {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Registry {
    /// Pulls an image with the digests that it has there. Every blob is checked against its digest,
    /// and so is the manifest where the source has one. The image gets no name in the layout.
    ///
    /// # Errors
    /// [`RegistryError`]. Blobs that came in whole stay; dropping the future leaves no half of one.
    pub async fn pull(&self, source: &Source, writer: &Writer) -> Result<Pulled, RegistryError> {
        let mut reference = source.reference().clone();
        let mut content = self.document(&reference).await?;
        if let Ok(platforms) = serde_json::from_slice::<Platforms>(&content) {
            let ours = ours(&platforms)
                .ok_or_else(|| self.unusable(format!("`{source}` is not there for linux on {}", architecture())))?;
            reference = reference.clone_with_digest(ours.to_string());
            content = self.document(&reference).await?;
        }
        let manifest: Manifest =
            serde_json::from_slice(&content).map_err(|error| self.unusable(format!("`{source}`: {error}")))?;
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        let pulling = stream::iter(blobs.map(|blob| self.fetch(&reference, blob, writer)));
        let written: Vec<u64> = pulling.buffer_unordered(AT_ONCE).try_collect().await?;
        let stored = writer.bytes(&manifest.media_type, &content)?;
        Ok(Pulled { manifest: stored.descriptor, written: written.iter().sum::<u64>() + stored.written })
    }

    async fn document(&self, reference: &Reference) -> Result<Vec<u8>, RegistryError> {
        const KNOWN: [&str; 4] = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX];
        let asked = self.client.pull_manifest_raw(reference, &self.credentials.auth, &KNOWN);
        let answer = self.within(ANSWER_WITHIN, "pull a manifest from", asked).await?;
        answer.map(|(content, _)| content.to_vec()).map_err(|error| self.error(error, "pull a manifest from"))
    }

    /// Bytes that were written for a blob.
    async fn fetch(&self, reference: &Reference, blob: &Descriptor, writer: &Writer) -> Result<u64, RegistryError> {
        if writer.layout().has(blob) {
            return Ok(0);
        }
        let file = writer.temporary()?;
        let open = file.reopen().map_err(ImageError::io("write", file.path()))?;
        let digest = blob.digest.to_string();
        let asked = self.client.pull_blob(reference, digest.as_str(), File::from_std(open));
        let answer = self.within(Self::patience(blob.size), "pull a blob from", asked).await?;
        answer.map_err(|error| self.error(error, "pull a blob from"))?;
        Ok(writer.keep(file, blob.clone())?.written)
    }

    fn unusable(&self, reason: String) -> RegistryError {
        let registry = self.address.host().to_owned();
        RegistryError::Unusable { what: "pull an image from".to_owned(), registry, reason }
    }
}

/// The image for this machine, of several.
fn ours(platforms: &Platforms) -> Option<&Digest> {
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
    let found = platforms.manifests.iter().find(|one| one.platform.as_ref().is_some_and(fits));
    found.map(|one| &one.digest)
}
