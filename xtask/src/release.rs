//! `build`, `push`, `deploy`, `rollback` and `smoke`: the release, step by step.

use std::path::PathBuf;
use std::process::ExitCode;

use harness::config::{self, Config};
use harness::event::{Event, What};
use harness::pipeline::{self, BuiltRelease, Destination, SmokeResult, Supply, Variant, manifests};
use harness::registry::Address;
use harness::run::evidence;
use harness::run::place::{Place, Standing};
use harness::run::release::{Goal, Release};
use harness::verdict::Exit;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::checklist::Words;
use crate::display::Live;
use crate::fail::Failure;
use crate::gate::{Meant, Where};
use crate::{Output, Shared, gate, say, scenario, signals};

/// The OCI layout that the embedded cluster pulls from.
pub(crate) const IMAGES: &str = "target/gate/images";

/// Build the images of the system.
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// A deliberately bad build of gate.toml.
    #[arg(long = "build", value_name = "NAME")]
    flaw: Option<String>,
    /// The previous release instead.
    #[arg(long, conflicts_with = "flaw")]
    previous: bool,
}

/// Push the built images to where the cluster pulls from.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    place: Where,
    /// A registry, and the path in it under which images are put, whatever cluster pulls from it.
    /// Credentials are those of `docker login`.
    #[arg(long, value_name = "HOST/PATH", conflicts_with_all = ["cluster", "context"])]
    registry: Option<String>,
    /// That registry has no TLS. One on this machine is always asked without.
    #[arg(long, requires = "registry")]
    plain_http: bool,
}

/// Roll the built release out, and back if it is bad.
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    meant: Meant,
    /// Overlay over the manifests: a profile of gate.toml, or `as-deployed`.
    #[arg(long, default_value = "rehearsal")]
    profile: String,
    /// Go through the pre-deployment checklist first, and deploy only if it allows it.
    #[arg(long)]
    checklist: bool,
    #[command(flatten)]
    words: Words,
}

/// Go back to an earlier revision.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    meant: Meant,
    /// The revision, as `kubectl rollout history` numbers it; the one before where absent.
    #[arg(long, value_name = "N")]
    to_revision: Option<i64>,
}

/// Check that the installed release answers.
#[derive(Debug, clap::Args)]
pub(crate) struct Smoke {
    #[command(flatten)]
    place: Where,
    /// Only the quick checks.
    #[arg(long)]
    quick: bool,
    /// Where evidence for the checklist is kept; the directory of gate.toml where absent.
    #[arg(long, env = "GAMEDAY_EVIDENCE", value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,
}

pub(crate) fn build(command: &Build, shared: &Shared) -> anyhow::Result<ExitCode> {
    let release = with_stages(shared, async |config, cancel, sink| {
        built(command, config, Supply::Installed, cancel, sink).await
    })?;
    images(&release, shared)
}

pub(crate) fn push(command: &Push, shared: &Shared) -> anyhow::Result<ExitCode> {
    let release = with_stages(shared, async |config, cancel, sink| pushed(command, config, cancel, sink).await)?;
    images(&release, shared)
}

pub(crate) fn deploy(command: &Deploy, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = command.words.applied(scenario::config(&shared.config)?);
    let Build { flaw, previous } = &command.build;
    if let Some(flaw) = flaw {
        gate::known_build(&config, flaw)?;
    }
    let release = Release {
        goal: Goal::Deploy { previous: *previous },
        profile: command.profile.clone(),
        flaw: flaw.clone(),
        images: std::path::absolute(IMAGES)?,
        checklist: command.checklist.then(|| command.words.said()),
    };
    gate::release(&command.place, command.meant, release, config, shared)
}

pub(crate) fn rollback(command: &Rollback, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = scenario::config(&shared.config)?;
    let release = Release {
        goal: Goal::Rollback { to_revision: command.to_revision },
        profile: manifests::AS_DEPLOYED.to_owned(),
        flaw: None,
        images: std::path::absolute(IMAGES)?,
        checklist: None,
    };
    gate::release(&command.place, command.meant, release, config, shared)
}

pub(crate) fn smoke(command: &Smoke, shared: &Shared) -> anyhow::Result<ExitCode> {
    let results = with_stages(shared, async |config, cancel, sink| {
        let standing = standing(&command.place, config, sink).await?;
        let version = config.release_version(config::Release::Current).to_owned();
        let source = evidence::source(&config.root);
        let asked = pipeline::smoke(config, standing.cluster(), &version, command.quick, cancel, sink).await;
        if let Ok(source) = source {
            let config = command.evidence.clone().map_or_else(
                || config.clone(),
                |evidence| {
                    let mut config = config.clone();
                    config.checklist.evidence = evidence;
                    config
                },
            );
            evidence::keep_smoke(&config, source, &standing.cluster().facts, command.quick, &asked)?;
        }
        Ok(asked?)
    })?;
    match shared.output {
        Output::Json => {
            let row = |one: &SmokeResult| json!({ "name": one.name, "service": one.service, "detail": one.detail });
            say::result(serde_json::to_string_pretty(&results.iter().map(row).collect::<Vec<_>>())?)?;
        }
        Output::Human => say::result(format!("{} checks passed", results.len()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The images of a release, as manifests of a cluster name them.
fn images(release: &BuiltRelease, shared: &Shared) -> anyhow::Result<ExitCode> {
    let pinned: Vec<String> = release.pinned().into_values().collect();
    match shared.output {
        Output::Json => say::result(json!({ "version": release.version, "images": pinned }))?,
        Output::Human => pinned.iter().try_for_each(say::result)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn built(
    command: &Build,
    config: &Config,
    supply: Supply,
    cancel: &CancellationToken,
    sink: pipeline::Sink<'_>,
) -> Result<BuiltRelease, Failure> {
    let variant = match (&command.flaw, command.previous) {
        (Some(flaw), _) => Variant::flawed(flaw),
        (None, true) => Variant::previous(),
        (None, false) => Variant::current(),
    };
    let built = pipeline::build(config, &[variant], supply, cancel, sink).await;
    built?.into_iter().next().ok_or_else(|| Failure::new(Exit::Bug, "nothing was built"))
}

async fn pushed(
    command: &Push,
    config: &Config,
    cancel: &CancellationToken,
    sink: pipeline::Sink<'_>,
) -> Result<BuiltRelease, Failure> {
    let destination = destination(command, config, sink).await?;
    let release = built(&command.build, config, Supply::of(&destination), cancel, sink).await?;
    pipeline::push(config, std::slice::from_ref(&release), &destination, cancel, sink).await?;
    Ok(release.pulled_from(&destination))
}

/// The embedded cluster reads a directory, so it need not run; others are asked where they pull from.
async fn destination(command: &Push, config: &Config, sink: pipeline::Sink<'_>) -> Result<Destination, Failure> {
    let unusable = |error: anyhow::Error| Failure::new(Exit::Environment, error);
    if let Some(registry) = &command.registry {
        let address = Address::parse(registry, command.plain_http);
        return address.map(Destination::Registry).map_err(|message| Failure::new(Exit::Usage, message));
    }
    match command.place.place(config).map_err(unusable)? {
        Place::Embedded { images, .. } => Ok(Destination::Layout(images)),
        Place::Kind { .. } | Place::Context { .. } => {
            let standing = standing(&command.place, config, sink).await?;
            Ok(Destination::of(config, standing.cluster(), &PathBuf::from(IMAGES)).await?)
        }
    }
}

/// A cluster that stands already: a release on a cluster that ends with the command is of no
/// use. It is shown before anything is written, and what may not be written to is refused.
pub(crate) async fn standing(place: &Where, config: &Config, sink: pipeline::Sink<'_>) -> Result<Standing, Failure> {
    let place = place.place(config).map_err(|error| Failure::new(Exit::Environment, error))?;
    let standing = Standing::find(&place).await?;
    sink(What::ClusterReady(standing.cluster().facts.clone()));
    pipeline::permit(config, standing.cluster()).await?;
    Ok(standing)
}

/// Runs stages with the live display and signals around them.
pub(crate) fn with_stages<T>(
    shared: &Shared,
    work: impl AsyncFnOnce(&Config, &CancellationToken, pipeline::Sink<'_>) -> Result<T, Failure>,
) -> anyhow::Result<T> {
    let config = scenario::config(&shared.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = harness::clock::RunClock::start();
    let mut live = Live::new(shared);
    let worked = runtime.block_on(async {
        let (cancel, _signal) = signals::cancelled_by_signals()?;
        let mut sink = |what: What| live.show(&Event { at: clock.now(), scenario: None, what });
        anyhow::Ok(work(&config, &cancel, &mut sink).await)
    })?;
    Ok(worked?)
}
