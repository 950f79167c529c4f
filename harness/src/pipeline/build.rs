//! Build: cargo packages, then images, only where an input changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Destination, Sink, StageError, bytes_text, stage};
use crate::config::{CargoBinary, Config, Program, Release};
use crate::event::StageResult;
use crate::image::document::{CONFIG, Descriptor, ImageDocument, MANIFEST, Manifest};
use crate::image::layer::Layer;
use crate::image::layout::{KEPT_PER_REPOSITORY, Layout, Writer};
use crate::image::{Digest, ImageError};
use crate::registry::{Address, RegistryError};

mod cache;
mod cargo;
mod recipe;
mod supply;

use cache::{Cache, Entry};
use recipe::{Recipe, Recipes};
use supply::Supplied;

pub use supply::{Supply, supplies};

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
    stage("build", sink, build_all(config, variants, supply, cancel)).await
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
) -> Result<(Vec<BuiltRelease>, Vec<String>), BuildError> {
    check_flaws(config, variants)?;
    let binaries = config.images.values().filter_map(|image| match &image.program {
        Program::Cargo(binary) => Some(binary.clone()),
        Program::Host(_) | Program::Pull(_) => None,
    });
    let programs = cargo::build(&config.root, &binaries.collect(), cancel).await?;
    let work = Work::begin(config).await?;
    let making = work.make(config, variants, supply, &programs);
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

/// An image that was made, with what it cost.
struct Made {
    variant: Variant,
    repository: String,
    image: BuiltImage,
    written: u64,
}

impl Made {
    /// An image of others, which is the same one in every variant.
    fn supplied(variant: &Variant, (repository, (image, written)): (&String, &(BuiltImage, u64))) -> Self {
        Self { variant: variant.clone(), repository: repository.clone(), image: image.clone(), written: *written }
    }
}

/// The state of one build: the layout is locked while it lives.
struct Work {
    writer: Arc<Writer>,
    cache: Cache,
    cache_file: PathBuf,
}

impl Work {
    async fn begin(config: &Config) -> Result<Self, BuildError> {
        let cache_file = cache_file(config);
        let cache = Cache::load(&cache_file);
        let layout = layout(config);
        let writer = blocking(move || layout.writer()).await?;
        Ok(Self { writer: Arc::new(writer), cache, cache_file })
    }

    /// Makes every image of these variants; with them, what else is to be told.
    async fn make(
        mut self,
        config: &Config,
        variants: &[Variant],
        supply: Supply,
        programs: &BTreeMap<CargoBinary, PathBuf>,
    ) -> Result<(Vec<Made>, Vec<String>), BuildError> {
        let Supplied { images, facts } = supply::obtain(config, supply, &self.writer, &mut self.cache).await?;
        let recipes = recipe::all(config, variants, programs, |repository| images.contains_key(repository))?;
        self.hash_files(&recipes).await?;
        let mut layers = self.store_layers(&recipes).await?;
        let mut made: Vec<Made> = variants
            .iter()
            .flat_map(|variant| images.iter().map(move |supplied| Made::supplied(variant, supplied)))
            .collect();
        for recipe in recipes.images {
            made.push(self.image(recipe, &mut layers)?);
        }
        self.writer.prune(KEPT_PER_REPOSITORY)?;
        self.cache.save(&self.cache_file)?;
        Ok((made, facts))
    }

    /// Brings the digests of all files up to date, in parallel.
    async fn hash_files(&mut self, recipes: &Recipes) -> Result<(), BuildError> {
        let files: BTreeSet<PathBuf> = recipes
            .layers
            .values()
            .flat_map(|layer| layer.files().map(|(_, path)| path.to_owned()).collect::<Vec<_>>())
            .collect();
        let mut hashing = JoinSet::new();
        for path in files {
            let known = self.cache.files.get(&path).cloned();
            hashing.spawn_blocking(move || cache::file_digest(&path, known).map(|record| (path, record)));
        }
        while let Some(done) = hashing.join_next().await {
            let (path, record) = done.map_err(BuildError::Worker)??;
            self.cache.files.insert(path, record);
        }
        Ok(())
    }

    /// Stores every layer that is not there yet, in parallel.
    async fn store_layers(&mut self, recipes: &Recipes) -> Result<BTreeMap<String, LayerMade>, BuildError> {
        let mut stored = BTreeMap::new();
        let mut storing = JoinSet::new();
        let mut names = BTreeMap::<Digest, Vec<String>>::new();
        for (name, layer) in &recipes.layers {
            let identity = self.identity(layer)?;
            match self.cache.layers.get(&identity) {
                Some(known) if self.writer.layout().has(known) => {
                    stored.insert(name.clone(), LayerMade { identity, descriptor: known.clone(), written: 0 });
                }
                _ => {
                    let sharing = names.entry(identity.clone()).or_default();
                    sharing.push(name.clone());
                    if sharing.len() == 1 {
                        let (writer, layer) = (Arc::clone(&self.writer), Arc::clone(layer));
                        storing.spawn_blocking(move || writer.layer(&layer).map(|stored| (identity, stored)));
                    }
                }
            }
        }
        while let Some(done) = storing.join_next().await {
            let (identity, blob) = done.map_err(BuildError::Worker)??;
            self.cache.layers.insert(identity.clone(), blob.descriptor.clone());
            let mut written = blob.written;
            for name in names.remove(&identity).unwrap_or_default() {
                let written = std::mem::take(&mut written);
                let made = LayerMade { identity: identity.clone(), descriptor: blob.descriptor.clone(), written };
                stored.insert(name, made);
            }
        }
        Ok(stored)
    }

    fn identity(&self, layer: &Layer) -> Result<Digest, ImageError> {
        layer.identity(|path| {
            let record = self.cache.files.get(path).map(|record| record.digest.clone());
            record.map_or_else(|| Digest::of_file(path).map_err(ImageError::io("read", path)), Ok)
        })
    }

    fn image(&mut self, recipe: Recipe, layers: &mut BTreeMap<String, LayerMade>) -> Result<Made, BuildError> {
        // Layers are shared; their bytes count once, with the first image that uses them.
        let of_layers: u64 = recipe
            .layers
            .iter()
            .filter_map(|name| layers.get_mut(name).map(|layer| std::mem::take(&mut layer.written)))
            .sum();
        let parts: Vec<&LayerMade> = recipe.layers.iter().map(|name| &layers[name]).collect();
        let descriptors: Vec<Descriptor> = parts.iter().map(|part| part.descriptor.clone()).collect();
        let document = ImageDocument::new(recipe.execution.clone(), &descriptors);
        let config = self.writer.document(CONFIG, &document)?;
        let manifest = self.writer.document(MANIFEST, &Manifest::new(config.descriptor, descriptors))?;
        let digest = &manifest.descriptor.digest;
        let reference = format!("{}:{}-{}", recipe.repository, recipe.version, digest.short());

        let inputs = recipe.inputs(parts.iter().map(|part| &part.identity), |path| {
            self.cache.files.get(path).map(|record| record.digest.clone())
        });
        let why = self.cache.why(&recipe.key, &recipe.repository, &inputs, manifest.written > 0);
        self.cache.remember(&recipe.key, &recipe.repository, Entry { inputs });
        self.writer.name(&reference, &manifest.descriptor)?;

        let written = of_layers + config.written + manifest.written;
        let image = BuiltImage { reference, manifest: manifest.descriptor, why };
        Ok(Made { variant: recipe.variant, repository: recipe.repository, image, written })
    }
}

struct LayerMade {
    identity: Digest,
    descriptor: Descriptor,
    written: u64,
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, BuildError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(BuildError::Worker)??)
}
