//! Errors at the edge: printed once, with the exit code of their kind and the next step.

use std::process::ExitCode;

use embedded_cluster::launch::LaunchError;
use harness::cluster::ClusterError;
use harness::cluster::permission::Refused;
use harness::config::ConfigError;
use harness::docker::DockerError;
use harness::image::ImageError;
use harness::kind::KindError;
use harness::pipeline::manifests::ManifestError;
use harness::pipeline::{ApiError, BuildError, DeployError, PushError, RollbackError, SmokeError, SoakError};
use harness::run::RunError;
use harness::run::checklist::ChecklistError;
use harness::run::evidence::EvidenceError;
use harness::run::place::PlaceError;
use harness::run::reference::ReferenceError;
use harness::run::release::StageFailed;
use harness::verdict::Exit;

use crate::say;

const DOCTOR: &str = "`cargo xtask doctor` says what this machine lacks";

/// An error that knows its exit code and what the reader can do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What failed.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: Exit,
}

impl Failure {
    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, exit }
    }

    /// An error with its sources, which messages of this project leave to the edge.
    pub(crate) fn of(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        for source in std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string) {
            if !message.contains(&source) {
                message = format!("{message}: {source}");
            }
        }
        Self { message, hint: None, exit }
    }

    /// Adds the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        let hint = error.hint.clone().unwrap_or_else(|| DOCTOR.to_owned());
        Self::of(Exit::Environment, &error).hint(hint)
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let hint = match &error {
            ClusterError::NotRunning { .. } => "`cargo xtask cluster up` starts it",
            ClusterError::NoKind { .. } => "`cargo xtask cluster up --cluster kind` makes or adopts it",
            ClusterError::Kubeconfig { .. } => "name another file with --kubeconfig, or set KUBECONFIG",
            ClusterError::UnknownContext { .. } => "name one of these with --context",
            ClusterError::Silent { .. } => "is it up? `kubectl --context NAME version` asks it the same",
            ClusterError::Unreachable { .. } => "`kubectl get services` shows what there is",
        };
        Self::of(Exit::Environment, &error).hint(hint)
    }
}

impl From<KindError> for Failure {
    fn from(error: KindError) -> Self {
        let hint = match &error {
            KindError::Cluster(_) => {
                "`docker ps` shows whether its nodes run; `cargo xtask cluster down --cluster kind` \
                removes it"
                    .to_owned()
            }
            KindError::Docker(DockerError::Silent { .. }) => {
                "install Docker (https://docs.docker.com/engine/install), start it, and be allowed to use it; without \
                    Docker, `--cluster embedded` needs none"
                    .to_owned()
            }
            KindError::Docker(DockerError::NoImage { image, .. }) => format!(
                "`docker pull {image}` where there is a network, or name one that is there with --node-image or \
                --registry-image"
            ),
            KindError::Docker(
                DockerError::Refused { .. } | DockerError::Command { .. } | DockerError::Build { .. },
            ) => "`docker info` and `docker ps` show more".to_owned(),
            KindError::NoProgram => {
                "install it (https://kind.sigs.k8s.io/docs/user/quick-start/#installation), version \
                0.27 or later, somewhere on PATH"
                    .to_owned()
            }
            KindError::Program { .. } => "the same command by hand, with `--retain -v 1`, shows more".to_owned(),
            KindError::Others { .. } => {
                "choose another --name; `kind get clusters` lists those that are there".to_owned()
            }
            KindError::Taken { container } => {
                format!("`docker rm -f {container}` if it is of no use, or choose another --name")
            }
            KindError::Busy { .. } => "wait until it ends".to_owned(),
            KindError::NotReady { .. } => {
                "`cargo xtask cluster up --cluster kind` again goes on; a node that never joins may lack inotify instances, \
                    which `sysctl fs.inotify.max_user_instances=512` raises"
                    .to_owned()
            }
            KindError::State(_) => {
                "check space and permissions there, or set XDG_STATE_HOME to another directory".to_owned()
            }
        };
        Self::of(Exit::Environment, &error).hint(hint)
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Launch(error) => error.into(),
            PlaceError::Cluster(error) => error.into(),
            PlaceError::Kind(error) => error.into(),
            PlaceError::State(_) => Self::of(Exit::Environment, &error)
                .hint("check space and permissions there, or set XDG_STATE_HOME to another directory"),
            PlaceError::Guardian(_) => Self::of(Exit::Environment, &error).hint(DOCTOR),
            PlaceError::Cancelled => Self::of(Exit::Interrupted, &error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        let exit = match &error {
            Refused::NotConsented { .. } => Exit::Usage,
            Refused::NotPinned { .. }
            | Refused::OtherCluster { .. }
            | Refused::NotLabelled { .. }
            | Refused::Declined { .. } => Exit::Environment,
        };
        Self::of(exit, &error).hint(error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::Unreadable { .. } => "run from the project's root, or name the file with --config",
            ConfigError::Invalid { .. } => "correct it at that place; the project's own gate.toml is an example",
        };
        Self::of(Exit::Usage, &error).hint(hint)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let hint = match &error {
            ManifestError::Unreadable { .. } => "gate.toml says where they are: [system] manifests, and the profiles",
            ManifestError::Invalid { .. } => "correct it at that place",
            ManifestError::UnknownProfile { .. } => "choose one of these with --profile",
        };
        Self::of(Exit::Usage, &error).hint(hint)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::of(Exit::Environment, &error).hint("`cargo xtask cluster status` says whether the embedded cluster runs")
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match &error {
            BuildError::UnknownBuild { .. } => Self::of(Exit::Usage, &error).hint("choose one of these with --build"),
            BuildError::Cancelled => Self::of(Exit::Interrupted, &error),
            BuildError::Cargo { .. } => Self::of(Exit::Environment, &error).hint("what cargo says stands above"),
            BuildError::Image(ImageError::MissingProgram { program, package }) => {
                let missing = Self::new(Exit::Environment, format!("find `{program}`: not installed"));
                missing.hint(package.map_or_else(|| DOCTOR.to_owned(), |package| format!("apt-get install {package}")))
            }
            BuildError::Registry(registry) => {
                let hint = registry.hint();
                Self::of(Exit::Environment, &error)
                    .hint(format!("{hint}; or name `host-binaries` that stand in for it in gate.toml"))
            }
            BuildError::Docker(DockerError::Build { .. }) => {
                Self::of(Exit::Environment, &error).hint("what the steps before it said stands above")
            }
            BuildError::Docker(_) => Self::of(Exit::Environment, &error).hint(
                "images with a `dockerfile` need a Docker engine: start it, or name it with DOCKER_HOST; \
                 `docker info` asks it the same",
            ),
            BuildError::CargoUnusable { .. } | BuildError::Image(_) | BuildError::Worker(_) => {
                Self::of(Exit::Environment, &error).hint(DOCTOR)
            }
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        match &error {
            PushError::Cancelled => Self::of(Exit::Interrupted, &error),
            PushError::Registry(registry) => {
                let hint = registry.hint();
                Self::of(Exit::Environment, &error).hint(hint)
            }
            PushError::NoRegistry { .. } => Self::of(Exit::Environment, &error)
                .hint("say where it pulls from: `registry = \"HOST/PATH\"` in its [clusters.NAME] of gate.toml"),
            PushError::Api(_) => Self::of(Exit::Environment, &error)
                .hint("say where it pulls from: `registry = \"HOST/PATH\"` in its [clusters.NAME] of gate.toml"),
            PushError::Image(_) | PushError::Worker(_) => {
                Self::of(Exit::Environment, &error).hint("check space and permissions under target/gate")
            }
        }
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        let exit = match error {
            DeployError::Manifest(error) => return error.into(),
            DeployError::Refused(error) => return error.into(),
            DeployError::Api(error) => return error.into(),
            DeployError::Unserved { .. } | DeployError::Blind { .. } => Exit::Environment,
            DeployError::RolledBack { .. } => Exit::RolledBack,
            DeployError::RollbackFailed { .. } | DeployError::BadFirstInstall { .. } => Exit::RollbackFailed,
            DeployError::Cancelled => return Self::of(Exit::Interrupted, &error),
        };
        Self::of(exit, &error).hint("`kubectl describe` and `kubectl logs` on the pods of the namespace show more")
    }
}

impl From<RollbackError> for Failure {
    fn from(error: RollbackError) -> Self {
        match error {
            RollbackError::Refused(error) => error.into(),
            RollbackError::Manifest(error) => error.into(),
            RollbackError::Cancelled => Self::of(Exit::Interrupted, &error),
            RollbackError::NoRevision { .. } => {
                Self::of(Exit::RollbackFailed, &error).hint("`kubectl rollout history` shows what there is")
            }
            RollbackError::Absent { .. } | RollbackError::NothingToRollBack => {
                Self::of(Exit::RollbackFailed, &error).hint("`cargo xtask deploy` installs the release")
            }
            RollbackError::Api(_) | RollbackError::NotRestored { .. } => Self::of(Exit::RollbackFailed, &error)
                .hint("`kubectl describe` and `kubectl logs` on the pods of the namespace show more"),
        }
    }
}

impl From<SmokeError> for Failure {
    fn from(error: SmokeError) -> Self {
        match error {
            SmokeError::Cluster(error) => error.into(),
            SmokeError::Failed { .. } => {
                Self::of(Exit::GateFailed, &error).hint("each failed check stands above, with what was seen")
            }
            SmokeError::Nothing(_) => Self::of(Exit::Usage, &error).hint("add a [[smoke]] to gate.toml"),
            SmokeError::Cancelled => Self::of(Exit::Interrupted, &error),
        }
    }
}

impl From<SoakError> for Failure {
    fn from(error: SoakError) -> Self {
        match error {
            SoakError::Cluster(error) => error.into(),
            SoakError::Load(_) => Self::of(Exit::Environment, &error).hint(DOCTOR),
            SoakError::Cancelled => Self::of(Exit::Interrupted, &error),
        }
    }
}

impl From<StageFailed> for Failure {
    fn from(error: StageFailed) -> Self {
        match error {
            StageFailed::Build(error) => error.into(),
            StageFailed::Push(error) => error.into(),
            StageFailed::Checklist(error) => error.into(),
            StageFailed::Deploy(error) => error.into(),
            StageFailed::Rollback(error) => error.into(),
            StageFailed::Smoke(error) => error.into(),
        }
    }
}

impl From<ChecklistError> for Failure {
    fn from(error: ChecklistError) -> Self {
        match error {
            ChecklistError::Lacking(_) => Self::of(Exit::GateFailed, &error)
                .hint("each says above what it lacks; `--waive ITEM=REASON` lets one go, and the report shows it"),
            ChecklistError::Cancelled => Self::of(Exit::Interrupted, &error),
        }
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        Self::of(Exit::Environment, &error).hint("check space and permissions there")
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        let (exit, hint) = match &error {
            ReferenceError::Unreadable { .. } => (Exit::Usage, "gate.toml says where it is: [reference] file"),
            ReferenceError::Invalid { .. } => {
                (Exit::Usage, "correct it, or remove it and let `cargo xtask report --write-reference` make it anew")
            }
            ReferenceError::Unwritable { .. } => (Exit::Environment, "check space and permissions there"),
        };
        Self::of(exit, &error).hint(hint)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Lanes(_) => Self::of(Exit::Usage, &error).hint("leave --lanes out, or say --lanes 1"),
            RunError::Place(error) => error.into(),
            RunError::Refused(error) => error.into(),
            RunError::Heal(_) => Self::of(Exit::CleanUpIncomplete, &error).hint(
                "run `cargo xtask heal` when the cluster answers; the ledger under $XDG_STATE_HOME/gameday stays",
            ),
            RunError::LeftBroken(_) => Self::of(Exit::CleanUpIncomplete, &error)
                .hint("the run's guardian is at it; `cargo xtask heal` says whether something is left"),
            RunError::Lease(_) => Self::of(Exit::Environment, &error)
                .hint("wait until it ends; the lease of a run that was killed runs out by itself within a minute"),
            RunError::Busy { .. } => Self::of(Exit::Environment, &error).hint("wait until it ends"),
            RunError::State(_) => Self::of(Exit::Environment, &error)
                .hint("check space and permissions there, or set XDG_STATE_HOME to another directory"),
            RunError::Directory { .. } | RunError::Record(_) | RunError::Report(_) => {
                Self::of(Exit::Environment, &error)
                    .hint("check space and permissions there, or name another place with --runs")
            }
            RunError::Needs(_) | RunError::Guardian(_) => Self::of(Exit::Environment, &error).hint(DOCTOR),
        }
    }
}

/// Prints an error and the next step.
pub(crate) fn tell(failure: &Failure) {
    say::narrative(format!("error: {failure}"));
    if let Some(hint) = &failure.hint {
        say::narrative(format!(" hint: {hint}"));
    }
}

/// Prints an error and gives its exit code: 70 where nobody thought of it.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    say::narrative(format!("error: {error:#}"));
    let failure = error.downcast_ref::<Failure>();
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
        say::narrative(format!(" hint: {hint}"));
    }
    ExitCode::from(failure.map_or(Exit::Bug, |failure| failure.exit).code())
}
