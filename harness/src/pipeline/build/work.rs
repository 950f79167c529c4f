//! The work of one build: what is made, and what it cost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::cache::{self, Cache, Entry};
use super::dockerfile::{self, Base, Context};
use super::recipe::{self, Recipe, Recipes};
use super::supply::{self, Supplied, Supply};
use super::{BuildError, BuiltImage, Variant, cache_file, layout};
use crate::config::{CargoBinary, Config};
use crate::image::document::{CONFIG, Descriptor, ImageDocument, MANIFEST, Manifest};
use crate::image::layer::Layer;
use crate::image::layout::{KEPT_PER_REPOSITORY, Writer};
use crate::image::{Digest, ImageError};
use crate::pipeline::Tell;

/// An image that was made, with what it cost.
pub(super) struct Made {
    pub(super) variant: Variant,
    pub(super) repository: String,
    pub(super) image: BuiltImage,
    pub(super) written: u64,
}

impl Made {
    /// An image of others, which is the same one in every variant.
    fn supplied(variant: &Variant, (repository, (image, written)): (&String, &(BuiltImage, u64))) -> Self {
        Self { variant: variant.clone(), repository: repository.clone(), image: image.clone(), written: *written }
    }
}

/// The state of one build: the layout is locked while it lives.
pub(super) struct Work {
    writer: Arc<Writer>,
    cache: Cache,
    cache_file: PathBuf,
}

impl Work {
    pub(super) async fn begin(config: &Config) -> Result<Self, BuildError> {
        let cache_file = cache_file(config);
        let cache = Cache::load(&cache_file);
        let layout = layout(config);
        let writer = blocking(move || layout.writer()).await?;
        Ok(Self { writer: Arc::new(writer), cache, cache_file })
    }

    /// Makes every image of these variants; with them, what else is to be told.
    pub(super) async fn make(
        mut self,
        config: &Config,
        variants: &[Variant],
        supply: Supply,
        programs: &BTreeMap<CargoBinary, PathBuf>,
        tell: &Tell,
    ) -> Result<(Vec<Made>, Vec<String>), BuildError> {
        let Supplied { images, facts } = supply::obtain(config, supply, &self.writer, &mut self.cache).await?;
        let contexts = blocking_contexts(config).await?;
        self.hash_files(contexts.values().map(|context| &context.files)).await?;
        let bases = dockerfile::bases(config, &contexts, &self.writer, &mut self.cache, tell).await?;
        let is_there = |repository: &str| images.contains_key(repository);
        let recipes = recipe::all(config, variants, programs, &bases, is_there)?;
        self.hash_files(recipes.layers.values().map(Arc::as_ref)).await?;
        let mut layers = self.store_layers(&recipes).await?;
        layers.extend(bases.iter().flat_map(|(repository, base)| of_base(repository, base)));
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
    async fn hash_files(&mut self, layers: impl Iterator<Item = &Layer>) -> Result<(), BuildError> {
        let files: BTreeSet<PathBuf> =
            layers.flat_map(|layer| layer.files().map(|(_, path)| path.to_owned()).collect::<Vec<_>>()).collect();
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
        let config = match &recipe.base {
            Some(base) => self.writer.document(CONFIG, &recipe::baked(base, &recipe.execution.env))?,
            None => self.writer.document(CONFIG, &ImageDocument::new(recipe.execution.clone(), &descriptors))?,
        };
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

/// The layers of a Dockerfile, as recipes name them; what was written counts with the first.
fn of_base(repository: &str, base: &Base) -> Vec<(String, LayerMade)> {
    let mut written = base.written;
    let layers = base.layers.iter().enumerate().map(|(number, layer)| {
        let made = LayerMade {
            identity: layer.digest.clone(),
            descriptor: layer.clone(),
            written: std::mem::take(&mut written),
        };
        (recipe::layer_of_base(repository, number), made)
    });
    layers.collect()
}

/// Reads the contexts of Dockerfiles, which may be large.
async fn blocking_contexts(config: &Config) -> Result<BTreeMap<String, Context>, BuildError> {
    let config = config.clone();
    blocking(move || dockerfile::contexts(&config)).await
}

struct LayerMade {
    identity: Digest,
    descriptor: Descriptor,
    written: u64,
}

/// Runs work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, BuildError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(BuildError::Worker)??)
}
