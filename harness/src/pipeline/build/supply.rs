//! Images of others: pulled where their registry answers, else made of installed programs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::cache::{Cache, Silence};
use super::{BuildError, BuiltImage, Destination, Why, cache_file, layout};
use crate::clock::wall_clock;
use crate::config::{Config, ImageConfig, Program, Pull};
use crate::image::document::Descriptor;
use crate::image::layout::Writer;
use crate::registry::{Pulled, Registry, RegistryError};

/// How long a registry that could not be pulled from is not asked again, where there is another way.
const SILENT_FOR: Duration = Duration::from_secs(10 * 60);

/// Where images of others come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// Made of installed programs where `gate.toml` names some: the embedded cluster needs no network.
    Installed,
    /// Pulled, and made of installed programs only where that fails.
    Pulled,
}

impl Supply {
    /// What suits a cluster that pulls from there.
    #[must_use]
    pub fn of(destination: &Destination) -> Self {
        match destination {
            Destination::Layout(_) => Self::Installed,
            Destination::Registry(_) => Self::Pulled,
        }
    }
}

/// Images that came from others, and what is to be told of those that did not.
#[derive(Default)]
pub(super) struct Supplied {
    /// By repository, each with the bytes that were written for it.
    pub(super) images: BTreeMap<String, (BuiltImage, u64)>,
    pub(super) facts: Vec<String>,
}

/// What to do about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It was pulled before.
    There(Descriptor),
    Ask,
    /// It is made of installed programs, perhaps for a reason that is worth telling.
    Installed(Option<String>),
}

/// Gets every image of others that is to be pulled.
pub(super) async fn obtain(
    config: &Config,
    supply: Supply,
    writer: &Writer,
    cache: &mut Cache,
) -> Result<Supplied, BuildError> {
    let mut supplied = Supplied::default();
    for (repository, image) in &config.images {
        let Program::Pull(pull) = &image.program else { continue };
        let known = cache.pulled.get(&pull.source.to_string());
        let known = known.filter(|manifest| writer.layout().has_image(manifest)).cloned();
        let silence = cache.silent.get(pull.source.registry().host());
        let (manifest, why, written) = match way(pull, supply, known, silence, wall_clock()) {
            Way::There(manifest) => (manifest, Why::Unchanged, 0),
            Way::Installed(reason) => {
                supplied.facts.extend(reason.map(|reason| installed(repository, pull, &reason)));
                continue;
            }
            Way::Ask => match ask(pull, writer, cache).await {
                Ok(Pulled { manifest, written }) => (manifest, Why::Pulled, written),
                Err(error) if pull.otherwise.is_empty() => return Err(error.into()),
                Err(error) => {
                    supplied.facts.push(installed(repository, pull, &format!("failed to {error}")));
                    continue;
                }
            },
        };
        let version = image.version.as_deref().unwrap_or("pulled");
        let reference = format!("{repository}:{version}-{}", manifest.digest.short());
        writer.name(&reference, &manifest)?;
        supplied.images.insert(repository.clone(), (BuiltImage { reference, manifest, why }, written));
    }
    Ok(supplied)
}

/// How each image of others would be had for a cluster that pulls from a registry, and why, by
/// repository. Asks no registry.
#[must_use]
pub fn supplies(config: &Config) -> Vec<(String, String)> {
    let cache = Cache::load(&cache_file(config));
    let layout = layout(config);
    let of = |(repository, image): (&String, &ImageConfig)| {
        let Program::Pull(pull) = &image.program else { return None };
        let known = cache.pulled.get(&pull.source.to_string());
        let known = known.filter(|manifest| layout.has_image(manifest)).cloned();
        let silence = cache.silent.get(pull.source.registry().host());
        let mut words = match way(pull, Supply::Pulled, known, silence, wall_clock()) {
            Way::There(manifest) => format!("{} was pulled as {}", pull.source, manifest.digest),
            Way::Ask => format!("{} is pulled when it is first pushed to a registry", pull.source),
            Way::Installed(reason) => {
                format!("made of installed programs, because {}", reason.unwrap_or_default())
            }
        };
        if !pull.otherwise.is_empty() {
            let programs = pull.otherwise.join(", ");
            words = format!("{words}; the embedded cluster takes {programs} of this machine");
        }
        Some((repository.clone(), words))
    };
    config.images.iter().filter_map(of).collect()
}

/// Decides from what is known alone.
fn way(pull: &Pull, supply: Supply, known: Option<Descriptor>, silence: Option<&Silence>, now: Timestamp) -> Way {
    let has_another = !pull.otherwise.is_empty();
    if supply == Supply::Installed && has_another {
        return Way::Installed(None);
    }
    if let Some(manifest) = known {
        return Way::There(manifest);
    }
    match silence {
        Some(silence) if has_another && silence.lasts(now) => Way::Installed(Some(silence.reason.clone())),
        _ => Way::Ask,
    }
}

impl Silence {
    /// Whether the registry is still not asked again.
    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        let since = now.duration_since(self.at);
        !since.is_negative() && since.unsigned_abs() < SILENT_FOR
    }
}

async fn ask(pull: &Pull, writer: &Writer, cache: &mut Cache) -> Result<Pulled, RegistryError> {
    let address = pull.source.registry();
    let pulled = match Registry::connect(&address).await {
        Ok(registry) => registry.pull(&pull.source, writer).await,
        Err(error) => Err(error),
    };
    match &pulled {
        Ok(pulled) => {
            cache.pulled.insert(pull.source.to_string(), pulled.manifest.clone());
            cache.silent.remove(address.host());
        }
        Err(error) => {
            let silence = Silence { at: wall_clock(), reason: format!("failed to {error}") };
            cache.silent.insert(address.host().to_owned(), silence);
        }
    }
    pulled
}

fn installed(repository: &str, pull: &Pull, reason: &str) -> String {
    let programs = pull.otherwise.join(", ");
    let minutes = SILENT_FOR.as_secs() / 60;
    format!("{repository}: made of installed {programs}, because {reason}; asked again after {minutes} min")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::image::document::MANIFEST;

    #[test]
    fn the_way_follows_from_the_cluster_and_from_what_is_known() {
        let now = wall_clock();
        let manifest = Descriptor::new(MANIFEST, Digest::of(b"m"), 1);
        let there = Way::There(manifest.clone());
        let silent =
            |seconds: u64| Silence { at: now - Duration::from_secs(seconds), reason: "failed to x".to_owned() };
        let told = Way::Installed(Some("failed to x".to_owned()));
        let check = |otherwise: bool, supply, known: bool, silence: Option<u64>, expect: &Way| {
            let otherwise = if otherwise { vec!["redis-server".to_owned()] } else { Vec::new() };
            let pull = Pull { source: "redis:7.2".parse().unwrap(), otherwise };
            let silence = silence.map(silent);
            let found = way(&pull, supply, known.then(|| manifest.clone()), silence.as_ref(), now);
            assert_eq!(&found, expect, "{pull:?} {supply:?} {known} {silence:?}");
        };
        check(true, Supply::Installed, true, None, &Way::Installed(None));
        check(false, Supply::Installed, true, None, &there);
        check(false, Supply::Installed, false, None, &Way::Ask);
        check(true, Supply::Pulled, true, Some(1), &there);
        check(true, Supply::Pulled, false, None, &Way::Ask);
        check(true, Supply::Pulled, false, Some(1), &told);
        check(true, Supply::Pulled, false, Some(599), &told);
        check(true, Supply::Pulled, false, Some(600), &Way::Ask);
        check(false, Supply::Pulled, false, Some(1), &Way::Ask);
    }
}
