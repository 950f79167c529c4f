//! Images of Dockerfiles: the engine builds them, and what it made goes into the build layout.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BuildError;
use super::cache::Cache;
use super::work::blocking;
use crate::config::{Config, Dockerfile, Program};
use crate::docker::{Engine, ImageBuild};
use crate::event::What;
use crate::image::document::Descriptor;
use crate::image::layer::{EXECUTABLE, Entry, Layer, READABLE};
use crate::image::layout::Writer;
use crate::image::{Digest, ImageError, archive};
use crate::pipeline::Tell;

mod ignore;

use ignore::Ignored;

/// How many images the engine builds side by side.
const AT_ONCE: usize = 2;
/// The Dockerfile's name in a context that does not hold it.
const OUTSIDE: &str = ".gameday-dockerfile";
const IGNORE_FILE: &str = ".dockerignore";
/// The deepest directory of a context; deeper is a mistake.
const DEPTH_MAX: usize = 64;

/// What an image of a Dockerfile is built from.
pub(super) struct Context {
    /// The files that go to the engine.
    pub(super) files: Layer,
    /// The Dockerfile's path among them.
    dockerfile: String,
}

/// What the engine made, before settings are baked in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Base {
    /// Stands for all that it was made of.
    key: Digest,
    /// Its configuration, as the engine wrote it.
    pub(super) document: Value,
    pub(super) layers: Vec<Descriptor>,
    /// What it was made of: names, and values or digests.
    #[serde(skip)]
    pub(super) inputs: BTreeMap<String, String>,
    /// Bytes that were written for it this time.
    #[serde(skip)]
    pub(super) written: u64,
}

/// The contexts of all images that have a Dockerfile, by repository.
pub(super) fn contexts(config: &Config) -> Result<BTreeMap<String, Context>, ImageError> {
    let dockerfiles = config.images.iter().filter_map(|(repository, image)| match &image.program {
        Program::Dockerfile(dockerfile) => Some((repository, dockerfile)),
        Program::Cargo(_) | Program::Host(_) | Program::Pull(_) => None,
    });
    dockerfiles.map(|(repository, dockerfile)| Ok((repository.clone(), context(dockerfile)?))).collect()
}

/// Builds what changed, several at once; the engine is asked only where something did.
pub(super) async fn bases(
    config: &Config,
    contexts: &BTreeMap<String, Context>,
    writer: &Arc<Writer>,
    cache: &mut Cache,
    tell: &Tell,
) -> Result<BTreeMap<String, Base>, BuildError> {
    let mut bases = BTreeMap::new();
    let mut changed = Vec::new();
    for (repository, context) in contexts {
        let Program::Dockerfile(dockerfile) = &config.images[repository].program else { continue };
        let (key, inputs) = described(dockerfile, context, cache)?;
        let known = cache.dockerfiles.get(repository).filter(|known| known.key == key);
        match known.filter(|known| known.layers.iter().all(|layer| writer.layout().has(layer))) {
            Some(known) => {
                bases.insert(repository.clone(), Base { inputs, ..known.clone() });
            }
            None => changed.push((repository, dockerfile, context, key, inputs)),
        }
    }
    if changed.is_empty() {
        return Ok(bases);
    }
    let engine = Engine::connect().await?;
    let (engine, system) = (&engine, &config.system.name);
    let building = changed.into_iter().map(|(repository, dockerfile, context, key, inputs)| async move {
        let tag = format!("gameday/{system}-{repository}:latest");
        let work = Work { engine, repository, tag, writer, tell };
        let archive::Unpacked { document, layers, written } = work.build(dockerfile, context).await?;
        Ok::<_, BuildError>((repository.clone(), Base { key, document, layers, inputs, written }))
    });
    let built: Vec<(String, Base)> = stream::iter(building).buffer_unordered(AT_ONCE).try_collect().await?;
    for (repository, base) in built {
        cache.dockerfiles.insert(repository.clone(), base.clone());
        bases.insert(repository, base);
    }
    Ok(bases)
}

struct Work<'a> {
    engine: &'a Engine,
    repository: &'a str,
    tag: String,
    writer: &'a Arc<Writer>,
    tell: &'a Tell,
}

impl Work<'_> {
    async fn build(&self, dockerfile: &Dockerfile, context: &Context) -> Result<archive::Unpacked, BuildError> {
        let spool = self.writer.temporary()?;
        let (path, open) = (spool.path().to_owned(), spool.reopen());
        let open = open.map_err(ImageError::io("write", &path))?;
        let files = context.files.clone();
        let written = path.clone();
        blocking(move || files.write(std::io::BufWriter::new(open), &written).map(drop)).await?;
        let options = ImageBuild {
            image: self.repository,
            tag: &self.tag,
            dockerfile: &context.dockerfile,
            target: dockerfile.target.as_deref(),
            args: &dockerfile.args,
        };
        let said = |line: String| {
            let line = format!("{}: {line}", self.repository);
            self.tell.pass_on(What::StageSaid { stage: "build".to_owned(), line });
        };
        self.engine.build_image(&path, &options, said).await?;
        // What was sent is of no more use, and what comes back takes its place.
        let saved = self.writer.temporary()?;
        self.engine.save_image(&self.tag, saved.path()).await?;
        let writer = Arc::clone(self.writer);
        blocking(move || archive::unpack(saved.path(), &writer)).await
    }
}

/// The digest of everything that the image is made of, and each of it by name.
fn described(
    dockerfile: &Dockerfile,
    context: &Context,
    cache: &Cache,
) -> Result<(Digest, BTreeMap<String, String>), ImageError> {
    let digest = |path: &Path| match cache.files.get(path) {
        Some(record) => Ok(record.digest.clone()),
        None => Digest::of_file(path).map_err(ImageError::io("read", path)),
    };
    let mut inputs = BTreeMap::new();
    for (name, path) in context.files.files() {
        let what = if name == context.dockerfile { "Dockerfile".to_owned() } else { format!("file {name}") };
        inputs.insert(what, digest(path)?.to_string());
    }
    inputs.extend(dockerfile.args.iter().map(|(name, value)| (format!("arg {name}"), value.clone())));
    inputs.extend(dockerfile.target.iter().map(|target| ("target".to_owned(), target.clone())));
    let identity = context.files.identity(digest)?;
    let text = format!("dockerfile 1\n{identity}\n{}\n{inputs:?}\n", context.dockerfile);
    Ok((Digest::of(text.as_bytes()), inputs))
}

/// The files that an image is built from, without those that `.dockerignore` leaves behind.
fn context(image: &Dockerfile) -> Result<Context, ImageError> {
    let ignore_file = image.context.join(IGNORE_FILE);
    let text = match fs::read_to_string(&ignore_file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(ImageError::io("read", &ignore_file)(error)),
    };
    let mut files = Layer::default();
    let ignored = Ignored::parse(text.as_deref().unwrap_or_default());
    walk(&image.context, "", &ignored, &mut files, 0)?;
    // Both go to the engine in any case; it removes them after reading, where they are ignored.
    let dockerfile = match image.file.strip_prefix(&image.context) {
        Ok(inside) => {
            let name = inside.to_string_lossy().into_owned();
            files.put(&name, Entry::File { from: image.file.clone(), mode: READABLE })?;
            if text.is_some() {
                files.put(IGNORE_FILE, Entry::File { from: ignore_file, mode: READABLE })?;
            }
            name
        }
        Err(_) => {
            files.put(OUTSIDE, Entry::File { from: image.file.clone(), mode: READABLE })?;
            let own = text.as_ref().map_or(IGNORE_FILE, |_| "");
            let content = format!("{}\n{OUTSIDE}\n{own}\n", text.unwrap_or_default());
            files.put(IGNORE_FILE, Entry::Text { content, mode: READABLE })?;
            OUTSIDE.to_owned()
        }
    };
    Ok(Context { files, dockerfile })
}

fn walk(directory: &Path, inside: &str, ignored: &Ignored, files: &mut Layer, depth: usize) -> Result<(), ImageError> {
    if depth > DEPTH_MAX {
        let reason = format!("it is deeper than {DEPTH_MAX} directories");
        return Err(ImageError::Corrupt { path: directory.to_owned(), reason });
    }
    for entry in fs::read_dir(directory).map_err(ImageError::io("list", directory))? {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        let from = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        let metadata = fs::symlink_metadata(&from).map_err(ImageError::io("read", &from))?;
        let stays = ignored.ignores(&path);
        if metadata.is_dir() {
            if !stays {
                files.put(&path, Entry::Directory { mode: EXECUTABLE })?;
            }
            if !stays || ignored.takes_back() {
                walk(&from, &path, ignored, files, depth + 1)?;
            }
        } else if stays || path == IGNORE_FILE {
            // The ignore file is put by whoever knows what must stand in it.
        } else if metadata.is_symlink() {
            let to = fs::read_link(&from).map_err(ImageError::io("read", &from))?;
            files.put(&path, Entry::Link { to: to.to_string_lossy().into_owned() })?;
        } else if metadata.is_file() {
            let mode = if metadata.permissions().mode() & 0o111 == 0 { READABLE } else { EXECUTABLE };
            files.put(&path, Entry::File { from, mode })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn names(context: &Context) -> Vec<&str> {
        context.files.files().map(|(name, _)| name).collect()
    }

    fn of(file: &str, context: &str, root: &Path) -> Context {
        let (file, context) = (root.join(file), root.join(context));
        super::context(&Dockerfile { file, context, target: None, args: BTreeMap::new() }).unwrap()
    }

    #[test]
    fn a_context_is_what_is_not_ignored() {
        let files = [
            ("app/Dockerfile", "FROM scratch"),
            ("app/.dockerignore", "*\n!src\nsrc/*.key\n"),
            ("app/src/main.txt", "x"),
            ("app/src/a.key", "hush"),
            ("app/target/big", "x"),
        ];
        let directory = place(&files);
        let context = of("app/Dockerfile", "app", directory.path());
        assert_eq!(names(&context), [".dockerignore", "Dockerfile", "src/main.txt"]);
        assert_eq!(context.dockerfile, "Dockerfile");
    }

    #[test]
    fn a_dockerfile_outside_comes_along_and_is_kept_out_of_the_image() {
        let directory = place(&[("build/web.docker", "FROM scratch"), ("app/a", "x")]);
        let context = of("build/web.docker", "app", directory.path());
        assert_eq!((names(&context), context.dockerfile.as_str()), (vec![OUTSIDE, "a"], OUTSIDE));
    }

    #[test]
    fn the_key_covers_files_dockerfile_arguments_and_target() {
        let directory = place(&[("Dockerfile", "FROM scratch"), ("a", "x"), ("b", "x"), (".dockerignore", "b")]);
        let key = |target: Option<&str>, arg: &str| {
            let dockerfile = Dockerfile {
                file: directory.path().join("Dockerfile"),
                context: directory.path().to_owned(),
                target: target.map(str::to_owned),
                args: [("ARG".to_owned(), arg.to_owned())].into(),
            };
            let context = super::context(&dockerfile).unwrap();
            described(&dockerfile, &context, &Cache::default()).unwrap().0
        };
        let first = key(None, "1");
        fs::write(directory.path().join("b"), "ignored").unwrap();
        assert_eq!(key(None, "1"), first);
        assert_ne!(key(None, "2"), first);
        assert_ne!(key(Some("stage"), "1"), first);
        fs::write(directory.path().join("a"), "changed").unwrap();
        assert_ne!(key(None, "1"), first);
        fs::write(directory.path().join("a"), "x").unwrap();
        assert_eq!(key(None, "1"), first);
        fs::write(directory.path().join("Dockerfile"), "FROM scratch\nCOPY a /a").unwrap();
        assert_ne!(key(None, "1"), first);
    }
}
