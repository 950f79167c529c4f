//! What `docker save` writes, and how it goes into a layout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::ImageError;
use super::document::{Descriptor, LAYER};
use super::layout::Writer;

/// Media types of compressed layers, by how they begin.
const COMPRESSED: [(&[u8], &str); 2] = [
    (&[0x1f, 0x8b], "application/vnd.oci.image.layer.v1.tar+gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "application/vnd.oci.image.layer.v1.tar+zstd"),
];
/// How many links to links are followed.
const LINKS_MAX: usize = 8;
/// The largest document of an archive, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// One image of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Unpacked {
    /// Its configuration, as whoever made it wrote it.
    pub document: Value,
    /// Its layers, lowest first, in the layout.
    pub layers: Vec<Descriptor>,
    /// Bytes of layers that the layout did not have.
    pub written: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    layers: Vec<String>,
}

/// Where a member of the archive stands.
enum Member {
    File { at: u64, size: u64 },
    Link { to: String },
}

struct Archive<'a> {
    path: &'a Path,
    file: File,
    members: BTreeMap<String, Member>,
}

/// Stores the layers of the one image in an archive. Layers that are not compressed are checked
/// against what the image says of them.
///
/// # Errors
/// [`ImageError::Corrupt`] where the archive is none of one image, [`ImageError::Io`].
pub fn unpack(path: &Path, writer: &Writer) -> Result<Unpacked, ImageError> {
    let mut archive = Archive::open(path)?;
    let listed: Vec<Listed> = archive.document("manifest.json")?;
    let [listed] = <[Listed; 1]>::try_from(listed).map_err(|all| {
        let reason = format!("an archive of one image is known here, and this one has {}", all.len());
        ImageError::Corrupt { path: path.to_owned(), reason }
    })?;
    let document: Value = archive.document(&listed.config)?;
    let mut unpacked = Unpacked { document, layers: Vec::new(), written: 0 };
    for (number, layer) in listed.layers.iter().enumerate() {
        let stored = archive.layer(layer, writer)?;
        let said = unpacked.document["rootfs"]["diff_ids"][number].as_str();
        let is_other = said.is_some_and(|said| said != stored.descriptor.digest.to_string());
        if stored.descriptor.media_type == LAYER && is_other {
            return Err(archive.corrupt(format!("layer {layer} is not the one that the image names")));
        }
        unpacked.written += stored.written;
        unpacked.layers.push(stored.descriptor);
    }
    Ok(unpacked)
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self, ImageError> {
        let io = |error| ImageError::io("read", path)(error);
        let mut members = BTreeMap::new();
        let mut tar = tar::Archive::new(File::open(path).map_err(io)?);
        for entry in tar.entries().map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = clean(&entry.path().map_err(io)?.to_string_lossy());
            let kind = entry.header().entry_type();
            let member = if kind.is_symlink() || kind.is_hard_link() {
                let link = entry.link_name().map_err(io)?.unwrap_or_default();
                // A hard link counts from the archive's root, a symbolic one from where it stands.
                let start = if kind.is_symlink() { parent(&name) } else { "" };
                Member::Link { to: clean(&format!("{start}/{}", link.to_string_lossy())) }
            } else {
                Member::File { at: entry.raw_file_position(), size: entry.size() }
            };
            members.insert(name, member);
        }
        Ok(Self { path, file: File::open(path).map_err(io)?, members })
    }

    /// Where the content of a member stands, behind links.
    fn place(&self, name: &str) -> Result<(u64, u64), ImageError> {
        let mut name = clean(name);
        for _ in 0..LINKS_MAX {
            match self.members.get(&name) {
                Some(Member::File { at, size }) => return Ok((*at, *size)),
                Some(Member::Link { to }) => name.clone_from(to),
                None => return Err(self.corrupt(format!("it has no `{name}`"))),
            }
        }
        Err(self.corrupt(format!("`{name}` is a link to a link, and so on")))
    }

    fn document<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<T, ImageError> {
        let (at, size) = self.place(name)?;
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(at)).map_err(ImageError::io("read", self.path))?;
        let mut content = (&mut self.file).take(size.min(DOCUMENT_BYTES_MAX));
        content.read_to_end(&mut text).map_err(ImageError::io("read", self.path))?;
        serde_json::from_slice(&text).map_err(|error| self.corrupt(format!("`{name}`: {error}")))
    }

    fn layer(&mut self, name: &str, writer: &Writer) -> Result<super::layout::Stored, ImageError> {
        let (at, size) = self.place(name)?;
        let io = |error| ImageError::io("read", self.path)(error);
        self.file.seek(SeekFrom::Start(at)).map_err(io)?;
        let mut begins = Vec::new();
        (&mut self.file).take(4).read_to_end(&mut begins).map_err(io)?;
        let compressed = COMPRESSED.iter().find(|(magic, _)| begins.starts_with(magic));
        let media_type = compressed.map_or(LAYER, |(_, media_type)| *media_type);
        self.file.seek(SeekFrom::Start(at)).map_err(io)?;
        writer.blob(media_type, &mut (&mut self.file).take(size), self.path)
    }

    fn corrupt(&self, reason: String) -> ImageError {
        ImageError::Corrupt { path: self.path.to_owned(), reason }
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::image::layout::Layout;

    /// An archive as engines wrote it for a decade: a directory a layer, later ones with links.
    fn archive(diff_id: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut put = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content).unwrap();
        };
        put("one/layer.tar", b"first");
        let config = format!(r#"{{"config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}","{diff_id}"]}}}}"#);
        put("abc.json", config.as_bytes());
        put(
            "manifest.json",
            br#"[{"Config":"abc.json","RepoTags":["x:y"],"Layers":["one/layer.tar","two/layer.tar"]}]"#,
        );
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "two/layer.tar", "../one/layer.tar").unwrap();
        tar.into_inner().unwrap()
    }

    fn unpacked(archive: &[u8]) -> Result<Unpacked, ImageError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("saved.tar");
        std::fs::write(&file, archive).unwrap();
        let writer = Layout::at(&directory.path().join("layout")).writer().unwrap();
        unpack(&file, &writer)
    }

    #[test]
    fn layers_are_found_behind_links_and_stored_once() {
        let digest = Digest::of(b"first");
        let found = unpacked(&archive(&digest.to_string())).unwrap();
        let layer = Descriptor::new(LAYER, digest, 5);
        assert_eq!((found.layers, found.written), (vec![layer.clone(), layer], 5));
        assert_eq!(found.document["rootfs"]["type"], "layers");
    }

    #[test]
    fn an_archive_that_does_not_hold_together_is_refused() {
        let check = |archive: &[u8], expect: &str| {
            let error = unpacked(archive).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&archive(&Digest::of(b"other").to_string()), "is not the one that the image names");
        check(&tar::Builder::new(Vec::new()).into_inner().unwrap(), "it has no `manifest.json`");
    }
}
