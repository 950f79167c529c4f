//! Images: names, pulling from an OCI layout, and the cache of unpacked layers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::image_layout::{self, LayoutError};

/// Longest tag, by the OCI distribution specification.
const TAG_MAX: usize = 128;

/// The name of an image as it stands in a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// `registry/path/name`.
    pub(super) name: String,
    /// `v1`; absent where only a digest was given.
    pub(super) tag: Option<String>,
    /// `sha256:…`, which alone decides where it is given.
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Reads `name`, `name:tag`, `name@sha256:…` and `name:tag@sha256:…`; without tag and
    /// digest the tag is `latest`. `None` where the text is no image's name.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a registry's port.
        let after_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            Some(colon) => (&rest[..after_slash + colon], Some(&rest[after_slash + colon + 1..])),
            None => (rest, None),
        };
        let good = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        let tag = tag.or_else(|| digest.is_none().then_some("latest"));
        good.then(|| Self { name: name.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split('/').collect();
    let first = parts[0];
    // With a dot or a port, or as `localhost`, the first part is a registry.
    if parts.len() > 1 && (first.contains(['.', ':']) || first == "localhost") {
        parts.remove(0);
        let (host, port) = first.split_once(':').unwrap_or((first, "1"));
        let host_good = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        if !host_good || port.parse::<u16>().is_err() {
            return false;
        }
    }
    parts.iter().all(|part| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        edge(part.chars().next()) && edge(part.chars().next_back()) && part.chars().all(inner) && !part.contains("..")
    })
}

fn is_tag(tag: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !tag.is_empty() && tag.len() <= TAG_MAX && tag.chars().all(good) && !tag.starts_with(['.', '-'])
}

fn is_digest(digest: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    digest.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.chars().all(hex))
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// `name@sha256:…`.
    pub(super) id: String,
    /// What its config says of running it.
    pub(super) config: image_layout::Config,
    /// Directory of unpacked layers.
    pub(super) layers_dir: PathBuf,
    /// Names of its layers there, topmost first.
    pub(super) layers: Vec<PathBuf>,
    /// Bytes of all its layers.
    pub(super) size: u64,
}

/// What pulling an image came to.
#[derive(Debug)]
pub(super) struct Pulled {
    /// The image.
    pub(super) image: Arc<Image>,
    /// How long it took.
    pub(super) took: Duration,
}

/// The images of the node. An image that was pulled once stays as it was, whatever its tag
/// means later.
#[derive(Debug)]
pub(super) struct Images {
    layout: PathBuf,
    layers: PathBuf,
    present: tokio::sync::Mutex<BTreeMap<Reference, Arc<Image>>>,
}

impl Images {
    /// Images from this layout, with layers unpacked in this directory.
    pub(super) fn new(layout: PathBuf, layers: PathBuf) -> Self {
        Self { layout, layers, present: tokio::sync::Mutex::default() }
    }

    /// The image, if it is on this machine.
    pub(super) async fn present(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.present.lock().await.get(reference).cloned()
    }

    /// Reads the layout and unpacks the layers that are missing.
    ///
    /// # Errors
    /// In a container runtime's words: not found, or what is wrong with it.
    pub(super) async fn pull(&self, reference: &Reference) -> Result<Pulled, String> {
        // One at a time: most pulls at the same time want the same layers.
        let mut present = self.present.lock().await;
        let started = Instant::now();
        let (layout, layers, wanted) = (self.layout.clone(), self.layers.clone(), reference.clone());
        let pulled = tokio::task::spawn_blocking(move || image_layout::pull(&layout, &layers, &wanted)).await;
        let image = pulled.map_err(|error| error.to_string())?.map_err(|error| worded(reference, &error))?;
        let image = Arc::new(image);
        present.insert(reference.clone(), Arc::clone(&image));
        Ok(Pulled { image, took: started.elapsed() })
    }
}

/// The sentence recorded in 50-deployments/506, and one of the same shape for other errors.
fn worded(reference: &Reference, error: &LayoutError) -> String {
    match error {
        LayoutError::NotFound => format!(
            "rpc error: code = NotFound desc = failed to pull and unpack image \"{reference}\": \
             failed to resolve reference \"{reference}\": {reference}: not found"
        ),
        other => {
            format!("rpc error: code = Unknown desc = failed to pull and unpack image \"{reference}\": {other}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_read() {
        let with_digest = format!("a/b@{DIGEST}");
        let with_both = format!("localhost:5001/demo/web:v1@{DIGEST}");
        let rows: [(&str, &str, Option<&str>, Option<&str>); 6] = [
            ("redis", "redis", Some("latest"), None),
            ("redis:7.2", "redis", Some("7.2"), None),
            ("localhost:5001/demo/web", "localhost:5001/demo/web", Some("latest"), None),
            ("localhost:5001/demo/web:v1", "localhost:5001/demo/web", Some("v1"), None),
            (&with_digest, "a/b", None, Some(DIGEST)),
            (&with_both, "localhost:5001/demo/web", Some("v1"), Some(DIGEST)),
        ];
        for (text, name, tag, digest) in rows {
            let expect =
                Reference { name: name.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) };
            assert_eq!(Reference::parse(text), Some(expect), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ":", "UPPER", "a:", "a:b:c", "a@sha256:1", "a//b", "a b", "-a", "a/", "host:port/a", "a:-x"] {
            assert_eq!(Reference::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_written_as_they_were_read() {
        for text in [format!("a/b:c@{DIGEST}"), format!("a@{DIGEST}"), "a.io/b:c".to_owned()] {
            assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_missing_image_is_worded_as_recorded() {
        let reference = Reference::parse("localhost:5001/demo/none:v9").unwrap();
        assert_eq!(
            worded(&reference, &LayoutError::NotFound),
            "rpc error: code = NotFound desc = failed to pull and unpack image \"localhost:5001/demo/none:v9\": failed \
             to resolve reference \"localhost:5001/demo/none:v9\": localhost:5001/demo/none:v9: not found"
        );
    }
}
