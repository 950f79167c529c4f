//! Layouts to push from, and Docker configurations.

use std::path::{Path, PathBuf};

use harness::image::document::{CONFIG, Execution, ImageDocument, MANIFEST, Manifest};
use harness::image::layer::{EXECUTABLE, Entry, Layer};
use harness::image::layout::Layout;
use harness::registry::Image;

/// The password that no message may contain.
pub(crate) const PASSWORD: &str = "open sesame";

/// A layout in a directory of its own.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where builds of a project here land.
    pub(crate) fn layout(&self) -> Layout {
        Layout::at(&self.path().join("target/gate/build"))
    }

    /// An image with a layer of each of these texts, lowest first.
    pub(crate) fn image(&self, reference: &str, layers: &[&str]) -> Image {
        let writer = self.layout().writer().unwrap();
        let layers: Vec<_> = layers
            .iter()
            .map(|text| {
                let mut layer = Layer::default();
                layer.put("/data", Entry::Text { content: (*text).to_owned(), mode: EXECUTABLE }).unwrap();
                writer.layer(&layer).unwrap().descriptor
            })
            .collect();
        let execution = Execution { entrypoint: vec![format!("/{reference}")], ..Execution::default() };
        let config = writer.document(CONFIG, &ImageDocument::new(execution, &layers)).unwrap().descriptor;
        let manifest = writer.document(MANIFEST, &Manifest::new(config, layers)).unwrap().descriptor;
        writer.name(reference, &manifest).unwrap();
        Image { reference: reference.to_owned(), manifest }
    }

    /// A Docker configuration with a password for a host.
    pub(crate) fn docker_config(&self, host: &str, password: &str) -> PathBuf {
        let file = self.path().join("config.json");
        let text = format!(r#"{{"auths":{{"{host}":{{"username":"me","password":"{password}"}}}}}}"#);
        std::fs::write(&file, text).unwrap();
        file
    }
}

/// How large every blob of an image is together.
pub(crate) fn bytes_of(layout: &Layout, image: &Image) -> u64 {
    let manifest = layout.manifest(&image.manifest).unwrap();
    manifest.layers.iter().chain([&manifest.config, &image.manifest]).map(|blob| blob.size).sum()
}
