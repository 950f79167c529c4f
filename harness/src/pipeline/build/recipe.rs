//! From `gate.toml` to what images are made of. Reads which libraries programs need; makes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::dockerfile::Base;
use super::{BuildError, Variant};
use crate::config::{CargoBinary, Config, ImageConfig, Program, Pull};
use crate::image::document::Execution;
use crate::image::layer::Layer;
use crate::image::{Digest, host};

/// The environment variable that tells a program its version.
const VERSION_VARIABLE: &str = "APP_VERSION";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Name of the busybox layer, which images share.
const BASE: &str = "busybox";

/// What all images of a build are made of.
pub(super) struct Recipes {
    /// Layers by name; images share them.
    pub(super) layers: BTreeMap<String, Arc<Layer>>,
    /// Images of every variant.
    pub(super) images: Vec<Recipe>,
}

/// What one image is made of.
pub(super) struct Recipe {
    pub(super) variant: Variant,
    pub(super) repository: String,
    /// Repository, version and flaw: what a rebuild is compared against.
    pub(super) key: String,
    /// The version in the tag.
    pub(super) version: String,
    /// Names of its layers, lowest first.
    pub(super) layers: Vec<String>,
    pub(super) execution: Execution,
    /// The configuration that the engine wrote, where it has a Dockerfile.
    pub(super) base: Option<Value>,
    /// Files by the name under which a change of them is told.
    files: Vec<(String, PathBuf)>,
    /// What else a change of is told.
    inputs: BTreeMap<String, String>,
}

/// What every image of these variants is made of, but those that are there already.
pub(super) fn all(
    config: &Config,
    variants: &[Variant],
    programs: &BTreeMap<CargoBinary, PathBuf>,
    bases: &BTreeMap<String, Base>,
    is_there: impl Fn(&str) -> bool,
) -> Result<Recipes, BuildError> {
    let mut recipes = Recipes { layers: BTreeMap::new(), images: Vec::new() };
    for (repository, image) in config.images.iter().filter(|(repository, _)| !is_there(repository)) {
        let mut layers = Vec::new();
        let mut files = Vec::new();
        for (name, layer) in layers_of(repository, image, programs)? {
            if name != BASE {
                files.extend(layer.files().map(|(path, from)| (input_name(image, path), from.to_owned())));
            }
            recipes.layers.entry(name.clone()).or_insert_with(|| Arc::new(layer));
            layers.push(name);
        }
        let base = bases.get(repository);
        layers.extend(
            base.iter().flat_map(|base| (0..base.layers.len()).map(|number| layer_of_base(repository, number))),
        );
        for variant in variants {
            let mut recipe = recipe(config, variant, repository, image, &layers, &files);
            if let Some(base) = base {
                recipe.base = Some(base.document.clone());
                recipe.inputs.clone_from(&base.inputs);
            }
            recipes.images.push(recipe);
        }
    }
    Ok(recipes)
}

/// The name of a layer of a Dockerfile.
pub(super) fn layer_of_base(repository: &str, number: usize) -> String {
    format!("dockerfile of {repository}, layer {number}")
}

/// A configuration with these settings in its environment: `NAME=value`.
pub(super) fn baked(base: &Value, env: &[String]) -> Value {
    let name = |setting: &str| setting.split('=').next().unwrap_or_default().to_owned();
    let mut document = base.clone();
    let of_base = base["config"]["Env"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let kept = of_base.filter(|setting| !env.iter().any(|other| name(other) == name(setting)));
    let all: Vec<&str> = kept.chain(env.iter().map(String::as_str)).collect();
    document["config"]["Env"] = all.into();
    document
}

fn layers_of(
    repository: &str,
    image: &ImageConfig,
    programs: &BTreeMap<CargoBinary, PathBuf>,
) -> Result<Vec<(String, Layer)>, BuildError> {
    let mut layers = Vec::new();
    if image.busybox {
        layers.push((BASE.to_owned(), host::base_layer()?));
    }
    match &image.program {
        Program::Cargo(binary) => {
            let mut layer = Layer::default();
            host::add_program(&mut layer, &programs[binary], &format!("/{}", binary.bin))?;
            layers.push((format!("binary {}", binary.bin), layer));
        }
        Program::Host(names) | Program::Pull(Pull { otherwise: names, .. }) => {
            layers.push((format!("programs {}", names.join(" ")), host::programs_layer(names)?));
        }
        // The engine makes its layers.
        Program::Dockerfile(_) => {}
    }
    let mut copied = Layer::default();
    for file in &image.files {
        copied.copy(&file.from, &file.to)?;
    }
    if !copied.is_empty() {
        layers.push((format!("files of {repository}"), copied));
    }
    Ok(layers)
}

fn recipe(
    config: &Config,
    variant: &Variant,
    repository: &str,
    image: &ImageConfig,
    layers: &[String],
    files: &[(String, PathBuf)],
) -> Recipe {
    let mut env = match &image.program {
        // It has one of its own.
        Program::Dockerfile(_) => BTreeMap::new(),
        Program::Cargo(_) | Program::Host(_) | Program::Pull(_) => {
            BTreeMap::from([("PATH".to_owned(), PATH.to_owned())])
        }
    };
    env.extend(image.env.clone());
    let released = config.release_version(variant.release);
    if image.version.is_none() {
        env.insert(VERSION_VARIABLE.to_owned(), released.to_owned());
    }
    let flaw = variant.flaw.as_ref().and_then(|name| config.builds.get(name).map(|build| (name, build)));
    let flaw = flaw.filter(|(_, build)| build.images.iter().any(|image| image == repository));
    if let Some((_, build)) = flaw {
        env.extend(build.env.clone());
    }
    let version = image.version.as_deref().unwrap_or(released).to_owned();
    let key =
        flaw.map_or_else(|| format!("{repository} {version}"), |(name, _)| format!("{repository} {version} {name}"));
    Recipe {
        variant: variant.clone(),
        repository: repository.to_owned(),
        key,
        version,
        layers: layers.to_vec(),
        execution: Execution {
            env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            entrypoint: image.entrypoint.clone(),
            working_dir: "/".to_owned(),
        },
        base: None,
        files: files.to_vec(),
        inputs: BTreeMap::new(),
    }
}

impl Recipe {
    /// Every input by the name under which a change of it is told.
    pub(super) fn inputs<'a>(
        &self,
        layers: impl Iterator<Item = &'a Digest>,
        digest: impl Fn(&Path) -> Option<Digest>,
    ) -> BTreeMap<String, String> {
        let mut inputs = self.inputs.clone();
        for setting in &self.execution.env {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            inputs.insert(format!("env {name}"), value.to_owned());
        }
        inputs.insert("entrypoint".to_owned(), self.execution.entrypoint.join(" "));
        for (name, path) in &self.files {
            inputs.insert(name.clone(), digest(path).map_or_else(String::new, |digest| digest.to_string()));
        }
        if let Some((_, base)) = self.layers.iter().zip(layers).find(|(name, _)| *name == BASE) {
            inputs.insert(BASE.to_owned(), base.to_string());
        }
        inputs
    }
}

fn input_name(image: &ImageConfig, path: &str) -> String {
    match &image.program {
        Program::Cargo(binary) if path == binary.bin => "binary".to_owned(),
        Program::Cargo(_) | Program::Host(_) | Program::Pull(_) | Program::Dockerfile(_) => format!("file /{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_baked_over_those_of_the_dockerfile() {
        let check = |base: Value, env: &[&str], expect: Value| {
            let env: Vec<String> = env.iter().map(|&setting| setting.to_owned()).collect();
            assert_eq!(baked(&base, &env)["config"]["Env"], expect);
        };
        let base = json!({"config": {"Env": ["PATH=/bin", "A=1"]}});
        check(base.clone(), &[], json!(["PATH=/bin", "A=1"]));
        check(base, &["A=2", "B=3"], json!(["PATH=/bin", "A=2", "B=3"]));
        check(json!({"config": {"Env": null}}), &["A=2"], json!(["A=2"]));
        check(json!({}), &["A=2"], json!(["A=2"]));
    }
}
