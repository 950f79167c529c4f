//! What the last builds were made of, so that nothing is made twice.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Why;
use super::dockerfile::Base;
use crate::image::document::Descriptor;
use crate::image::{Digest, ImageError};

/// Bumped where the meaning of an entry changes; another version is an empty cache.
const VERSION: u32 = 1;

/// The record of earlier builds. It only saves work: without it everything is made again,
/// with the same digests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Cache {
    version: u32,
    /// Digests of files, by path.
    pub(super) files: BTreeMap<PathBuf, FileRecord>,
    /// Tars of layers, by the layer's identity.
    #[serde(with = "by_digest")]
    pub(super) layers: BTreeMap<Digest, Descriptor>,
    /// Inputs of images, by repository, version and flaw.
    images: BTreeMap<String, Entry>,
    /// The key of the newest build of each repository.
    newest: BTreeMap<String, String>,
    /// Manifests of images that were pulled, by where they came from.
    #[serde(default)]
    pub(super) pulled: BTreeMap<String, Descriptor>,
    /// What the engine made of Dockerfiles, by repository.
    #[serde(default)]
    pub(super) dockerfiles: BTreeMap<String, Base>,
    /// Registries that could not be pulled from, by host.
    #[serde(default)]
    pub(super) silent: BTreeMap<String, Silence>,
}

/// A registry could not be pulled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Silence {
    pub(super) at: jiff::Timestamp,
    pub(super) reason: String,
}

/// A file's digest, and what shows that the file is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) digest: Digest,
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What one image was made of: a name of each input, and its value or digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) inputs: BTreeMap<String, String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            version: VERSION,
            files: BTreeMap::new(),
            layers: BTreeMap::new(),
            images: BTreeMap::new(),
            newest: BTreeMap::new(),
            pulled: BTreeMap::new(),
            silent: BTreeMap::new(),
            dockerfiles: BTreeMap::new(),
        }
    }
}

impl Cache {
    /// Reads the cache; one that cannot be used is an empty one.
    pub(super) fn load(path: &Path) -> Self {
        let read = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        read.filter(|cache| cache.version == VERSION).unwrap_or_default()
    }

    /// Writes the cache, whole or not at all.
    pub(super) fn save(&mut self, path: &Path) -> Result<(), ImageError> {
        self.files.retain(|path, _| path.exists());
        let directory = path.parent().unwrap_or(Path::new("/"));
        let bytes = serde_json::to_vec(self).expect("a cache has string keys only");
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(ImageError::io("write in", directory))?;
        file.write_all(&bytes).map_err(ImageError::io("write", path))?;
        file.persist(path).map(drop).map_err(|error| ImageError::io("write", path)(error.error))
    }

    /// Why an image of these inputs is built. `manifest_written` says that its manifest was
    /// not in the layout.
    pub(super) fn why(
        &self,
        key: &str,
        repository: &str,
        inputs: &BTreeMap<String, String>,
        manifest_written: bool,
    ) -> Why {
        if !manifest_written {
            return Why::Unchanged;
        }
        let before = self.images.get(key).or_else(|| self.newest.get(repository).and_then(|key| self.images.get(key)));
        let Some(before) = before else { return Why::First };
        let changed = changes(&before.inputs, inputs);
        if changed.is_empty() { Why::Lost } else { Why::Changed(changed) }
    }

    /// Records what an image was made of.
    pub(super) fn remember(&mut self, key: &str, repository: &str, entry: Entry) {
        self.newest.insert(repository.to_owned(), key.to_owned());
        self.images.insert(key.to_owned(), entry);
    }
}

/// `binary changed`, `env X added`, `file /y removed`.
fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let how = |name: &String| match (before.get(name), now.get(name)) {
        (Some(before), Some(now)) if before == now => None,
        (Some(_), Some(_)) => Some("changed"),
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
    };
    names.into_iter().filter_map(|name| how(name).map(|how| format!("{name} {how}"))).collect()
}

/// A file's digest: the known one where the file has not been touched since.
pub(super) fn file_digest(path: &Path, known: Option<FileRecord>) -> Result<FileRecord, ImageError> {
    let metadata = std::fs::metadata(path).map_err(ImageError::io("read", path))?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let is_same = |record: &FileRecord| {
        record.size == metadata.len()
            && record.inode == metadata.ino()
            && record.modified == modified
            && record.changed == changed
    };
    if let Some(record) = known.filter(is_same) {
        return Ok(record);
    }
    let digest = Digest::of_file(path).map_err(ImageError::io("read", path))?;
    Ok(FileRecord { digest, size: metadata.len(), inode: metadata.ino(), modified, changed })
}

/// JSON keys are strings; digests are written as theirs.
mod by_digest {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::image::Digest;
    use crate::image::document::Descriptor;

    pub(super) fn serialize<S: Serializer>(
        layers: &BTreeMap<Digest, Descriptor>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        layers.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Digest, Descriptor>, D::Error> {
        Ok(Vec::<(Digest, Descriptor)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_reason_names_the_inputs_that_differ() {
        let mut cache = Cache::default();
        let old = inputs(&[("binary", "1"), ("env APP_VERSION", "v1"), ("file /a", "x")]);
        cache.remember("backend v1", "backend", Entry { inputs: old.clone() });
        let check = |key: &str, repository: &str, now: &BTreeMap<String, String>, written, expect: &str| {
            assert_eq!(cache.why(key, repository, now, written).to_string(), expect);
        };
        check("backend v1", "backend", &old, false, "unchanged");
        check("backend v1", "backend", &old, true, "its blobs were gone");
        check("other v1", "other", &old, true, "first build");
        let newer = inputs(&[("binary", "2"), ("env APP_VERSION", "v1"), ("file /a", "x")]);
        check("backend v1", "backend", &newer, true, "binary changed");
        let bumped = inputs(&[("binary", "1"), ("env APP_VERSION", "v2"), ("file /a", "x")]);
        check("backend v2", "backend", &bumped, true, "env APP_VERSION changed");
        let other = inputs(&[("binary", "2"), ("env APP_VERSION", "v2"), ("env BUILD_FLAW", "x"), ("file /b", "x")]);
        let expect = "binary changed, env APP_VERSION changed, env BUILD_FLAW added and 2 more";
        check("backend v2", "backend", &other, true, expect);
    }

    #[test]
    fn a_touched_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let first = file_digest(&path, None).unwrap();
        // A record that lies shows that an untouched file is not read again.
        let lying = FileRecord { digest: Digest::of(b"lie"), ..first.clone() };
        assert_eq!(file_digest(&path, Some(lying.clone())).unwrap(), lying);
        std::fs::write(&path, "three").unwrap();
        assert_eq!(file_digest(&path, Some(lying)).unwrap().digest, Digest::of(b"three"));
    }

    #[test]
    fn a_cache_survives_writing_and_an_unreadable_one_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.json");
        let mut cache = Cache::default();
        cache.layers.insert(Digest::of(b"id"), Descriptor::new("layer", Digest::of(b"tar"), 3));
        cache.remember("k", "r", Entry { inputs: inputs(&[("binary", "1")]) });
        cache.save(&path).unwrap();
        let again = Cache::load(&path);
        assert_eq!(again.layers, cache.layers);
        assert_eq!(again.images, cache.images);
        std::fs::write(&path, "{").unwrap();
        assert!(Cache::load(&path).layers.is_empty());
    }
}
