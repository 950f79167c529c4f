//! One run from its first event to its exit code.
//!
//! A run takes the cluster's lock, heals what dead runs left, releases (for the gate),
//! rehearses the chosen plans one after the other, and writes its reports; it writes
//! them also when it is cancelled or when a stage fails.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::engine;
use crate::event::{Event, RunFacts, What};
use crate::guardian::Guardian;
use crate::heal::{self, Ledger, Opened};
use crate::report::{self, Report};
use crate::scenario::plan::Plan;
use crate::system::live::Live;
use crate::verdict::{Exit, judge};

mod bundle;
pub mod directory;
pub mod place;
pub mod recorder;
pub mod release;
pub mod select;

use directory::RunDirectory;
use place::{Place, PlaceError};
use recorder::{Display, RecordError, Recorder};

/// What a run is asked to do.
pub struct Request {
    /// `gate.toml`.
    pub config: Config,
    /// Which cluster.
    pub place: Place,
    /// What is released before rehearsing; nothing for `run`.
    pub release: Option<release::Release>,
    /// What is rehearsed, in order.
    pub plans: Vec<Plan>,
    /// `rehearsal`, `as-deployed`…
    pub profile: String,
    /// What the profile changes in the manifests, one line a change.
    pub profile_changes: Vec<String>,
    /// Seed of all randomness.
    pub seed: u64,
    /// The command line, for the report.
    pub command: String,
    /// Where run directories are made.
    pub runs: PathBuf,
    /// This program, for its guardian and its own cluster.
    pub program: PathBuf,
}

/// What came of a run.
pub struct Finished {
    /// The exit code.
    pub exit: Exit,
    /// The report, as it was written.
    pub report: Report,
    /// Where everything about it lies.
    pub directory: PathBuf,
}

/// A run could not begin, or could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run's directory.
    #[error("make run directory under `{path}`")]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Events could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The cluster.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What dead runs left could not be healed.
    #[error(transparent)]
    Heal(#[from] heal::HealError),
    /// Another run works there.
    #[error("take namespace `{namespace}` on `{cluster}`: another run is at work there (lock `{lock}`)")]
    Busy {
        /// The namespace.
        namespace: String,
        /// The cluster.
        cluster: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The guardian did not start; without it nothing may be broken.
    #[error("start the guardian")]
    Guardian(#[source] io::Error),
    /// A report could not be rendered or written.
    #[error(transparent)]
    Report(#[from] report::files::FilesError),
}

/// Runs. Cancelling stops injecting, heals, and still writes the reports.
///
/// # Errors
/// [`RunError`]; by then everything that was broken is healed, or the guardian is at it.
pub async fn run(request: Request, display: Display<'_>, cancel: &CancellationToken) -> Result<Finished, RunError> {
    let clock = RunClock::start();
    let directory = RunDirectory::create(&request.runs, &clock)
        .map_err(|source| RunError::Directory { path: request.runs.clone(), source })?;
    let mut recorder = Recorder::create(directory.path(), clock, display)?;
    recorder.emit(What::RunStarted(Box::new(facts(&request, &directory, &clock))))?;
    let state = heal::state_directory()?;
    for ledger in heal::orphans(&state)? {
        for line in heal::heal_dead_run(&ledger).await?.unwrap_or_default() {
            recorder.emit(What::Note { text: format!("healed what a dead run left: {line}") })?;
        }
    }
    let standing = request.place.stand(&request.program, directory.run(), request.seed).await?;
    let ended = on_cluster(&request, &standing, &state, &directory, &mut recorder, cancel).await;
    // A cluster of the run's own goes whatever became of the run.
    let stopped = standing.leave();
    ended?;
    stopped?;
    recorder.emit(What::RunEnded { clean: recorder.is_clean() })?;
    let report = Report::of(recorder.events());
    report::files::write(&report, directory.path())?;
    directory.publish().map_err(|source| RunError::Directory { path: request.runs.clone(), source })?;
    Ok(Finished { exit: report.exit(), report, directory: directory.path().to_owned() })
}

/// Everything between a standing cluster and the last event.
async fn on_cluster(
    request: &Request,
    standing: &place::Standing,
    state: &Path,
    directory: &RunDirectory,
    recorder: &mut Recorder<'_>,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    let cluster = standing.cluster();
    recorder.emit(What::ClusterReady(cluster.facts.clone()))?;
    let _lock = take_lock(state, cluster)?;
    if let Some(release) = &request.release
        && !release.carry_out(&request.config, cluster, directory.run(), recorder, cancel).await?
    {
        let about = bundle::About::release(recorder.events());
        return Ok(write_bundle(about, cluster, directory, recorder, cancel).await?);
    }
    let ledger = Ledger::create(
        state,
        Opened {
            run: directory.run().to_owned(),
            cluster: standing.selection().clone(),
            namespace: cluster.namespace.clone(),
            journal: recorder.journal_path(),
            pid: std::process::id(),
        },
    )?;
    let guardian = Guardian::start(&request.program, ledger.path()).map_err(RunError::Guardian)?;
    recorder.guard_with(ledger);
    let system = Live::new(cluster.clone(), recorder.clock, directory.run().to_owned(), request.seed);
    for plan in &request.plans {
        if cancel.is_cancelled() {
            break;
        }
        let clock = recorder.clock;
        let ran = engine::run(plan, &system, &clock, cancel, &mut |event: &Event| recorder.accept(event)).await;
        let outcome = ran.map_err(|unrecorded| RunError::Record(unrecorded.source))?;
        let about = bundle::About::scenario(&plan.id, &judge(plan, &outcome), recorder.events());
        write_bundle(about, cluster, directory, recorder, cancel).await?;
    }
    // A guardian that is not dismissed goes on healing when this process has ended.
    let clean = recorder.is_clean();
    recorder.release()?;
    if clean {
        guardian.dismiss().map_err(RunError::Guardian)?;
    }
    Ok(())
}

/// Writes a bundle where something went wrong, unless the user is waiting for the run to end.
async fn write_bundle(
    about: Option<bundle::About>,
    cluster: &Cluster,
    directory: &RunDirectory,
    recorder: &mut Recorder<'_>,
    cancel: &CancellationToken,
) -> Result<(), RecordError> {
    let Some(about) = about.filter(|_| !cancel.is_cancelled()) else {
        return Ok(());
    };
    let clock = recorder.clock;
    let text = bundle::write(&about, cluster, directory.path(), recorder.events(), &clock, cancel).await;
    recorder.emit(What::Note { text })
}

fn facts(request: &Request, directory: &RunDirectory, clock: &RunClock) -> RunFacts {
    RunFacts {
        run: directory.run().to_owned(),
        started: clock.started().to_string(),
        command: request.command.clone(),
        seed: request.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: request.profile.clone(),
        profile_changes: request.profile_changes.clone(),
    }
}

/// One run at a time works in a namespace: the lock is a file, and goes with the process.
fn take_lock(state: &Path, cluster: &Cluster) -> Result<File, RunError> {
    let path = state.join(format!("{}-{}.lock", cluster.facts.uid, cluster.namespace));
    let failed = |source| RunError::Directory { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Busy {
            namespace: cluster.namespace.clone(),
            cluster: cluster.facts.name.clone(),
            lock: path,
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
