//! Build: cargo packages, then images, only where an input changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::{Destination, Sink, StageError, Tell, bytes_text, telling_stage};
use crate::config::{Config, Program, Release};
use crate::docker::DockerError;
use crate::event::StageResult;
use crate::image::ImageError;
use crate::image::document::Descriptor;
use crate::image::layout::Layout;
use crate::registry::{Address, RegistryError};

mod cache;
mod cargo;
mod dockerfile;
mod recipe;
mod supply;
mod work;

pub use supply::{Supply, supplies};
use work::{Made, Work};

/// A release, well built or badly on purpose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// Which release.
    pub release: Release,
    /// The bad build of `gate.toml` to apply, if any.
    pub flaw: Option<String>,
}

impl Variant {
    /// The release that is gated, well built.
    #[must_use]
    pub fn current() -> Self {
        Self { release: Release::Current, flaw: None }
    }

    /// The release before it, well built.
    #[must_use]
    pub fn previous() -> Self {
        Self { release: Release::Previous, flaw: None }
    }

    /// The release that is gated, with a flaw of `gate.toml`.
    #[must_use]
    pub fn flawed(flaw: &str) -> Self {
        Self { release: Release::Current, flaw: Some(flaw.to_owned()) }
    }
}

/// Every image of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltRelease {
    /// Which.
    pub variant: Variant,
    /// Its version.
    pub version: String,
    /// Its images, by repository.
    pub images: BTreeMap<String, BuiltImage>,
    /// The registry that the cluster pulls it from; none where it reads an OCI layout.
    pub registry: Option<Address>,
}

impl BuiltRelease {
    /// Its images as manifests of the cluster name them, by repository.
    #[must_use]
    pub fn pinned(&self) -> BTreeMap<&str, String> {
        let named = |image: &BuiltImage| match &self.registry {
            None => image.pinned(),
            Some(registry) => registry.name(&image.pinned()),
        };
        self.images.iter().map(|(repository, image)| (repository.as_str(), named(image))).collect()
    }
}

/// One built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// `repository:tag`; the tag is the version and twelve digits of the digest.
    pub reference: String,
    /// Its manifest in the build layout.
    pub manifest: Descriptor,
    /// Why it was built.
    pub why: Why,
}

impl BuiltImage {
    /// `repository:tag@sha256:…`, as manifests of a cluster name it that pulls from no registry.
    #[must_use]
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.reference, self.manifest.digest)
    }
}

/// Why an image was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was not.
    Unchanged,
    /// Others made it, and it was pulled.
    Pulled,
    /// There is no record of an earlier build.
    First,
    /// Its blobs are gone.
    Lost,
    /// These inputs differ from the last build.
    Changed(Vec<String>),
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        match self {
            Self::Unchanged => formatter.write_str("unchanged"),
            Self::Pulled => formatter.write_str("pulled"),
            Self::First => formatter.write_str("first build"),
            Self::Lost => formatter.write_str("its blobs were gone"),
            Self::Changed(inputs) => {
                formatter.write_str(&inputs[..inputs.len().min(SHOWN)].join(", "))?;
                match inputs.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(formatter, " and {more} more"),
                }
            }
        }
    }
}

/// A release could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `gate.toml` has no such bad build.
    #[error("build `{name}`: no such build in gate.toml; there are: {known}")]
    UnknownBuild {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Cargo failed.
    #[error("build packages {packages}: cargo {status}")]
    Cargo {
        /// The packages.
        packages: String,
        /// How it ended.
        status: String,
        /// All that it said, for the user to see.
        output: String,
    },
    /// Cargo could not be run, or said something unexpected.
    #[error("run cargo: {reason}")]
    CargoUnusable {
        /// Why.
        reason: String,
    },
    /// An image could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image of others could not be pulled, and `gate.toml` has no other way to it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The Docker engine did not build a Dockerfile.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// A worker thread panicked: a bug.
    #[error("build images: {0}")]
    Worker(JoinError),
    /// The user stopped it. What was finished stays and is used by the next build.
    #[error("build: cancelled")]
    Cancelled,
}

impl StageError for BuildError {
    fn result(&self) -> StageResult {
        match self {
            Self::Cancelled => StageResult::Cancelled,
            error => StageResult::Failed { error: error.to_string() },
        }
    }
}

/// Builds these variants, all of them in one go, into the layout `target/gate/build`.
///
/// What did not change since the last build is not built again; the stage's facts say for
/// each image why it was.
///
/// # Errors
/// [`BuildError`]. Cancelling ends cargo and returns [`BuildError::Cancelled`].
pub async fn build(
    config: &Config,
    variants: &[Variant],
    supply: Supply,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Vec<BuiltRelease>, BuildError> {
    let work = async |tell: Tell| build_all(config, variants, supply, cancel, &tell).await;
    telling_stage("build", sink, work).await
}

/// The layout that builds land in.
pub(super) fn layout(config: &Config) -> Layout {
    Layout::at(&config.state_directory().join("build"))
}

/// The record of earlier builds.
fn cache_file(config: &Config) -> PathBuf {
    config.state_directory().join("build-cache.json")
}

async fn build_all(
    config: &Config,
    variants: &[Variant],
    supply: Supply,
    cancel: &CancellationToken,
    tell: &Tell,
) -> Result<(Vec<BuiltRelease>, Vec<String>), BuildError> {
    check_flaws(config, variants)?;
    let binaries = config.images.values().filter_map(|image| match &image.program {
        Program::Cargo(binary) => Some(binary.clone()),
        Program::Host(_) | Program::Pull(_) | Program::Dockerfile(_) => None,
    });
    let programs = cargo::build(&config.root, &binaries.collect(), cancel).await?;
    let work = Work::begin(config).await?;
    let making = work.make(config, variants, supply, &programs, tell);
    let (made, told) = cancel.run_until_cancelled(making).await.ok_or(BuildError::Cancelled)??;
    let (releases, mut facts) = summary(config, variants, made);
    facts.extend(told);
    Ok((releases, facts))
}

fn check_flaws(config: &Config, variants: &[Variant]) -> Result<(), BuildError> {
    let unknown =
        variants.iter().filter_map(|variant| variant.flaw.as_ref()).find(|flaw| !config.builds.contains_key(*flaw));
    unknown.map_or(Ok(()), |name| {
        let known = config.builds.keys().cloned().collect::<Vec<_>>().join(", ");
        Err(BuildError::UnknownBuild { name: name.clone(), known })
    })
}

fn summary(config: &Config, variants: &[Variant], made: Vec<Made>) -> (Vec<BuiltRelease>, Vec<String>) {
    let mut facts = Vec::new();
    let mut releases: BTreeMap<Variant, BTreeMap<String, BuiltImage>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for Made { variant, repository, image, written } in made {
        let size = if written == 0 { String::new() } else { format!(", {} written", bytes_text(written)) };
        // An image that is no part of the release is the same one in every variant.
        if told.insert(image.reference.clone()) {
            facts.push(format!("{} {}: {}{size}", image.reference, image.manifest.digest, image.why));
        }
        releases.entry(variant).or_default().insert(repository, image);
    }
    let releases = variants.iter().map(|variant| BuiltRelease {
        variant: variant.clone(),
        version: config.release_version(variant.release).to_owned(),
        images: releases.get(variant).cloned().unwrap_or_default(),
        registry: None,
    });
    (releases.collect(), facts)
}
