//! Reading an OCI layout, and unpacking layers for an overlay.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::files::remove_tree;
use super::image::{Image, Reference};

/// The annotation that names an image in an OCI layout.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The one kind of layer that is unpacked here.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Prefix of the entries that say what a layer hides.
const WHITEOUT: &[u8] = b".wh.";

/// An image could not be taken from a layout.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("not found")]
    NotFound,
    #[error("read {path}: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("{path} does not have the digest it is named by")]
    Corrupt { path: PathBuf },
    #[error("layer {digest} is of type `{kind}`; only uncompressed layers (`{LAYER_TYPE}`) are supported")]
    LayerType { digest: String, kind: String },
    #[error("unpack layer {digest}: {reason}")]
    Unpack { digest: String, reason: io::Error },
}

/// What an image's config says of running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    /// `NAME=value`.
    pub(super) env: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub(super) user: String,
    /// `SIGTERM`, or a number.
    pub(super) stop_signal: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    config: Config,
}

/// Resolves the reference in the layout, and unpacks what is missing into `layers`.
///
/// # Errors
/// See [`LayoutError`].
pub(super) fn pull(layout: &Path, layers: &Path, reference: &Reference) -> Result<Image, LayoutError> {
    let digest = match &reference.digest {
        Some(digest) => digest.clone(),
        None => resolve(layout, reference)?,
    };
    let manifest_file = blob(layout, &digest);
    if !manifest_file.exists() {
        return Err(LayoutError::NotFound);
    }
    let manifest: Manifest = read_verified(&manifest_file, &digest)?;
    let config: ConfigFile = read_verified(&blob(layout, &manifest.config.digest), &manifest.config.digest)?;
    let layers_dir = layers.join("sha256");
    let mut names = Vec::new();
    for layer in &manifest.layers {
        if layer.media_type != LAYER_TYPE {
            return Err(LayoutError::LayerType { digest: layer.digest.clone(), kind: layer.media_type.clone() });
        }
        unpack_once(&blob(layout, &layer.digest), &layers_dir, &layer.digest)?;
        names.push(PathBuf::from(hex(&layer.digest)));
    }
    names.reverse();
    Ok(Image {
        id: format!("{}@{digest}", reference.name),
        config: config.config,
        layers_dir,
        layers: names,
        size: manifest.layers.iter().map(|layer| layer.size).sum(),
    })
}

fn resolve(layout: &Path, reference: &Reference) -> Result<String, LayoutError> {
    let index_file = layout.join("index.json");
    let text = match fs::read(&index_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayoutError::NotFound),
        Err(error) => return Err(LayoutError::Unreadable { path: index_file, reason: error.to_string() }),
    };
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| LayoutError::Unreadable { path: index_file, reason: error.to_string() })?;
    let wanted = reference.to_string();
    // The last one wins: writers append.
    let found = index.manifests.into_iter().rev().find(|image| image.annotations.get(NAME_ANNOTATION) == Some(&wanted));
    found.map(|image| image.digest).ok_or(LayoutError::NotFound)
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(hex(digest))
}

/// The digest as one path component, whatever it is.
fn hex(digest: &str) -> String {
    let text = digest.strip_prefix("sha256:").unwrap_or(digest);
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn read_verified<T: DeserializeOwned>(path: &Path, digest: &str) -> Result<T, LayoutError> {
    let unreadable = |reason: String| LayoutError::Unreadable { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    if encode(&Sha256::digest(&bytes)) != hex(digest) {
        return Err(LayoutError::Corrupt { path: path.to_owned() });
    }
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unpacks a layer unless it is there. Another process may do the same at the same time;
/// the first rename wins.
fn unpack_once(blob: &Path, layers_dir: &Path, digest: &str) -> Result<(), LayoutError> {
    let done = layers_dir.join(hex(digest));
    if done.exists() {
        return Ok(());
    }
    verify(blob, digest)?;
    let unpacked = (|| -> io::Result<()> {
        fs::create_dir_all(layers_dir)?;
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(layers_dir)?;
        let root = partial.path().join("root");
        fs::create_dir(&root)?;
        if let Err(error) = unpack(File::open(blob)?, &root) {
            remove_tree(partial.path());
            return Err(error);
        }
        match fs::rename(&root, &done) {
            Err(error) if !done.exists() => Err(error),
            _ => {
                remove_tree(partial.path());
                Ok(())
            }
        }
    })();
    unpacked.map_err(|reason| LayoutError::Unpack { digest: digest.to_owned(), reason })
}

fn verify(blob: &Path, digest: &str) -> Result<(), LayoutError> {
    let read = || -> io::Result<String> {
        let mut file = File::open(blob)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(encode(&hash.finalize())),
                length => hash.update(&buffer[..length]),
            }
        }
    };
    let found = read().map_err(|error| LayoutError::Unreadable { path: blob.to_owned(), reason: error.to_string() })?;
    if found == hex(digest) { Ok(()) } else { Err(LayoutError::Corrupt { path: blob.to_owned() }) }
}

/// Unpacks a tar as an overlay's lower directory. Owners are dropped, because a user has only itself to give files to; so are
/// devices.
fn unpack(tar: impl Read, root: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(tar);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let path = entry.path()?.into_owned();
        if path.file_name().is_some_and(|name| name.as_bytes().starts_with(WHITEOUT)) {
            let why = format!("{} hides files of the layers below, which is not supported", path.display());
            return Err(io::Error::other(why));
        }
        if kind.is_dir() {
            directories.push(entry);
        } else if !(kind.is_block_special() || kind.is_character_special() || kind.is_fifo()) {
            entry.unpack_in(root)?;
        }
    }
    directories.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    for mut directory in directories {
        directory.unpack_in(root)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tar(rows: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content, mode) in rows {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A layout of one image with one layer; returns its directory.
    fn layout(layer: &[u8], layer_type: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = encode(&Sha256::digest(bytes));
            fs::write(blobs.join(&digest), bytes).unwrap();
            format!("sha256:{digest}")
        };
        let config = put(br#"{"config":{"Cmd":["/app"],"Env":["A=b"],"WorkingDir":"/w"},"rootfs":{}}"#);
        let layer_digest = put(layer);
        let manifest = put(format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{config}","size":1}},
                "layers":[{{"mediaType":"{layer_type}","digest":"{layer_digest}","size":{}}}]}}"#,
            layer.len()
        )
        .as_bytes());
        let index = format!(
            r#"{{"manifests":[{{"mediaType":"m","digest":"{manifest}","annotations":{{"{NAME_ANNOTATION}":"demo/app:v1"}}}}]}}"#
        );
        fs::write(dir.path().join("index.json"), index).unwrap();
        dir
    }

    fn pull_from(layout: &Path, reference: &str) -> Result<(Image, tempfile::TempDir), LayoutError> {
        let layers = tempfile::tempdir().unwrap();
        pull(layout, layers.path(), &Reference::parse(reference).unwrap()).map(|image| (image, layers))
    }

    #[test]
    fn an_image_is_found_by_name_and_by_digest() {
        let layout = layout(&tar(&[("app", "x", 0o755)]), LAYER_TYPE);
        let (image, _layers) = pull_from(layout.path(), "demo/app:v1").unwrap();
        assert_eq!((image.config.cmd.as_slice(), image.config.working_dir.as_str()), (&["/app".to_owned()][..], "/w"));
        assert!(image.layers_dir.join(&image.layers[0]).join("app").exists());
        let (same, _layers) = pull_from(layout.path(), &image.id).unwrap();
        assert_eq!(same.id, image.id);
        assert!(matches!(pull_from(layout.path(), "demo/app:v2"), Err(LayoutError::NotFound)));
        assert!(matches!(pull_from(Path::new("/nonexistent"), "demo/app:v1"), Err(LayoutError::NotFound)));
    }

    #[test]
    fn other_layers_are_refused_by_name() {
        let layout = layout(b"", "application/vnd.oci.image.layer.v1.tar+gzip");
        let error = pull_from(layout.path(), "demo/app:v1").unwrap_err();
        assert!(error.to_string().contains("tar+gzip`; only uncompressed layers"), "{error}");
    }

    #[test]
    fn a_changed_blob_is_noticed() {
        let layout = layout(&tar(&[("app", "x", 0o755)]), LAYER_TYPE);
        for entry in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad.push(b' ');
            fs::write(&path, bad).unwrap();
            let result = pull_from(layout.path(), "demo/app:v1");
            assert!(matches!(result, Err(LayoutError::Corrupt { .. })), "{}: {result:?}", path.display());
            fs::write(&path, good).unwrap();
        }
    }

    #[test]
    fn permissions_stay_even_where_they_forbid_writing() {
        let dir = tempfile::tempdir().unwrap();
        unpack(&tar(&[("d/", "", 0o555), ("d/f", "x", 0o400)])[..], dir.path()).unwrap();
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("d"), mode("d/f")), (0o555, 0o400));
        remove_tree(&dir.path().join("d"));
    }

    #[test]
    fn a_layer_that_hides_files_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = unpack(&tar(&[("d/.wh.gone", "", 0)])[..], dir.path()).unwrap_err();
        assert_eq!(refused.to_string(), "d/.wh.gone hides files of the layers below, which is not supported");
    }

    #[test]
    fn entries_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut archive = tar(&[("aa/x", "y", 0o644)]);
        archive[..4].copy_from_slice(b"../x");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&archive[..512]);
        header.set_cksum();
        archive[..512].copy_from_slice(header.as_bytes());
        let _ = unpack(&archive[..], &root);
        assert!(!outside.path().join("x").exists());
    }
}
