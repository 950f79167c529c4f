//! Push: to where a cluster pulls from, an OCI layout or a registry; missing blobs only.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::build::layout as build_layout;
use super::{ApiError, BuiltImage, BuiltRelease, Destination, Sink, StageError, bytes_text, stage};
use crate::config::Config;
use crate::event::StageResult;
use crate::image::ImageError;
use crate::image::layout::{KEPT_PER_REPOSITORY, Layout, Moved, Writer};
use crate::registry::{Address, Image, Registry, RegistryError};

/// What a push moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Images named.
    pub images: u64,
    /// Blobs that the destination did not have.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blobs that it had.
    pub bytes_present: u64,
}

/// Images could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A layout could not be read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A registry did not take them.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nobody says where the cluster pulls from.
    #[error("find the registry of cluster `{cluster}`: neither gate.toml nor the cluster names one")]
    NoRegistry {
        /// The cluster or context.
        cluster: String,
    },
    /// The cluster did not say where it pulls from.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The worker thread panicked: a bug.
    #[error("push images: {0}")]
    Worker(tokio::task::JoinError),
    /// The user stopped it; what was pushed is whole.
    #[error("push: cancelled")]
    Cancelled,
}

impl StageError for PushError {
    fn result(&self) -> StageResult {
        match self {
            Self::Cancelled => StageResult::Cancelled,
            error => StageResult::Failed { error: error.to_string() },
        }
    }
}

/// Pushes built releases to where a cluster pulls from.
///
/// # Errors
/// [`PushError`]. An image is named there only when all its blobs are there.
pub async fn push(
    config: &Config,
    releases: &[BuiltRelease],
    destination: &Destination,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Pushed, PushError> {
    let work = async {
        let (pushed, to) = match destination {
            Destination::Layout(path) => (to_layout(config, releases, Layout::at(path), cancel).await?, None),
            Destination::Registry(address) => {
                // Dropping the future ends uploads; a registry keeps no half of a blob.
                let pushing = cancel.run_until_cancelled(to_registry(config, releases, address));
                (pushing.await.ok_or(PushError::Cancelled)??, Some(address))
            }
        };
        Ok((pushed, vec![fact(pushed, to)]))
    };
    stage("push", sink, work).await
}

async fn to_layout(
    config: &Config,
    releases: &[BuiltRelease],
    to: Layout,
    cancel: &CancellationToken,
) -> Result<Pushed, PushError> {
    let from = build_layout(config);
    let (releases, cancel) = (releases.to_vec(), cancel.clone());
    let copied = tokio::task::spawn_blocking(move || copy_all(&from, &to, &releases, &cancel));
    copied.await.map_err(PushError::Worker)?
}

async fn to_registry(config: &Config, releases: &[BuiltRelease], address: &Address) -> Result<Pushed, PushError> {
    let images =
        named(releases).map(|image| Image { reference: image.reference.clone(), manifest: image.manifest.clone() });
    let images: Vec<Image> = images.collect();
    let moved = Registry::connect(address).await?.push(&build_layout(config), &images).await?;
    Ok(Pushed::default().with(images.len() as u64, moved))
}

/// Every image once: one that is no part of the release stands in every release.
fn named(releases: &[BuiltRelease]) -> impl Iterator<Item = &BuiltImage> {
    let images = releases.iter().flat_map(|release| release.images.values());
    let images: BTreeMap<&str, &BuiltImage> = images.map(|image| (image.reference.as_str(), image)).collect();
    images.into_values()
}

impl Pushed {
    fn with(self, images: u64, moved: Moved) -> Self {
        let Moved { blobs, bytes, bytes_present } = moved;
        Self {
            images: self.images + images,
            blobs: self.blobs + blobs,
            bytes: self.bytes + bytes,
            bytes_present: self.bytes_present + bytes_present,
        }
    }
}

fn copy_all(
    from: &Layout,
    to: &Layout,
    releases: &[BuiltRelease],
    cancel: &CancellationToken,
) -> Result<Pushed, PushError> {
    let writer: Writer = to.writer()?;
    let mut pushed = Pushed::default();
    for image in named(releases) {
        if cancel.is_cancelled() {
            return Err(PushError::Cancelled);
        }
        pushed = pushed.with(1, writer.copy(from, &image.manifest, &image.reference)?);
    }
    writer.prune(KEPT_PER_REPOSITORY)?;
    Ok(pushed)
}

fn fact(pushed: Pushed, to: Option<&Address>) -> String {
    let Pushed { images, blobs, bytes, bytes_present } = pushed;
    let (there, to) = (bytes_text(bytes_present), to.map_or_else(String::new, |to| format!(" to {to}")));
    match blobs {
        0 => format!("{images} images{to}: nothing to move, {there} were there"),
        _ => format!("{images} images{to}: {blobs} blobs, {} moved, {there} were there", bytes_text(bytes)),
    }
}
