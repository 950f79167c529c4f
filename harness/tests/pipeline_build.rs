//! Build and push, with a real cargo package and a real OCI layout.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

use std::fs;
use std::path::Path;

use harness::config::Config;
use harness::event::{StageResult, What};
use harness::image::layout::Layout;
use harness::pipeline::{self, BuildError, BuiltRelease, Destination, Supply, Variant};
use tokio_util::sync::CancellationToken;

const GATE: &str = r#"
[system]
name = "hello"
namespace = "hello"
manifests = "manifests"
scenarios = "scenarios"
version = "v2"
previous-version = "v1"
[images.hello]
cargo = { package = "hello", bin = "hello" }
entrypoint = ["/hello"]
env = { GREETING = "hi" }
files = [{ from = "data", to = "/data" }]
[images.tool]
cargo = { package = "hello", bin = "hello" }
entrypoint = ["/hello", "tool"]
version = "fixed"
[builds.rude]
images = ["hello"]
env = { GREETING = "go away" }
"#;

struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
        project.write("Cargo.toml", manifest);
        project.write("src/main.rs", "fn main() { println!(\"hello\"); }\n");
        project.write("data/brand.json", "{}");
        project.write("gate.toml", GATE);
        project
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn config(&self) -> Config {
        Config::load(&self.path().join("gate.toml")).unwrap()
    }

    async fn build(&self, variants: &[Variant]) -> (Vec<BuiltRelease>, Vec<What>) {
        let mut events = Vec::new();
        let mut sink = |what| events.push(what);
        let cancel = CancellationToken::new();
        let built = pipeline::build(&self.config(), variants, Supply::Installed, &cancel, &mut sink).await.unwrap();
        (built, events)
    }

    async fn why(&self, image: &str) -> String {
        let (built, _) = self.build(&[Variant::current()]).await;
        built[0].images[image].why.to_string()
    }
}

#[tokio::test]
async fn only_what_changed_is_built_and_the_reason_is_told() {
    let project = Project::new();
    assert_eq!(project.why("hello").await, "first build");
    assert_eq!(project.why("hello").await, "unchanged");

    project.write("gate.toml", &GATE.replace("\"hi\"", "\"hello\""));
    assert_eq!(project.why("hello").await, "env GREETING changed");

    project.write("data/brand.json", "{\"id\":1}");
    assert_eq!(project.why("hello").await, "file /data/brand.json changed");

    project.write("src/main.rs", "fn main() { println!(\"good morning\"); }\n");
    assert_eq!(project.why("hello").await, "binary changed");
    assert_eq!(project.why("tool").await, "unchanged", "the other image of the same binary was built with it");

    fs::remove_dir_all(project.path().join("target/gate/build")).unwrap();
    assert_eq!(project.why("hello").await, "its blobs were gone");
}

#[tokio::test]
async fn the_same_source_gives_the_same_digests() {
    let (one, two) = (Project::new(), Project::new());
    // The binary itself depends on where it was built; everything after it must not.
    one.build(&[Variant::current()]).await;
    let binary = "target/debug/hello";
    let config = |project: &Project| {
        let text = GATE.replace("cargo = { package = \"hello\", bin = \"hello\" }", "host-binaries = [\"ldd\"]");
        project.write("gate.toml", &text);
        fs::copy(one.path().join(binary), project.path().join("data/copy")).unwrap();
    };
    config(&one);
    config(&two);
    let digests = async |project: &Project| {
        let (built, _) = project.build(&[Variant::current()]).await;
        built[0].images.values().map(|image| image.pinned()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&one).await, digests(&two).await);
}

#[tokio::test]
async fn releases_and_bad_builds_are_other_images_of_one_binary() {
    let project = Project::new();
    let variants = [Variant::current(), Variant::previous(), Variant::flawed("rude")];
    let (built, events) = project.build(&variants).await;
    let digests: Vec<_> = built.iter().map(|release| &release.images["hello"].manifest.digest).collect();
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
    assert!(built[1].images["hello"].reference.starts_with("hello:v1-"));
    let short = digests[0].short();
    assert_eq!(built[0].images["hello"].reference, format!("hello:v2-{short}"));
    let tools: Vec<_> = built.iter().map(|release| release.images["tool"].pinned()).collect();
    assert!(tools.iter().all(|tool| *tool == tools[0] && tool.starts_with("tool:fixed-")), "{tools:?}");

    // One binary, stored once, whoever many images have it.
    let layout = Layout::at(&project.path().join("target/gate/build"));
    let layers: std::collections::BTreeSet<_> = built
        .iter()
        .flat_map(|release| release.images.values())
        .map(|image| layout.manifest(&image.manifest).unwrap().layers[0].digest.clone())
        .collect();
    assert_eq!(layers.len(), 1);

    let What::StageFinished { stage, result: StageResult::Done, facts } = &events[1] else { panic!("{events:?}") };
    assert_eq!((stage.as_str(), events.len(), facts.len()), ("build", 2, 4));
    assert!(facts[0].contains("first build") && facts[0].contains("MiB written"), "{facts:?}");
}

#[tokio::test]
async fn a_push_moves_what_is_missing_and_nothing_else() {
    let project = Project::new();
    let (built, _) = project.build(&[Variant::current(), Variant::previous()]).await;
    let config = project.config();
    let images = project.path().join("target/gate/images");
    let destination = Destination::Layout(images.clone());
    let cancel = CancellationToken::new();
    let mut facts = Vec::new();
    let mut sink = |what| {
        if let What::StageFinished { facts: told, .. } = what {
            facts.extend(told);
        }
    };
    let first = pipeline::push(&config, &built[..1], &destination, &cancel, &mut sink).await.unwrap();
    assert!(first.blobs >= 5 && first.bytes > 100_000 && first.bytes_present > 0, "{first:?}");
    let second = pipeline::push(&config, &built, &destination, &cancel, &mut sink).await.unwrap();
    assert_eq!((second.images, second.blobs), (3, 2), "a config and a manifest of the other release");
    let third = pipeline::push(&config, &built, &destination, &cancel, &mut sink).await.unwrap();
    assert_eq!((third.blobs, third.bytes), (0, 0));
    assert!(facts[2].starts_with("3 images: nothing to move, "), "{facts:?}");
    let layout = Layout::at(&images);
    for image in built.iter().flat_map(|release| release.images.values()) {
        assert_eq!(layout.resolve(&image.reference).unwrap().unwrap().digest, image.manifest.digest);
        assert!(layout.has_image(&image.manifest));
    }
}

#[tokio::test]
async fn an_unknown_bad_build_is_refused_with_those_that_are_known() {
    let project = Project::new();
    let mut events = Vec::new();
    let mut sink = |what| events.push(what);
    let cancel = CancellationToken::new();
    let failed =
        pipeline::build(&project.config(), &[Variant::flawed("kind")], Supply::Installed, &cancel, &mut sink).await;
    let error = failed.unwrap_err().to_string();
    assert_eq!(error, "build `kind`: no such build in gate.toml; there are: rude");
    let failed = What::StageFinished { stage: "build".into(), result: StageResult::Failed { error }, facts: vec![] };
    assert_eq!(events[1], failed);
}

#[tokio::test]
async fn what_cargo_says_of_broken_source_reaches_the_user() {
    let project = Project::new();
    project.write("src/main.rs", "fn main() { nonsense }");
    let cancel = CancellationToken::new();
    let mut sink = |_| {};
    let failed = pipeline::build(&project.config(), &[Variant::current()], Supply::Installed, &cancel, &mut sink).await;
    let error = failed.unwrap_err();
    assert_eq!(error.to_string(), "build packages hello: cargo exit status: 101");
    let BuildError::Cargo { output, .. } = error else { panic!("{error}") };
    assert!(output.contains("cannot find value `nonsense`"), "{output}");
}

#[tokio::test]
async fn a_cancelled_build_says_so() {
    let project = Project::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let mut results = Vec::new();
    let mut sink = |what| {
        if let What::StageFinished { result, .. } = what {
            results.push(result);
        }
    };
    let failed = pipeline::build(&project.config(), &[Variant::current()], Supply::Installed, &cancel, &mut sink).await;
    assert!(matches!(failed, Err(BuildError::Cancelled)));
    assert_eq!(results, [StageResult::Cancelled]);
}
