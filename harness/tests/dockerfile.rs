//! Images of Dockerfiles, built by a real engine: `FROM scratch`, so that nothing is pulled. Without
//! an engine each test says that it is skipped.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

use std::fs;
use std::path::Path;

use harness::config::Config;
use harness::docker::{DockerError, Engine};
use harness::event::What;
use harness::image::layout::Layout;
use harness::pipeline::{self, BuildError, BuiltRelease, Supply, Variant};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A project with Dockerfiles, and the engine that builds them.
struct Project {
    directory: tempfile::TempDir,
    engine: Engine,
    name: String,
}

struct Built {
    releases: Result<Vec<BuiltRelease>, BuildError>,
    facts: Vec<String>,
    /// What the engine said.
    said: Vec<String>,
}

impl Project {
    /// Nothing where no engine answers.
    async fn new(name: &str) -> Option<Self> {
        let Ok(engine) = Engine::connect().await else {
            eprintln!("skipped: no Docker engine answers");
            return None;
        };
        let name = format!("{name}-{}", std::process::id());
        Some(Self { directory: tempfile::tempdir().unwrap(), engine, name })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn build(&self, images: &str, variants: &[Variant]) -> Built {
        let text = format!(
            "[system]\nname = \"{}\"\nnamespace = \"s\"\nmanifests = \"m\"\nscenarios = \"c\"\nversion = \"v2\"\n\
             previous-version = \"v1\"\n{images}",
            self.name
        );
        let config = Config::parse(&text, &self.path().join("gate.toml"), self.path()).unwrap();
        let (mut facts, mut said) = (Vec::new(), Vec::new());
        let mut sink = |what| match what {
            What::StageFinished { facts: told, .. } => facts.extend(told),
            What::StageSaid { line, .. } => said.push(line),
            _ => {}
        };
        let cancel = CancellationToken::new();
        let releases = pipeline::build(&config, variants, Supply::Installed, &cancel, &mut sink).await;
        Built { releases, facts, said }
    }

    /// The configuration of a built image.
    fn document(&self, release: &BuiltRelease, image: &str) -> Value {
        let layout = Layout::at(&self.path().join("target/gate/build"));
        let manifest = layout.manifest(&release.images[image].manifest).unwrap();
        assert!(layout.has_image(&release.images[image].manifest));
        serde_json::from_slice(&fs::read(layout.blob_path(&manifest.config.digest)).unwrap()).unwrap()
    }

    /// Takes what was built out of the engine.
    async fn leave(self, images: &[&str]) {
        for image in images {
            let tag = format!("gameday/{}-{image}:latest", self.name);
            let options = None::<bollard::query_parameters::RemoveImageOptions>;
            self.engine.client().remove_image(&tag, options, None).await.unwrap();
        }
    }
}

const IMAGES: &str = r#"
[images.web]
dockerfile = "web/Dockerfile"
args = { GREETING = "good morning" }
env = { MODE = "polite" }
[builds.rude]
images = ["web"]
env = { MODE = "rude" }
"#;

#[tokio::test]
async fn what_changed_is_built_and_what_did_not_is_not_sent_at_all() {
    let Some(project) = Project::new("cache").await else { return };
    project.write("web/Dockerfile", "FROM scratch\nARG GREETING\nENV GREETING=$GREETING MODE=plain\nCOPY . /app/\n");
    project.write("web/.dockerignore", "*.key\n");
    project.write("web/index.html", "hello");
    project.write("web/a.key", "hush");
    let current = [Variant::current()];
    let first = project.build(IMAGES, &current).await;
    let releases = first.releases.unwrap();
    assert!(first.facts[0].contains("first build") && first.facts[0].contains("written"), "{:?}", first.facts);
    assert!(first.said.iter().any(|line| line.starts_with("web: Step 1/")), "{:?}", first.said);
    let env = project.document(&releases[0], "web")["config"]["Env"].to_string();
    for setting in ["GREETING=good morning", "MODE=polite", "APP_VERSION=v2"] {
        assert!(env.contains(setting), "{env}");
    }
    assert!(!env.contains("MODE=plain"), "{env}");

    let check = async |expect: &str, asks: bool| {
        let built = project.build(IMAGES, &current).await;
        assert!(built.facts[0].contains(expect), "{expect}: {:?}", built.facts);
        assert_eq!(!built.said.is_empty(), asks, "{expect}: {:?}", built.said);
        built.releases.unwrap().remove(0)
    };
    let again = check(": unchanged", false).await;
    assert_eq!(
        again.images,
        [(
            "web".to_owned(),
            harness::pipeline::BuiltImage {
                why: harness::pipeline::Why::Unchanged,
                ..releases[0].images["web"].clone()
            }
        )]
        .into()
    );
    project.write("web/a.key", "another");
    check(": unchanged", false).await;
    project.write("web/index.html", "good bye");
    let changed = check(": file index.html changed", true).await;
    assert_ne!(changed.images["web"].manifest, releases[0].images["web"].manifest);
    project.leave(&["web"]).await;
}

#[tokio::test]
async fn bad_builds_and_releases_are_settings_over_the_same_layers() {
    let Some(project) = Project::new("flaws").await else { return };
    project.write("web/Dockerfile", "FROM scratch\nCOPY index.html /\n");
    project.write("web/index.html", "hello");
    let variants = [Variant::current(), Variant::previous(), Variant::flawed("rude")];
    let built = project.build(IMAGES, &variants).await.releases.unwrap();
    let env = |number: usize| project.document(&built[number], "web")["config"]["Env"].to_string();
    assert!(env(0).contains("APP_VERSION=v2") && env(1).contains("APP_VERSION=v1") && env(2).contains("MODE=rude"));
    let layers = |number: usize| project.document(&built[number], "web")["rootfs"]["diff_ids"].clone();
    assert!(layers(0) == layers(1) && layers(0) == layers(2));
    project.leave(&["web"]).await;
}

#[tokio::test]
async fn the_step_that_fails_is_named() {
    let Some(project) = Project::new("fails").await else { return };
    project.write("web/Dockerfile", "FROM scratch\nCOPY index.html /\nCOPY missing /\n");
    project.write("web/index.html", "hello");
    let error = project.build(IMAGES, &[Variant::current()]).await.releases.unwrap_err();
    let BuildError::Docker(DockerError::Build { image, step, reason, .. }) = error else { panic!("{error:?}") };
    assert_eq!((image.as_str(), step.as_str()), ("web", "Step 3/3 : COPY missing /"));
    assert!(reason.contains("missing"), "{reason}");
}

#[tokio::test]
async fn several_dockerfiles_with_a_target_and_a_context_elsewhere() {
    let Some(project) = Project::new("several").await else { return };
    project.write(
        "one/Dockerfile",
        "FROM scratch AS early\nLABEL stage=early\nCOPY a /\nFROM scratch\nLABEL stage=late\n",
    );
    project.write("one/a", "a");
    project.write("build/two.docker", "FROM scratch\nCOPY . /all/\n");
    project.write("two/b", "b");
    let images = "[images.one]\ndockerfile = \"one/Dockerfile\"\ntarget = \"early\"\n\
                  [images.two]\ndockerfile = \"build/two.docker\"\ncontext = \"two\"\n";
    let built = project.build(images, &[Variant::current()]).await.releases.unwrap();
    assert_eq!(project.document(&built[0], "one")["config"]["Labels"]["stage"], "early");
    let layout = Layout::at(&project.path().join("target/gate/build"));
    let layer = layout.manifest(&built[0].images["two"].manifest).unwrap().layers.remove(0);
    let mut tar = tar::Archive::new(fs::File::open(layout.blob_path(&layer.digest)).unwrap());
    let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let files: Vec<String> = names.filter(|name| !name.ends_with('/')).collect();
    assert_eq!(files, ["all/b"], "the Dockerfile from elsewhere is not in the image");
    project.leave(&["one", "two"]).await;
}
