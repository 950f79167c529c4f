//! The images of `gate.toml`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{Place, check_tag};
use crate::config::{CargoBinary, ConfigError, CopiedFile, Dockerfile, ImageConfig, Program, Pull};
use crate::registry::Source;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ImageForm {
    cargo: Option<CargoBinary>,
    host_binaries: Option<Spanned<Vec<String>>>,
    pull: Option<Spanned<String>>,
    dockerfile: Option<String>,
    context: Option<Spanned<String>>,
    target: Option<Spanned<String>>,
    #[serde(default)]
    args: BTreeMap<String, String>,
    #[serde(default)]
    busybox: bool,
    entrypoint: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<FileForm>,
    version: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileForm {
    from: String,
    to: Spanned<String>,
}

impl ImageForm {
    /// Whether it may come from others as it is, so that nothing can be baked into it.
    pub(super) fn is_pulled(&self) -> bool {
        self.pull.is_some()
    }

    /// Whether we lay it out ourselves, at least where it cannot be pulled.
    fn is_made_here(&self) -> bool {
        self.cargo.is_some() || self.host_binaries.is_some()
    }
}

pub(super) fn images(
    forms: BTreeMap<Spanned<String>, ImageForm>,
    root: &Path,
    place: &Place<'_>,
) -> Result<BTreeMap<String, ImageConfig>, ConfigError> {
    forms
        .into_iter()
        .map(|(repository, form)| {
            if !is_repository(repository.get_ref()) {
                let message = "an image repository is lower case: a-z, 0-9, `.`, `_`, `-` and `/`";
                return Err(place.invalid(Some(repository.span()), message));
            }
            let image = image(form, &repository, root, place)?;
            Ok((repository.into_inner(), image))
        })
        .collect()
}

fn image(
    form: ImageForm,
    repository: &Spanned<String>,
    root: &Path,
    place: &Place<'_>,
) -> Result<ImageConfig, ConfigError> {
    if let Some(program) = dockerfile(&form, repository, root, place)? {
        let env = form.env;
        let version = form.version.map(Spanned::into_inner);
        return Ok(ImageConfig { program, busybox: false, entrypoint: Vec::new(), env, files: Vec::new(), version });
    }
    let is_made_here = form.is_made_here();
    let laid_out = form.busybox || !form.files.is_empty() || !form.env.is_empty() || form.entrypoint.is_some();
    if !is_made_here && laid_out && form.pull.is_some() {
        let message = "an image that is only pulled stays as it is: `busybox`, `files`, `env` and `entrypoint` \
                       are for the `host-binaries` that stand in for it";
        return Err(place.invalid(Some(repository.span()), message));
    }
    let mut version = form.version.map(Spanned::into_inner);
    let program = match (form.cargo, form.host_binaries, form.pull) {
        (Some(cargo), None, None) => Program::Cargo(cargo),
        (None, Some(programs), None) => Program::Host(named(programs, place)?),
        (None, programs, Some(pull)) => {
            let otherwise = programs.map_or(Ok(Vec::new()), |programs| named(programs, place))?;
            let source = source(&pull, place)?;
            version = Some(match (version, source.tag()) {
                (Some(version), _) => version,
                (None, Some(tag)) => tag.to_owned(),
                (None, None) => {
                    let message = "an image that is pulled by its digest alone needs a `version`, for its tag here";
                    return Err(place.invalid(Some(pull.span()), message));
                }
            });
            Program::Pull(Pull { source, otherwise })
        }
        (None, None, None) | (Some(_), _, _) => {
            return Err(place.invalid(Some(repository.span()), &one_of(repository.get_ref())));
        }
    };
    let files = form.files.into_iter().map(|copied| copied_file(copied, root, place));
    Ok(ImageConfig {
        program,
        busybox: form.busybox,
        entrypoint: entrypoint(form.entrypoint, is_made_here, repository.span(), place)?,
        env: form.env,
        files: files.collect::<Result<_, _>>()?,
        version,
    })
}

fn one_of(repository: &str) -> String {
    format!(
        "image `{repository}` needs one of `cargo = {{ package, bin }}`, `host-binaries = […]`, `dockerfile = \"…\"` and \
         `pull = \"…\"`; `host-binaries` beside `pull` are for machines that cannot pull"
    )
}

/// What the engine builds, where the image has a Dockerfile.
fn dockerfile(
    form: &ImageForm,
    repository: &Spanned<String>,
    root: &Path,
    place: &Place<'_>,
) -> Result<Option<Program>, ConfigError> {
    if let Some(version) = &form.version {
        check_tag(version, place)?;
    }
    let Some(file) = &form.dockerfile else {
        let alone = form.context.as_ref().or(form.target.as_ref()).map(Spanned::span);
        let alone = alone.or((!form.args.is_empty()).then(|| repository.span()));
        return match alone {
            Some(span) => {
                Err(place
                    .invalid(Some(span), "`context`, `target` and `args` are about a `dockerfile`, and there is none"))
            }
            None => Ok(None),
        };
    };
    if form.is_made_here() || form.is_pulled() {
        return Err(place.invalid(Some(repository.span()), &one_of(repository.get_ref())));
    }
    if form.busybox || !form.files.is_empty() || form.entrypoint.is_some() {
        let message = "what an image of a Dockerfile has in it and how it starts, the Dockerfile says: \
                       `busybox`, `files` and `entrypoint` are for the others";
        return Err(place.invalid(Some(repository.span()), message));
    }
    let file = root.join(file);
    let context = match &form.context {
        Some(context) => root.join(context.get_ref()),
        None => file.parent().unwrap_or(root).to_owned(),
    };
    let target = form.target.as_ref().map(|target| target.get_ref().clone());
    Ok(Some(Program::Dockerfile(Dockerfile { file, context, target, args: form.args.clone() })))
}

fn named(programs: Spanned<Vec<String>>, place: &Place<'_>) -> Result<Vec<String>, ConfigError> {
    if programs.get_ref().is_empty() {
        return Err(place.invalid(Some(programs.span()), "`host-binaries` is empty: name at least one program"));
    }
    Ok(programs.into_inner())
}

fn source(pull: &Spanned<String>, place: &Place<'_>) -> Result<Source, ConfigError> {
    pull.get_ref().parse().map_err(|message: String| place.invalid(Some(pull.span()), &message))
}

fn entrypoint(
    entrypoint: Option<Spanned<Vec<String>>>,
    is_needed: bool,
    image: Range<usize>,
    place: &Place<'_>,
) -> Result<Vec<String>, ConfigError> {
    match entrypoint {
        Some(words) if words.get_ref().is_empty() => {
            Err(place.invalid(Some(words.span()), "`entrypoint` is empty: name the program to run"))
        }
        Some(words) => Ok(words.into_inner()),
        None if is_needed => Err(place.invalid(Some(image), "an image needs an `entrypoint`: name the program to run")),
        None => Ok(Vec::new()),
    }
}

fn copied_file(copied: FileForm, root: &Path, place: &Place<'_>) -> Result<CopiedFile, ConfigError> {
    if !copied.to.get_ref().starts_with('/') {
        return Err(place.invalid(Some(copied.to.span()), "`to` is a path in the image and starts with `/`"));
    }
    let from: PathBuf = root.join(copied.from);
    Ok(CopiedFile { from, to: copied.to.into_inner() })
}

fn is_repository(text: &str) -> bool {
    !text.is_empty()
        && text.split('/').all(|part| {
            part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
                && part.chars().all(|character| {
                    character.is_ascii_lowercase() || character.is_ascii_digit() || "._-".contains(character)
                })
        })
}
