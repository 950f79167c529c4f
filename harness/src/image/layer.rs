//! One layer: what stands at which path, and the tar that says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Digest, ImageError};

/// What stands at which path. Paths have no leading slash; parents come by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

/// What stands at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A file with content from this machine.
    File {
        /// Where its content is read from.
        from: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// A small file with this content.
    Text {
        /// The content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points to.
        to: String,
    },
}

/// Permission bits of programs and directories.
pub const EXECUTABLE: u32 = 0o755;
/// Permission bits of other files.
pub const READABLE: u32 = 0o644;

impl Layer {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry at an absolute path of the image; missing parents are added.
    ///
    /// # Errors
    /// [`ImageError::Clash`] where something else stands there.
    pub fn put(&mut self, path: &str, entry: Entry) -> Result<(), ImageError> {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Directory { mode: EXECUTABLE });
        }
        match self.entries.get(path) {
            Some(there) if *there != entry => Err(ImageError::Clash { path: path.to_owned() }),
            _ => {
                self.entries.insert(path.to_owned(), entry);
                Ok(())
            }
        }
    }

    /// Puts a file or, with all it holds, a directory of this machine at a path of the image.
    /// Links are followed; permission bits are those of programs or of plain files.
    ///
    /// # Errors
    /// [`ImageError::Io`] where something cannot be read, [`ImageError::Clash`].
    pub fn copy(&mut self, from: &Path, to: &str) -> Result<(), ImageError> {
        let metadata = std::fs::metadata(from).map_err(ImageError::io("read", from))?;
        if !metadata.is_dir() {
            return self.put(to, Entry::File { from: from.to_owned(), mode: mode_of(&metadata) });
        }
        self.put(to, Entry::Directory { mode: EXECUTABLE })?;
        for entry in std::fs::read_dir(from).map_err(ImageError::io("list", from))? {
            let entry = entry.map_err(ImageError::io("list", from))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| ImageError::Corrupt {
                path: entry.path(),
                reason: "its name is not UTF-8".to_owned(),
            })?;
            self.copy(&entry.path(), &format!("{}/{name}", to.trim_end_matches('/')))?;
        }
        Ok(())
    }

    /// The files of this machine that the layer reads: where they stand in the image, and
    /// where they are read from.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File { from, .. } => Some((path.as_str(), from.as_path())),
            Entry::Directory { .. } | Entry::Text { .. } | Entry::Link { .. } => None,
        })
    }

    /// What the layer is, without making its tar: two layers with the same identity have
    /// the same tar. `digest` gives the digest of a file's content.
    ///
    /// # Errors
    /// What `digest` returned.
    pub fn identity<E>(&self, digest: impl Fn(&Path) -> Result<Digest, E>) -> Result<Digest, E> {
        let mut text = String::from("layer 1\n");
        for (path, entry) in &self.entries {
            let line = match entry {
                Entry::Directory { mode } => format!("{path:?} directory {mode:o}\n"),
                Entry::File { from, mode } => format!("{path:?} file {mode:o} {}\n", digest(from)?),
                Entry::Text { content, mode } => {
                    format!("{path:?} file {mode:o} {}\n", Digest::of(content.as_bytes()))
                }
                Entry::Link { to } => format!("{path:?} link {to:?}\n"),
            };
            text.push_str(&line);
        }
        Ok(Digest::of(text.as_bytes()))
    }

    /// Writes the tar: entries sorted by path, no times, everything owned by 0:0.
    ///
    /// # Errors
    /// [`ImageError::Io`] with the file that could not be read, or the tar that could not be written.
    pub fn write<W: Write>(&self, into: W, name: &Path) -> Result<W, ImageError> {
        let mut tar = tar::Builder::new(into);
        for (path, entry) in &self.entries {
            append(&mut tar, path, entry).map_err(|(path, source)| ImageError::Io {
                action: "put into a layer",
                path,
                source,
            })?;
        }
        tar.into_inner().map_err(ImageError::io("write", name))
    }
}

type Failed = (PathBuf, io::Error);

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, entry: &Entry) -> Result<(), Failed> {
    let at = |error| (PathBuf::from(path), error);
    match entry {
        Entry::Directory { mode } => {
            let mut header = header(tar::EntryType::Directory, *mode, 0);
            tar.append_data(&mut header, format!("{path}/"), io::empty()).map_err(at)
        }
        Entry::Link { to } => {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, path, to).map_err(at)
        }
        Entry::Text { content, mode } => {
            let mut header = header(tar::EntryType::Regular, *mode, content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes()).map_err(at)
        }
        Entry::File { from, mode } => {
            let at = |error| (from.clone(), error);
            let file = File::open(from).map_err(at)?;
            let size = file.metadata().map_err(at)?.len();
            let mut header = header(tar::EntryType::Regular, *mode, size);
            // A file that grows meanwhile must not push the next header out of its place.
            tar.append_data(&mut header, path, Exactly { inner: file.take(size), left: size }).map_err(at)
        }
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Fails where a file ends before the length its header already promised.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left -= count as u64;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        Ok(count)
    }
}

fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o111 == 0 { READABLE } else { EXECUTABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Entry {
        Entry::Text { content: content.to_owned(), mode: READABLE }
    }

    fn tar_of(layer: &Layer) -> Vec<u8> {
        layer.write(Vec::new(), Path::new("test.tar")).unwrap()
    }

    #[test]
    fn order_of_insertion_does_not_show() {
        let mut one = Layer::default();
        one.put("/b/c", text("1")).unwrap();
        one.put("/a", Entry::Link { to: "b/c".to_owned() }).unwrap();
        let mut two = Layer::default();
        two.put("/a", Entry::Link { to: "b/c".to_owned() }).unwrap();
        two.put("/b/c", text("1")).unwrap();
        assert_eq!(tar_of(&one), tar_of(&two));
    }

    #[test]
    fn a_tar_holds_what_was_put_with_fixed_owners_and_times() {
        let mut layer = Layer::default();
        layer.put("/etc/long/name", text("hello")).unwrap();
        layer.put("/bin/sh", Entry::Link { to: "busybox".to_owned() }).unwrap();
        layer.put("/tmp", Entry::Directory { mode: 0o1777 }).unwrap();
        let bytes = tar_of(&layer);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                format!(
                    "{} {:o} {}:{} {} {:?}",
                    entry.path().unwrap().display(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap(),
                    entry.link_name().unwrap(),
                )
            })
            .collect();
        let expected = [
            "bin/ 755 0:0 0 None",
            "bin/sh 777 0:0 0 Some(\"busybox\")",
            "etc/ 755 0:0 0 None",
            "etc/long/ 755 0:0 0 None",
            "etc/long/name 644 0:0 0 None",
            "tmp/ 1777 0:0 0 None",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn one_path_cannot_be_two_things() {
        let mut layer = Layer::default();
        layer.put("/etc/motd", text("a")).unwrap();
        assert!(layer.put("/etc/motd", text("a")).is_ok(), "the same again is no clash");
        let error = layer.put("etc/motd", text("b")).unwrap_err();
        assert_eq!(error.to_string(), "lay out `/etc/motd` in an image: it is wanted twice, with different content");
    }

    #[test]
    fn a_directory_is_copied_with_all_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/a.json"), "{}").unwrap();
        let mut layer = Layer::default();
        layer.copy(directory.path(), "/catalog/").unwrap();
        let paths: Vec<&str> = layer.files().map(|(path, _)| path).collect();
        assert_eq!(paths, ["catalog/inner/a.json"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let mut layer = Layer::default();
        let missing = PathBuf::from("/nowhere/at/all");
        layer.put("/x", Entry::File { from: missing.clone(), mode: READABLE }).unwrap();
        let error = layer.write(Vec::new(), Path::new("t")).unwrap_err();
        assert!(matches!(&error, ImageError::Io { path, .. } if *path == missing), "{error}");
    }

    proptest::proptest! {
        /// Identity stands for the tar: equal where the tars are equal, and only there.
        #[test]
        fn identity_is_equal_exactly_where_tars_are(
            one in proptest::collection::btree_map("[a-c]{1,2}", "[xy]{0,2}", 0..4),
            two in proptest::collection::btree_map("[a-c]{1,2}", "[xy]{0,2}", 0..4),
        ) {
            let layer = |files: &BTreeMap<String, String>| {
                let mut layer = Layer::default();
                for (path, content) in files {
                    layer.put(path, text(content)).unwrap();
                }
                layer
            };
            let (one, two) = (layer(&one), layer(&two));
            let identity = |layer: &Layer| layer.identity(Digest::of_file).unwrap();
            proptest::prop_assert_eq!(identity(&one) == identity(&two), tar_of(&one) == tar_of(&two));
        }
    }
}
