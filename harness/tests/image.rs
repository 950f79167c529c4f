//! Images: reproducible, readable as an OCI layout, and never half-written.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

use std::fs;
use std::path::Path;

use harness::image::document::{CONFIG, Descriptor, Execution, ImageDocument, MANIFEST, Manifest};
use harness::image::layer::{EXECUTABLE, Entry, Layer};
use harness::image::layout::{Layout, Writer};
use harness::image::{Digest, ImageError, host};

fn tiny_layer(content: &str) -> Layer {
    let mut layer = Layer::default();
    layer.put("/hello", Entry::Text { content: content.to_owned(), mode: EXECUTABLE }).unwrap();
    layer.put("/bin/hi", Entry::Link { to: "../hello".to_owned() }).unwrap();
    layer
}

fn put_image(writer: &Writer, content: &str, reference: &str) -> Descriptor {
    let layer = writer.layer(&tiny_layer(content)).unwrap();
    let execution = Execution {
        env: vec!["APP_VERSION=v1".to_owned()],
        entrypoint: vec!["/hello".to_owned()],
        working_dir: "/".to_owned(),
    };
    let mut document = ImageDocument::new(execution, std::slice::from_ref(&layer.descriptor));
    document.architecture = "amd64".to_owned();
    let config = writer.document(CONFIG, &document).unwrap();
    let manifest = Manifest::new(config.descriptor, vec![layer.descriptor]);
    let manifest = writer.document(MANIFEST, &manifest).unwrap();
    writer.name(reference, &manifest.descriptor).unwrap();
    manifest.descriptor
}

fn blobs(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The digest covers every byte of the tar and of both documents: whoever changes one of
/// them changes it knowingly, here.
#[test]
fn the_digest_of_a_tiny_image_is_the_same_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let writer = Layout::at(directory.path()).writer().unwrap();
    let image = put_image(&writer, "#!/bin/sh\necho hello\n", "tiny:v1");
    insta::assert_snapshot!(image.digest, @"sha256:cf2f2e2e5ff1f2886bff62e28bc63892bf7cb449620b1d653a19e94535977f0a");
}

#[test]
fn the_same_image_written_again_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(directory.path());
    let writer = layout.writer().unwrap();
    let layer = writer.layer(&tiny_layer("a")).unwrap();
    assert_eq!(layer.written, layer.descriptor.size);
    assert_eq!(writer.layer(&tiny_layer("a")).unwrap().written, 0);
    assert_eq!(Digest::of_file(&layout.blob_path(&layer.descriptor.digest)).unwrap(), layer.descriptor.digest);
}

#[test]
fn a_blob_that_was_cut_short_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(directory.path());
    let writer = layout.writer().unwrap();
    let layer = writer.layer(&tiny_layer("a")).unwrap().descriptor;
    fs::write(layout.blob_path(&layer.digest), "cut").unwrap();
    assert!(!layout.has(&layer));
    assert_eq!(writer.layer(&tiny_layer("a")).unwrap().written, layer.size);
    assert!(layout.has(&layer));
}

#[test]
fn a_layout_has_the_files_that_the_format_wants() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(directory.path());
    let image = put_image(&layout.writer().unwrap(), "a", "tiny:v1");
    let marker = fs::read_to_string(directory.path().join("oci-layout")).unwrap();
    assert_eq!(marker, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "tiny:v1");
    assert_eq!(index["manifests"][0]["digest"], image.digest.to_string());
    assert_eq!(layout.resolve("tiny:v1").unwrap().unwrap().digest, image.digest);
    assert_eq!(layout.resolve("tiny:v2").unwrap(), None);
    assert!(layout.has_image(&image));
}

#[test]
fn a_name_moves_to_the_newest_image() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(directory.path());
    let writer = layout.writer().unwrap();
    put_image(&writer, "a", "tiny:v1");
    let newer = put_image(&writer, "b", "tiny:v1");
    assert_eq!(layout.index().unwrap().manifests.len(), 1);
    assert_eq!(layout.resolve("tiny:v1").unwrap().unwrap().digest, newer.digest);
}

#[test]
fn a_copy_moves_missing_blobs_only() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (Layout::at(one.path()), Layout::at(two.path()));
    let source = from.writer().unwrap();
    let first = put_image(&source, "a", "tiny:v1");
    let second = put_image(&source, "b", "tiny:v2");
    let writer = to.writer().unwrap();
    let moved = writer.copy(&from, &first, "tiny:v1").unwrap();
    assert_eq!((moved.blobs, moved.bytes_present), (3, 0));
    let again = writer.copy(&from, &first, "tiny:v1").unwrap();
    assert_eq!((again.blobs, again.bytes, again.bytes_present), (0, 0, moved.bytes));
    writer.copy(&from, &second, "tiny:v2").unwrap();
    assert_eq!(blobs(one.path()), blobs(two.path()));
    assert!(to.has_image(&second));
}

#[test]
fn pruning_keeps_the_newest_and_what_they_need() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(directory.path());
    let writer = layout.writer().unwrap();
    let old = put_image(&writer, "a", "tiny:v1");
    let new = put_image(&writer, "b", "tiny:v2");
    let other = put_image(&writer, "a", "other:v1");
    fs::write(directory.path().join("blobs/sha256/.tmpleft"), "half").unwrap();
    assert!(writer.prune(1).unwrap() > 0);
    assert_eq!(layout.resolve("tiny:v1").unwrap(), None);
    assert!(layout.has_image(&new));
    // `other:v1` has the content of the forgotten image, so its blobs are still needed.
    assert!(layout.has_image(&other));
    assert_eq!(other.digest, old.digest);
    assert!(!blobs(directory.path()).contains(&".tmpleft".to_owned()));
}

#[test]
fn a_layer_that_cannot_be_made_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let writer = Layout::at(directory.path()).writer().unwrap();
    let mut layer = Layer::default();
    layer.put("/x", Entry::File { from: directory.path().join("absent"), mode: EXECUTABLE }).unwrap();
    assert!(matches!(writer.layer(&layer), Err(ImageError::Io { .. })));
    assert_eq!(blobs(directory.path()), Vec::<String>::new());
}

#[test]
fn a_broken_index_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("index.json"), "{").unwrap();
    let error = Layout::at(directory.path()).index().unwrap_err();
    assert!(error.to_string().contains("index.json"), "{error}");
}

/// The real programs of this machine: the closure must be complete, which only running
/// them inside nothing but it can show.
#[test]
fn installed_programs_come_with_everything_they_load() {
    let layer = match host::programs_layer(&["redis-server".to_owned(), "redis-cli".to_owned()]) {
        Ok(layer) => layer,
        Err(error) => panic!("this test needs the packages of the README: {error}"),
    };
    let paths: Vec<&str> = layer.files().map(|(path, _)| path).collect();
    assert!(paths.iter().any(|path| path.ends_with("bin/redis-server")), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("ld-linux")), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("libc.so")), "{paths:?}");
    let base = host::base_layer().unwrap();
    assert_eq!(base.files().count(), 1, "busybox is the only file of this machine in the base layer");
}
