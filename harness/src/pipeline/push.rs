//! Push: into an OCI layout that a cluster pulls from, missing blobs only.

use std::collections::BTreeMap;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::build::layout as build_layout;
use super::{BuiltImage, BuiltRelease, Sink, StageError, bytes_text, stage};
use crate::config::Config;
use crate::event::StageResult;
use crate::image::ImageError;
use crate::image::layout::{KEPT_PER_REPOSITORY, Layout, Moved, Writer};

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
    /// The worker thread panicked: a bug.
    #[error("push images: {0}")]
    Worker(tokio::task::JoinError),
    /// The user stopped it between two images; what was pushed is whole.
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

/// Pushes built releases into the OCI layout at `destination`, which clusters read.
///
/// # Errors
/// [`PushError`]. An image is named in the layout only when all its blobs are there.
pub async fn push(
    config: &Config,
    releases: &[BuiltRelease],
    destination: &Path,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Pushed, PushError> {
    let (from, to) = (build_layout(config), Layout::at(destination));
    let (releases, cancel) = (releases.to_vec(), cancel.clone());
    let work = async {
        let copied = tokio::task::spawn_blocking(move || copy_all(&from, &to, &releases, &cancel));
        let pushed = copied.await.map_err(PushError::Worker)??;
        Ok((pushed, vec![fact(pushed)]))
    };
    stage("push", sink, work).await
}

fn copy_all(
    from: &Layout,
    to: &Layout,
    releases: &[BuiltRelease],
    cancel: &CancellationToken,
) -> Result<Pushed, PushError> {
    let writer: Writer = to.writer()?;
    let mut pushed = Pushed::default();
    // An image that is no part of the release stands in every release, and is pushed once.
    let images: BTreeMap<&str, &BuiltImage> = releases
        .iter()
        .flat_map(|release| release.images.values().map(|image| (image.reference.as_str(), image)))
        .collect();
    for image in images.into_values() {
        if cancel.is_cancelled() {
            return Err(PushError::Cancelled);
        }
        let Moved { blobs, bytes, bytes_present } = writer.copy(from, &image.manifest, &image.reference)?;
        pushed.images += 1;
        pushed.blobs += blobs;
        pushed.bytes += bytes;
        pushed.bytes_present += bytes_present;
    }
    writer.prune(KEPT_PER_REPOSITORY)?;
    Ok(pushed)
}

fn fact(pushed: Pushed) -> String {
    let Pushed { images, blobs, bytes, bytes_present } = pushed;
    let there = bytes_text(bytes_present);
    match blobs {
        0 => format!("{images} images: nothing to move, {there} were there"),
        _ => format!("{images} images: {blobs} blobs, {} moved, {there} were there", bytes_text(bytes)),
    }
}
