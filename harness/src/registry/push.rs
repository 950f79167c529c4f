//! From an OCI layout to a registry: missing blobs only, several at once, manifests last.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use tokio::fs::File;

use super::{ANSWER_WITHIN, AT_ONCE, Registry, RegistryError};
use crate::image::document::{Descriptor, MANIFEST};
use crate::image::layout::{Layout, Moved};
use crate::image::pieces::pieces;
use crate::image::{Digest, ImageError};

/// An image of a layout, by its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `repository:tag`.
    pub reference: String,
    /// Its manifest.
    pub manifest: Descriptor,
}

/// A blob, and the repositories that need it.
struct Wanted {
    blob: Descriptor,
    repositories: Vec<String>,
}

impl Registry {
    /// Pushes images of a layout, each under its own `repository:tag`. Bytes count as moved when
    /// the registry has confirmed the blob that they make up.
    ///
    /// # Errors
    /// [`RegistryError`]. A name points to an image only when all of its blobs are there; dropping
    /// the future leaves what is whole, and no half of a blob.
    pub async fn push(&self, layout: &Layout, images: &[Image]) -> Result<Moved, RegistryError> {
        let blobs = wanted(layout, images)?;
        let moving = stream::iter(blobs.into_values().map(|wanted| self.blob(layout, wanted)));
        let blobs: Vec<Moved> = moving.buffer_unordered(AT_ONCE).try_collect().await?;
        let naming = stream::iter(images.iter().map(|image| self.name(layout, image)));
        let names: Vec<Moved> = naming.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(blobs.into_iter().chain(names).fold(Moved::default(), Moved::and))
    }

    async fn blob(&self, layout: &Layout, wanted: Wanted) -> Result<Moved, RegistryError> {
        let Wanted { blob, repositories } = wanted;
        let there = Moved { bytes_present: blob.size, ..Moved::default() };
        let mut moved = Moved::default();
        let (mut source, mut missing) = (None, Vec::new());
        for repository in repositories {
            let reference = self.reference(&repository, "blob");
            if self.has_blob(&reference, &blob.digest).await? {
                moved = moved.and(there);
                source.get_or_insert(reference);
            } else {
                missing.push(reference);
            }
        }
        for reference in missing {
            let mounted = match &source {
                Some(source) => self.mount(&reference, source, &blob.digest).await,
                None => false,
            };
            if mounted {
                moved = moved.and(there);
            } else {
                self.upload(layout, &reference, &blob).await?;
                moved = moved.and(Moved { blobs: 1, bytes: blob.size, bytes_present: 0 });
            }
            source.get_or_insert(reference);
        }
        Ok(moved)
    }

    /// Whether the registry took a blob over from another of its repositories. Where it did not,
    /// whatever the reason, moving the blob tells.
    async fn mount(&self, reference: &Reference, source: &Reference, digest: &Digest) -> bool {
        let digest = digest.to_string();
        let asked = self.client.mount_blob(reference, source, &digest);
        self.within(ANSWER_WITHIN, "mount a blob at", asked).await.is_ok_and(|mounted| mounted.is_ok())
    }

    async fn upload(&self, layout: &Layout, reference: &Reference, blob: &Descriptor) -> Result<(), RegistryError> {
        let path = layout.blob_path(&blob.digest);
        let file = File::open(&path).await.map_err(ImageError::io("read", &path))?;
        let pieces = pieces(file).map_err(OciDistributionError::from);
        let digest = blob.digest.to_string();
        let asked = self.client.push_blob_stream(reference, pieces, &digest, Some(blob.size));
        let answer = self.within(Self::patience(blob.size), "push a blob to", asked).await?;
        answer.map(drop).map_err(|error| self.error(error, "push a blob to"))
    }

    /// Puts an image's manifest under its name, and asks what the registry now has there.
    async fn name(&self, layout: &Layout, image: &Image) -> Result<Moved, RegistryError> {
        let Descriptor { digest, size, .. } = &image.manifest;
        let (repository, tag) = parts(&image.reference);
        let (reference, ours) = (self.reference(repository, tag), digest.to_string());
        if self.digest_of(&reference).await?.is_some_and(|theirs| theirs == ours) {
            return Ok(Moved { bytes_present: *size, ..Moved::default() });
        }
        let path = layout.blob_path(digest);
        let content = tokio::fs::read(&path).await.map_err(ImageError::io("read", &path))?;
        let media_type = layout.manifest(&image.manifest)?.media_type;
        let media_type = media_type.parse().unwrap_or(http::HeaderValue::from_static(MANIFEST));
        let asked = self.client.push_manifest_raw(&reference, content, media_type);
        let answer = self.within(ANSWER_WITHIN, "push a manifest to", asked).await?;
        answer.map_err(|error| self.error(error, "push a manifest to"))?;
        match self.digest_of(&reference).await? {
            Some(theirs) if theirs == ours => Ok(Moved { blobs: 1, bytes: *size, bytes_present: 0 }),
            theirs => Err(RegistryError::OtherDigest {
                image: image.reference.clone(),
                registry: self.address.host().to_owned(),
                ours,
                theirs: theirs.unwrap_or_else(|| "nothing".to_owned()),
            }),
        }
    }
}

/// Every blob once, with the repositories that need it.
fn wanted(layout: &Layout, images: &[Image]) -> Result<BTreeMap<Digest, Wanted>, RegistryError> {
    let mut all = BTreeMap::<Digest, Wanted>::new();
    for image in images {
        let content = layout.manifest(&image.manifest)?;
        let (repository, _) = parts(&image.reference);
        for blob in content.layers.into_iter().chain([content.config]) {
            let wanted = all.entry(blob.digest.clone()).or_insert_with(|| Wanted { blob, repositories: Vec::new() });
            if !wanted.repositories.iter().any(|other| other == repository) {
                wanted.repositories.push(repository.to_owned());
            }
        }
    }
    Ok(all)
}

/// `repository:tag`
fn parts(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}
