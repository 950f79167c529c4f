//! `gate` and `run`: the main job.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use harness::cluster::permission::Consent;
use harness::config::Config;
use harness::event::{ClusterFacts, Event, Require, Rules};
use harness::pipeline::manifests;
use harness::report;
use harness::run::place::{DEFAULT_NAME, Place};
use harness::run::reference;
use harness::run::release::{Goal, Release};
use harness::run::{self, Finished, Request};
use harness::scenario::round::{ROUNDS_MAX, rounds};
use harness::soak::SoakPlan;
use harness::verdict::Exit;

use crate::checklist::Words;
use crate::display::Live;
use crate::fail::Failure;
use crate::release::IMAGES;
use crate::scenario::Chosen;
use crate::{Output, Shared, fail, say, scenario, signals};

/// Where run directories are made.
pub(crate) const RUNS: &str = "target/gate";
/// The suite of a gate where none is named.
const SUITE: &str = "core";

/// Which cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Where {
    /// Sort of cluster. `gate` makes one for as long as it needs it, unless `cluster up` made
    /// one; all others need one that runs.
    #[arg(long, value_enum, default_value_t = Sort::Embedded, conflicts_with = "context")]
    cluster: Sort,
    /// A kubeconfig context instead.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig of that context; KUBECONFIG or ~/.kube/config where absent.
    #[arg(long, value_name = "FILE", requires = "context")]
    kubeconfig: Option<PathBuf>,
    /// Name of the embedded or kind cluster.
    #[arg(long, default_value = DEFAULT_NAME, value_parser = crate::cluster::name)]
    name: String,
    #[command(flatten)]
    kind: crate::cluster::KindImages,
}

/// Sort of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// Our own: no Docker, no root.
    Embedded,
    /// A real Kubernetes in containers: needs Docker and kind.
    Kind,
}

/// Sort of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sought {
    /// From a real cluster, not rehearsed on the embedded one.
    Measured,
}

/// Whether it is meant.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Meant {
    /// Yes, write to this cluster of others, whatever its context, server and namespace are; asked
    /// on a terminal where absent.
    #[arg(long, requires = "context")]
    yes: bool,
}

impl Meant {
    /// What the user says about writing to a cluster of others.
    fn consent(self) -> Consent {
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        match self.yes {
            true => Consent::Given,
            false if is_terminal => Consent::Ask(ask),
            false => Consent::Missing,
        }
    }
}

/// Asks once; whatever is no clear yes is a no.
fn ask(facts: &ClusterFacts) -> io::Result<bool> {
    let ClusterFacts { name, server, namespace, .. } = facts;
    let mut terminal = io::stderr();
    writeln!(terminal, "context   {name}\nserver    {server}\nnamespace {namespace}")?;
    write!(terminal, "Things will be changed and broken there. Go on? [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What both take.
#[derive(Debug, clap::Args)]
struct Rehearsal {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    meant: Meant,
    /// Overlay over the manifests: a profile of gate.toml, or `as-deployed`.
    #[arg(long, default_value = "rehearsal")]
    profile: String,
    /// Rehearse every chosen variant so many times, at the full sampling rate and at a quarter of
    /// it in turn. One round that fails fails the gate.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    repeat: u32,
    /// Warnings fail the gate: recoveries that grew much beyond the reference, and key metrics that
    /// were not healthy all the time.
    #[arg(long)]
    strict: bool,
    /// Which figures the gate takes; it fails on others.
    #[arg(long, value_enum, value_name = "SORT")]
    require: Option<Sought>,
    /// Seed of all randomness; the report's last line repeats it.
    #[arg(long)]
    seed: Option<u64>,
    /// How many scenarios run side by side, each with a copy of the release in a namespace of its
    /// own; where absent, as many as fit this machine on an embedded cluster and one on kind.
    /// Always one on clusters of others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    lanes: Option<u32>,
    /// Where run directories are made.
    #[arg(long, env = "GAMEDAY_RUNS", value_name = "DIRECTORY", default_value = RUNS)]
    runs: PathBuf,
}

/// Build, push, install, roll out, smoke-test, rehearse, and give a verdict.
#[derive(Debug, clap::Args)]
pub(crate) struct Gate {
    #[command(flatten)]
    rehearsal: Rehearsal,
    /// A deliberately bad build of gate.toml, to see the gate go red.
    #[arg(long, value_name = "NAME")]
    build: Option<String>,
    /// Go through the pre-deployment checklist before the release is rolled out; suites of
    /// gate.toml may say so as well.
    #[arg(long)]
    checklist: bool,
    #[command(flatten)]
    words: Words,
    /// Soak the release in the end, for so long; suites of gate.toml may say so as well.
    #[arg(long, value_name = "TIME", value_parser = harness::duration::parse)]
    soak_for: Option<Duration>,
}

/// Rehearse scenarios against what is installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    rehearsal: Rehearsal,
}

pub(crate) fn gate(command: &Gate, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = command.words.applied(scenario::config(&shared.config)?);
    let suite = command.rehearsal.chosen.suite(&config);
    let checklist = command.checklist || suite.is_some_and(|suite| suite.checklist);
    if let Some(build) = &command.build {
        known_build(&config, build)?;
    }
    let release = Release {
        goal: Goal::Gate { way_back: !command.rehearsal.chosen.is_narrowed() },
        profile: command.rehearsal.profile.clone(),
        flaw: command.build.clone(),
        images: std::path::absolute(IMAGES)?,
        checklist: checklist.then(|| command.words.said()),
    };
    let soaks = command.soak_for.is_some() || suite.is_some_and(|suite| suite.soak);
    let soak = soaks.then(|| crate::soak::plan(&config, command.soak_for)).transpose()?;
    rehearse(&command.rehearsal, Some(release), soak, config, shared)
}

/// Insists that `gate.toml` has a bad build.
pub(crate) fn known_build(config: &Config, build: &str) -> Result<(), Failure> {
    if config.builds.contains_key(build) {
        return Ok(());
    }
    let known: Vec<_> = config.builds.keys().map(String::as_str).collect();
    let message = format!("no build `{build}` in gate.toml: there are {}", known.join(", "));
    Err(Failure::new(Exit::Usage, message).hint("choose one of these with --build"))
}

/// Rolls a release out or back on a cluster that stands, and reports what that lost.
pub(crate) fn release(
    place: &Where,
    meant: Meant,
    release: Release,
    config: Config,
    shared: &Shared,
) -> anyhow::Result<ExitCode> {
    // A manifest or profile that cannot be used is told before minutes of building.
    let manifests = manifests::load(&config, &release.profile).map_err(Failure::from)?;
    let request = Request {
        place: place.place(&config)?,
        profile: release.profile.clone(),
        release: Some(release),
        plans: Vec::new(),
        lanes: None,
        soak: None,
        consent: meant.consent(),
        rules: Rules::default(),
        comparand: None,
        profile_changes: manifests.profile_changes,
        // Nothing about it is random.
        seed: 0,
        command: command_line(),
        runs: runs(),
        program: std::env::current_exe()?,
        config,
    };
    carry_out(request, shared)
}

/// Where run directories are made, for commands that have no argument for it.
fn runs() -> PathBuf {
    std::env::var_os("GAMEDAY_RUNS").map_or_else(|| PathBuf::from(RUNS), PathBuf::from)
}

pub(crate) fn run(command: &Run, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = scenario::config(&shared.config)?;
    rehearse(&command.rehearsal, None, None, config, shared)
}

impl Where {
    /// The place that is meant.
    pub(crate) fn place(&self, config: &Config) -> anyhow::Result<Place> {
        let namespace = config.system.namespace.clone();
        Ok(match &self.context {
            Some(context) => {
                Place::Context { kubeconfig: self.kubeconfig.clone(), context: context.clone(), namespace }
            }
            None => match self.cluster {
                Sort::Embedded => {
                    Place::Embedded { name: self.name.clone(), images: std::path::absolute(IMAGES)?, namespace }
                }
                Sort::Kind => Place::Kind { options: self.kind.of(&self.name), namespace },
            },
        })
    }
}

fn rehearse(
    rehearsal: &Rehearsal,
    release: Option<Release>,
    soak: Option<SoakPlan>,
    config: Config,
    shared: &Shared,
) -> anyhow::Result<ExitCode> {
    let plans = rehearsal.chosen.plans(&config, release.is_some().then_some(SUITE))?;
    let manifests = manifests::load(&config, &rehearsal.profile).map_err(Failure::from)?;
    let request = Request {
        place: rehearsal.place.place(&config)?,
        release,
        lanes: rehearsal.lanes,
        plans: rounds(plans, rehearsal.repeat),
        soak,
        consent: rehearsal.meant.consent(),
        rules: Rules { strict: rehearsal.strict, require: rehearsal.require.map(|Sought::Measured| Require::Measured) },
        comparand: reference::comparand(&config.reference, &config.root).map_err(Failure::from)?,
        profile: rehearsal.profile.clone(),
        profile_changes: manifests.profile_changes,
        seed: rehearsal.seed.unwrap_or_else(|| u64::from(std::process::id())),
        command: command_line(),
        runs: rehearsal.runs.clone(),
        program: std::env::current_exe()?,
        config,
    };
    carry_out(request, shared)
}

fn carry_out(request: Request, shared: &Shared) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut live = Live::new(shared);
    let display = Box::new(move |event: &Event| live.show(event));
    let (finished, signal) = runtime.block_on(async {
        let (cancel, signal) = signals::cancelled_by_signals()?;
        let finished = run::run(request, display, &cancel).await;
        anyhow::Ok((finished, signal))
    })?;
    let finished = finished.map_err(Failure::from)?;
    print(&finished, shared)?;
    if let Some(failed) = finished.failed {
        fail::tell(&Failure::from(failed));
    }
    let exit = match (finished.exit, signal.terminated()) {
        (Exit::Interrupted, true) => Exit::Terminated,
        (exit, _) => exit,
    };
    Ok(ExitCode::from(exit.code()))
}

/// GitHub drops a step's whole summary where it is larger, bytes of other commands included.
const SUMMARY_BYTES_MAX: u64 = 1 << 20;

fn add_to_summary(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() + text.len() as u64 > SUMMARY_BYTES_MAX {
        return Err(io::Error::other("it is full; the report stands in the run's directory"));
    }
    file.write_all(text.as_bytes())
}

fn print(finished: &Finished, shared: &Shared) -> anyhow::Result<()> {
    let report = &finished.report;
    let text = match shared.output {
        Output::Human => report::terminal(report),
        Output::Json => report::json(report),
    };
    say::result(text.trim_end())?;
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        // Not among the results, which may be JSON; the runner reads both channels.
        say::narrative(report::annotations(report).trim_end());
    }
    if let Some(summary) = std::env::var_os("GITHUB_STEP_SUMMARY") {
        let summary = PathBuf::from(summary);
        if let Err(error) = add_to_summary(&summary, &report::markdown(report)) {
            // The verdict is worth more than its summary.
            say::narrative(format!("warning: write step summary `{}`: {error}", summary.display()));
        }
    }
    if !shared.quiet {
        say::narrative(format!("reports: {}", finished.directory.display()));
    }
    Ok(())
}

/// The command line as a person types it. No argument of ours carries a secret.
fn command_line() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_summary_is_added_to_until_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary.md");
        let half = "x".repeat(1 << 19);
        add_to_summary(&path, &half).unwrap();
        add_to_summary(&path, &half).unwrap();
        assert!(add_to_summary(&path, "x").is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SUMMARY_BYTES_MAX);
    }
}
