//! `gate.toml`: what to build, where the manifests are, which clusters may be written to.
//!
//! A [`Config`] exists only if it is valid; [`Config::parse`] says what is not, at which
//! line and column, and what to do about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::reference::WarnAbove;
use crate::registry::{Address, Source};
use crate::scenario::plan::LoadPlan;
use crate::soak::SoakPlan;

mod file;

/// Everything `gate.toml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The directory of that file; relative paths in it start here.
    pub root: PathBuf,
    /// The system under test.
    pub system: SystemConfig,
    /// Images to build, by repository.
    pub images: BTreeMap<String, ImageConfig>,
    /// Deliberately bad builds, by name.
    pub builds: BTreeMap<String, BadBuild>,
    /// Secrets to create where they are absent, by name.
    pub secrets: BTreeMap<String, SecretConfig>,
    /// Overlays over the manifests, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Clusters of others that may be written to, by a name of your choice.
    pub clusters: BTreeMap<String, PinnedCluster>,
    /// When a rollout is called bad.
    pub rollout: RolloutConfig,
    /// Earlier recoveries to compare with.
    pub reference: ReferenceConfig,
    /// What the pre-deployment checklist goes by.
    pub checklist: ChecklistConfig,
    /// How a release is soaked.
    pub soak: Option<SoakPlan>,
    /// Suites that are more than what scenario files say, by name.
    pub suites: BTreeMap<String, SuiteConfig>,
    /// What a release must answer, in this order.
    pub smoke: Vec<SmokeCheck>,
    /// What runs against which Service while something is rolled out.
    pub traffic: Vec<TrafficConfig>,
}

/// The traffic to one Service during rollouts.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficConfig {
    /// The Service.
    pub service: String,
    /// How much of what.
    pub load: LoadPlan,
}

/// The system under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemConfig {
    /// Its name.
    pub name: String,
    /// The namespace that it is deployed to.
    pub namespace: String,
    /// Directory of its manifests.
    pub manifests: PathBuf,
    /// Directory of the scenario files.
    pub scenarios: PathBuf,
    /// The release that is gated.
    pub version: String,
    /// The release before it, which a rollback returns to.
    pub previous_version: String,
}

/// How an image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// What runs in it.
    pub program: Program,
    /// Whether a busybox layer lies below, so that `kubectl exec … -- sh` works.
    pub busybox: bool,
    /// The entrypoint, in exec form; empty where the image has its own.
    pub entrypoint: Vec<String>,
    /// Environment baked into the image.
    pub env: BTreeMap<String, String>,
    /// Files and directories copied in.
    pub files: Vec<CopiedFile>,
    /// A version of its own, for what is not part of the release. Absent: the system's.
    pub version: Option<String>,
}

/// What runs in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A binary of this workspace; it stands at `/BIN` in the image.
    Cargo(CargoBinary),
    /// Installed programs with their libraries; they stand where they are installed.
    Host(Vec<String>),
    /// What others made.
    Pull(Pull),
    /// What the Docker engine builds.
    Dockerfile(Dockerfile),
}

/// How the Docker engine builds an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The Dockerfile.
    pub file: PathBuf,
    /// The directory whose files it may copy, without those of its `.dockerignore`.
    pub context: PathBuf,
    /// The stage to stop at; the last one where absent.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
}

/// An image of others, which is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Where it comes from.
    pub source: Source,
    /// Installed programs that stand in for it where it cannot be pulled; perhaps none.
    pub otherwise: Vec<String>,
}

impl Program {
    /// Installed programs that the image is made of, or may have to be.
    #[must_use]
    pub fn installed(&self) -> &[String] {
        match self {
            Self::Cargo(_) | Self::Dockerfile(_) => &[],
            Self::Host(programs) => programs,
            Self::Pull(pull) => &pull.otherwise,
        }
    }
}

/// A binary of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CargoBinary {
    /// Its package.
    pub package: String,
    /// Its name.
    pub bin: String,
}

/// A file or directory copied into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFile {
    /// From where on this machine.
    pub from: PathBuf,
    /// To where in the image, absolute.
    pub to: String,
}

/// A deliberately bad build: other settings baked into the same images, or other manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBuild {
    /// Which images.
    pub images: Vec<String>,
    /// Environment added to them.
    pub env: BTreeMap<String, String>,
    /// An overlay over the manifests, after the profile and after images have their digests.
    pub overlay: Option<PathBuf>,
}

/// A Secret that is created where it is absent. Its values never touch the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// Its keys, each with the number of random characters it gets.
    pub keys: BTreeMap<String, usize>,
}

/// An overlay over the manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The file.
    pub overlay: PathBuf,
}

/// A cluster that may be written to: context and uid must both agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedCluster {
    /// The kubeconfig context.
    pub context: String,
    /// uid of the cluster's namespace `kube-system`.
    pub uid: String,
    /// The registry that it pulls the system's images from.
    pub registry: Option<Address>,
}

/// When a rollout is called bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolloutConfig {
    /// How long an image may fail to be pulled.
    pub pull_grace: Duration,
    /// How long a new pod may stay in `CrashLoopBackOff`.
    pub crash_grace: Duration,
    /// How long nothing may progress where the workload has no `progressDeadlineSeconds`.
    pub progress_deadline: Duration,
}

/// Earlier recoveries to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceConfig {
    /// The file; it need not be there.
    pub file: PathBuf,
    /// From where on a recovery has grown so much that it deserves a warning.
    pub warn_above: WarnAbove,
}

/// What the pre-deployment checklist goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecklistConfig {
    /// Directory of the evidence.
    pub evidence: PathBuf,
    /// The cluster that stands for staging: one of `clusters`, or `embedded`.
    pub smoke_on: String,
    /// The oldest verified backup that counts.
    pub backup_age_max: Duration,
}

/// A suite that is more than what scenario files say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SuiteConfig {
    /// Suites whose scenarios belong to it as well.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Whether the gate goes through the pre-deployment checklist.
    #[serde(default)]
    pub checklist: bool,
    /// Whether the gate soaks the release in the end.
    #[serde(default)]
    pub soak: bool,
}

/// One thing that a release must answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SmokeCheck {
    /// What it shows.
    pub name: String,
    /// The Service that is asked.
    pub service: String,
    /// Whether `smoke --quick` asks it.
    pub quick: bool,
    /// How long the answer may take.
    pub within: Duration,
    /// What is asked, and what is expected.
    pub ask: Ask,
}

/// What a smoke check asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// An HTTP GET.
    Http(HttpExpectation),
    /// A conversation over a WebSocket.
    Websocket(WebsocketExpectation),
}

/// What an HTTP GET must answer. `{version}` in texts stands for the released version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpExpectation {
    /// The path, with its query.
    pub path: String,
    /// The right status; 200 where absent.
    #[serde(default = "ok")]
    pub status: u16,
    /// JSON pointer → the right value; all must hold.
    #[serde(default)]
    pub json: BTreeMap<String, Value>,
    /// JSON pointer → the least number; all must hold.
    #[serde(default)]
    pub at_least: BTreeMap<String, f64>,
    /// Texts that the body must contain.
    #[serde(default)]
    pub contains: Vec<String>,
}

/// What a WebSocket must answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebsocketExpectation {
    /// The path, with its query.
    pub path: String,
    /// The JSON message that is sent.
    pub send: Value,
    /// Messages that must come back in this order; others may come between. A message
    /// is the expected one if it has every key and value written here.
    pub expect: Vec<Value>,
}

/// `gate.toml` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("read `{file}`: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// It says something that cannot be.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// What is wrong there, and what to write instead.
        message: String,
    },
}

impl Config {
    /// Reads and checks a `gate.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and column.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::Unreadable {
            file: file.display().to_string(),
            reason: error.to_string(),
        };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let absolute = std::path::absolute(file).map_err(unreadable)?;
        let root = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, file, root)
    }

    /// Checks the text of a `gate.toml`. `file` is for messages, `root` is where relative
    /// paths start. Reads nothing else: whether paths exist is found out where they are used.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn parse(text: &str, file: &Path, root: &Path) -> Result<Self, ConfigError> {
        file::parse(text, file, root)
    }

    /// The version that an image carries.
    #[must_use]
    pub fn release_version(&self, release: Release) -> &str {
        match release {
            Release::Current => &self.system.version,
            Release::Previous => &self.system.previous_version,
        }
    }

    /// Where everything that this program makes stands: `target/gate` beside `gate.toml`.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.root.join("target/gate")
    }
}

/// Which release is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// The one that is gated.
    Current,
    /// The one before it.
    Previous,
}

fn ok() -> u16 {
    200
}
