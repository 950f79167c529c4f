//! An OCI layout on disk: `oci-layout`, `index.json`, `blobs/sha256/…`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use super::document::{Descriptor, Index, LAYER, Manifest, REF_NAME};
use super::layer::Layer;
use super::{Digest, Hashing, ImageError};

/// How long one writer waits for another.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often it looks.
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// How many images of one repository are kept: the two releases and every bad build of a
/// few edits.
pub const KEPT_PER_REPOSITORY: usize = 24;

/// An OCI layout, for reading.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// An OCI layout, for writing: it holds the layout's lock.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    /// Serialises the writers of this process; other processes are kept out by the lock.
    index: Mutex<()>,
    _lock: File,
}

/// A blob after writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What was stored.
    pub descriptor: Descriptor,
    /// How many bytes were written: 0 where the blob was there.
    pub written: u64,
}

/// What copying an image moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Blobs that were missing.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blobs that were there.
    pub bytes_present: u64,
}

impl Moved {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            blobs: self.blobs + other.blobs,
            bytes: self.bytes + other.bytes,
            bytes_present: self.bytes_present + other.bytes_present,
        }
    }
}

impl Layout {
    /// The layout at this directory; nothing is read or made yet.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where it stands.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the layout where it is absent, and locks it against other processes.
    ///
    /// # Errors
    /// [`ImageError::Locked`] where another process holds it for 30 s, [`ImageError::Io`].
    pub fn writer(&self) -> Result<Writer, ImageError> {
        let blobs = self.root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(ImageError::io("create", &blobs))?;
        let lock = lock(&self.root.join(".lock"))?;
        let marker = self.root.join("oci-layout");
        if !marker.exists() {
            replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(Writer { layout: self.clone(), index: Mutex::new(()), _lock: lock })
    }

    /// Where a blob stands, or would stand.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is there in its full length.
    #[must_use]
    pub fn has(&self, blob: &Descriptor) -> bool {
        fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.size)
    }

    /// Whether every blob of an image is there.
    #[must_use]
    pub fn has_image(&self, manifest: &Descriptor) -> bool {
        self.has(manifest)
            && self
                .manifest(manifest)
                .is_ok_and(|manifest| self.has(&manifest.config) && manifest.layers.iter().all(|layer| self.has(layer)))
    }

    /// The index; an empty one where there is none yet.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`], [`ImageError::Io`].
    pub fn index(&self) -> Result<Index, ImageError> {
        let path = self.root.join("index.json");
        if path.exists() { read_json(&path) } else { Ok(Index::default()) }
    }

    /// The manifest that a descriptor points to.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`], [`ImageError::Io`].
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, ImageError> {
        read_json(&self.blob_path(&descriptor.digest))
    }

    /// The image of this `repository:tag`.
    ///
    /// # Errors
    /// As [`Layout::index`].
    pub fn resolve(&self, reference: &str) -> Result<Option<Descriptor>, ImageError> {
        let index = self.index()?;
        Ok(index.manifests.into_iter().find(|manifest| manifest.reference() == Some(reference)))
    }
}

impl Writer {
    /// The layout that is written to.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Stores a layer's tar.
    ///
    /// # Errors
    /// [`ImageError::Io`]; nothing half-written stays behind.
    pub fn layer(&self, layer: &Layer) -> Result<Stored, ImageError> {
        let file = self.temporary()?;
        let path = file.path().to_owned();
        let hashing = layer.write(Hashing::new(BufWriter::with_capacity(1 << 18, file)), &path)?;
        let (buffered, digest, size) = hashing.finish();
        let file = buffered.into_inner().map_err(|error| ImageError::io("write", &path)(error.into_error()))?;
        self.keep(file, Descriptor::new(LAYER, digest, size))
    }

    /// Stores a JSON document.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn document(&self, media_type: &str, document: &impl Serialize) -> Result<Stored, ImageError> {
        let bytes = serde_json::to_vec(document).expect("documents of the image format have string keys only");
        self.bytes(media_type, &bytes)
    }

    /// Stores what a reader gives; `name` says in messages what that is.
    ///
    /// # Errors
    /// [`ImageError::Io`]; nothing half-written stays behind.
    pub fn blob(&self, media_type: &str, from: &mut impl Read, name: &Path) -> Result<Stored, ImageError> {
        let file = self.temporary()?;
        let path = file.path().to_owned();
        let mut hashing = Hashing::new(BufWriter::with_capacity(1 << 18, file));
        std::io::copy(from, &mut hashing).map_err(ImageError::io("copy", name))?;
        let (buffered, digest, size) = hashing.finish();
        let file = buffered.into_inner().map_err(|error| ImageError::io("write", &path)(error.into_error()))?;
        self.keep(file, Descriptor::new(media_type, digest, size))
    }

    /// Stores these bytes.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Stored, ImageError> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(ImageError::io("write", file.path()))?;
        self.keep(file, Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64))
    }

    /// Copies an image of another layout, its missing blobs only, and names it.
    ///
    /// # Errors
    /// [`ImageError`]; the name is written last, so that it never points to a part of an image.
    pub fn copy(&self, from: &Layout, manifest: &Descriptor, reference: &str) -> Result<Moved, ImageError> {
        let content = from.manifest(manifest)?;
        let mut moved = Moved::default();
        for blob in content.layers.iter().chain([&content.config, manifest]) {
            if self.layout.has(blob) {
                moved.bytes_present += blob.size;
                continue;
            }
            self.copy_blob(&from.blob_path(&blob.digest), blob)?;
            moved.blobs += 1;
            moved.bytes += blob.size;
        }
        self.name(reference, manifest)?;
        Ok(moved)
    }

    /// Makes `repository:tag` point to an image, as the newest one.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn name(&self, reference: &str, manifest: &Descriptor) -> Result<(), ImageError> {
        let _one_at_a_time = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.layout.index()?;
        index.manifests.retain(|other| other.reference() != Some(reference));
        let mut named = Descriptor::new(&manifest.media_type, manifest.digest.clone(), manifest.size);
        named.annotations.insert(REF_NAME.to_owned(), reference.to_owned());
        index.manifests.push(named);
        self.write_index(&index)
    }

    /// Forgets all but the newest images of each repository and removes blobs that no
    /// image needs. Returns the bytes freed.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn prune(&self, kept_per_repository: usize) -> Result<u64, ImageError> {
        let _one_at_a_time = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.layout.index()?;
        let before = index.manifests.len();
        index.manifests = newest(index.manifests, kept_per_repository);
        if index.manifests.len() != before {
            self.write_index(&index)?;
        }
        let mut needed = BTreeSet::new();
        for descriptor in &index.manifests {
            let manifest = self.layout.manifest(descriptor)?;
            needed.insert(descriptor.digest.hex().to_owned());
            needed.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.hex().to_owned()));
        }
        self.sweep(&needed)
    }

    fn sweep(&self, needed: &BTreeSet<String>) -> Result<u64, ImageError> {
        let directory = self.layout.root.join("blobs/sha256");
        let mut freed = 0;
        for entry in fs::read_dir(&directory).map_err(ImageError::io("list", &directory))? {
            let entry = entry.map_err(ImageError::io("list", &directory))?;
            if entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
                continue;
            }
            freed += entry.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(entry.path()).map_err(ImageError::io("remove", &entry.path()))?;
        }
        Ok(freed)
    }

    fn copy_blob(&self, from: &Path, blob: &Descriptor) -> Result<(), ImageError> {
        let to = self.layout.blob_path(&blob.digest);
        // Blobs never change, so two layouts on one file system can share them.
        if !to.exists() && fs::hard_link(from, &to).is_ok() {
            return Ok(());
        }
        let mut source = File::open(from).map_err(ImageError::io("read", from))?;
        let mut file = self.temporary()?;
        std::io::copy(&mut source, file.as_file_mut()).map_err(ImageError::io("copy", from))?;
        self.keep(file, blob.clone()).map(drop)
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(index).expect("an index has string keys only");
        replace(&self.layout.root.join("index.json"), &bytes)
    }

    /// A file beside the blobs, for one that comes in bit by bit; gone unless it is kept.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile, ImageError> {
        let directory = self.layout.root.join("blobs/sha256");
        NamedTempFile::new_in(&directory).map_err(ImageError::io("write in", &directory))
    }

    /// Makes a file a blob. Whoever wrote it has made sure that it is the one that is described.
    pub(crate) fn keep(&self, file: NamedTempFile, descriptor: Descriptor) -> Result<Stored, ImageError> {
        if self.layout.has(&descriptor) {
            return Ok(Stored { descriptor, written: 0 });
        }
        publish(file, &self.layout.blob_path(&descriptor.digest))?;
        let written = descriptor.size;
        Ok(Stored { descriptor, written })
    }
}

/// The newest few of each repository, in the order they had.
fn newest(manifests: Vec<Descriptor>, kept_per_repository: usize) -> Vec<Descriptor> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let mut kept: Vec<Descriptor> = manifests
        .into_iter()
        .rev()
        .filter(|manifest| {
            let repository = manifest.reference().and_then(|reference| reference.rsplit_once(':'));
            let count = counts.entry(repository.map_or_else(String::new, |(name, _)| name.to_owned())).or_default();
            *count += 1;
            *count <= kept_per_repository
        })
        .collect();
    kept.reverse();
    kept
}

/// Takes the lock; the kernel gives it back when the file is closed, however that happens.
#[expect(clippy::disallowed_methods, reason = "file locks have no wait with a deadline; this is one")]
fn lock(path: &Path) -> Result<File, ImageError> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(ImageError::io("open the lock", path))?;
    let looks = LOCK_WAIT.as_millis() / LOCK_LOOK.as_millis();
    for _ in 0..looks {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_LOOK),
            Err(fs::TryLockError::Error(error)) => return Err(ImageError::io("lock", path)(error)),
        }
    }
    Err(ImageError::Locked { path: path.to_owned(), seconds: LOCK_WAIT.as_secs() })
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = NamedTempFile::new_in(directory).map_err(ImageError::io("write in", directory))?;
    file.write_all(bytes).map_err(ImageError::io("write", path))?;
    publish(file, path)
}

/// Readers see the whole file or none. Temporary files are private; what is published may
/// be read by the cluster's processes, whoever runs them.
fn publish(file: NamedTempFile, path: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    let readable = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(ImageError::io("publish", path))?;
    file.persist(path).map(drop).map_err(|error| ImageError::io("publish", path)(error.error))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ImageError> {
    let bytes = fs::read(path).map_err(ImageError::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ImageError::Corrupt { path: path.to_owned(), reason: error.to_string() })
}
