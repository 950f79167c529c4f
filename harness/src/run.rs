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
use crate::cluster::permission::Refused;
use crate::config::Config;
use crate::engine;
use crate::event::{Event, Offset, RunFacts, What};
use crate::guardian::Guardian;
use crate::heal::{self, Ledger, Opened};
use crate::pipeline;
use crate::report::Report;
use crate::scenario::plan::Plan;
use crate::system::SystemError;
use crate::system::live::Live;
use crate::verdict::{Exit, judge};

mod bundle;
pub mod directory;
pub mod files;
mod hold;
mod needs;
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
    /// The stage of the release that failed, where one did; the report tells of it as well.
    pub failed: Option<release::StageFailed>,
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
    /// Events could not be recorded, and what was broken by then is not verified as healed.
    #[error("{0}; what was broken is not verified as healed")]
    LeftBroken(RecordError),
    /// The cluster.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// This cluster may not be written to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What dead runs left could not be healed.
    #[error(transparent)]
    Heal(#[from] heal::HealError),
    /// The state directory, in which open faults are recorded, cannot be used.
    #[error(transparent)]
    State(heal::HealError),
    /// The cluster does not say whether it has what scenarios need.
    #[error("look for what scenarios need")]
    Needs(#[source] SystemError),
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
    Report(#[from] files::FilesError),
}

/// Runs. Cancelling stops injecting, heals, and still writes the reports.
///
/// # Errors
/// [`RunError`]; by then everything that was broken is healed, or the guardian is at it.
pub async fn run(request: Request, display: Display<'_>, cancel: &CancellationToken) -> Result<Finished, RunError> {
    let clock = RunClock::start();
    let state = heal::state_directory().map_err(RunError::State)?;
    let orphans = heal::orphans(&state).map_err(|error| match error {
        unusable @ heal::HealError::State { .. } => RunError::State(unusable),
        unhealed => RunError::Heal(unhealed),
    })?;
    let directory = RunDirectory::create(&request.runs, &clock)
        .map_err(|source| RunError::Directory { path: request.runs.clone(), source })?;
    let mut recorder = match begin(&request, &directory, clock, display) {
        Ok(recorder) => recorder,
        Err(error) => {
            directory.discard();
            return Err(error.into());
        }
    };
    for ledger in orphans {
        for line in heal::heal_dead_run(&ledger).await?.unwrap_or_default() {
            recorder.emit(What::Note { text: format!("healed what a dead run left: {line}") })?;
        }
    }
    let (standing, lock) = match enter(&request, &state, directory.run()).await {
        Ok(entered) => entered,
        Err(error) => {
            // Nothing has happened that a record could tell of.
            directory.discard();
            return Err(error);
        }
    };
    let ended = on_cluster(&request, &standing, &state, &directory, &mut recorder, cancel).await;
    // A cluster of the run's own goes whatever became of the run, and its lock with it.
    let own = standing.is_own();
    let stopped = standing.leave();
    if own {
        lock.remove();
    }
    let failed = ended?;
    stopped?;
    if let Some(mebibytes) = peak_memory() {
        recorder.emit(What::Note { text: format!("this program used {mebibytes} MiB of memory at most") })?;
    }
    recorder.emit(What::RunEnded { clean: recorder.is_clean() })?;
    let report = recorder.known().report();
    let timelines = files::timelines(&recorder.journal_path()).map_err(RecordError::from)?;
    files::write(&report, &timelines, directory.path())?;
    directory.publish().map_err(|source| RunError::Directory { path: request.runs.clone(), source })?;
    Ok(Finished { exit: report.exit(), report, directory: directory.path().to_owned(), failed })
}

/// The most memory that this process has had resident, in MiB, where the kernel says so.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.div_ceil(1024))
}

fn begin<'a>(
    request: &Request,
    directory: &RunDirectory,
    clock: RunClock,
    display: Display<'a>,
) -> Result<Recorder<'a>, RecordError> {
    let mut recorder = Recorder::create(directory.path(), clock, display)?;
    recorder.emit(What::RunStarted(Box::new(facts(request, directory, &clock))))?;
    Ok(recorder)
}

/// Finds or starts the cluster, makes sure that it may be written to, and takes the namespace.
async fn enter(request: &Request, state: &Path, run: &str) -> Result<(place::Standing, Lock), RunError> {
    let standing = match &request.release {
        Some(release) if release.goal.may_start_a_cluster() => {
            request.place.stand(&request.program, run, request.seed).await?
        }
        // On a cluster of its own nothing would be installed, or nobody could look at it.
        Some(_) | None => place::Standing::find(&request.place).await?,
    };
    let allowed = pipeline::permit(&request.config, standing.cluster()).await.map_err(RunError::from);
    match allowed.and_then(|()| take_lock(state, standing.cluster())) {
        Ok(lock) => Ok((standing, lock)),
        Err(error) => {
            standing.leave()?;
            Err(error)
        }
    }
}

/// Everything between a standing cluster and the last event.
async fn on_cluster(
    request: &Request,
    standing: &place::Standing,
    state: &Path,
    directory: &RunDirectory,
    recorder: &mut Recorder<'_>,
    cancel: &CancellationToken,
) -> Result<Option<release::StageFailed>, RunError> {
    let cluster = standing.cluster();
    recorder.emit(What::ClusterReady(cluster.facts.clone()))?;
    if let Some(release) = &request.release
        && let Some(failed) = release.carry_out(&request.config, cluster, directory.run(), recorder, cancel).await?
    {
        let about = bundle::About::release(recorder.known());
        write_bundle(about, cluster, directory, recorder, cancel).await?;
        return Ok(Some(failed));
    }
    if request.plans.is_empty() {
        return Ok(None);
    }
    let plans = needs::met(&request.plans, cluster, recorder).await?;
    let ledger = Ledger::create(
        state,
        Opened {
            run: directory.run().to_owned(),
            cluster: standing.selection().clone(),
            namespace: cluster.namespace.clone(),
            journal: recorder.journal_path(),
            pid: std::process::id(),
        },
    )
    .map_err(RunError::State)?;
    let guardian = Guardian::start(&request.program, ledger.path()).map_err(RunError::Guardian)?;
    recorder.guard_with(ledger);
    let system = Live::new(cluster.clone(), recorder.clock, directory.run().to_owned(), request.seed);
    for plan in &plans {
        if cancel.is_cancelled() {
            break;
        }
        let clock = recorder.clock;
        let plan = &hold::outlasting_restarts(plan, cluster).await;
        let ran = engine::run(plan, &system, &clock, cancel, &mut |event: &Event| recorder.accept(event)).await;
        let outcome = ran.map_err(|unrecorded| match unrecorded.healed {
            true => RunError::Record(unrecorded.source),
            false => RunError::LeftBroken(unrecorded.source),
        })?;
        if let Some(fault) = outcome.fault_sent_at() {
            record_logs(plan, fault, cluster, recorder, cancel).await?;
        }
        let about = bundle::About::scenario(&plan.id, &judge(plan, &outcome), recorder.known());
        write_bundle(about, cluster, directory, recorder, cancel).await?;
    }
    // A guardian that is not dismissed goes on healing when this process has ended.
    let clean = recorder.is_clean();
    recorder.release()?;
    if clean {
        guardian.dismiss().map_err(RunError::Guardian)?;
    }
    Ok(None)
}

/// Records what pods logged since the fault, unless the user is waiting for the run to end.
async fn record_logs(
    plan: &Plan,
    fault: Offset,
    cluster: &Cluster,
    recorder: &mut Recorder<'_>,
    cancel: &CancellationToken,
) -> Result<(), RecordError> {
    if cancel.is_cancelled() {
        return Ok(());
    }
    let clock = recorder.clock;
    match bundle::logged(cluster, fault, &clock, cancel).await {
        Ok(lines) => lines.into_iter().try_for_each(|line| {
            recorder.accept(&Event { at: clock.now(), scenario: Some(plan.id.clone()), what: What::Logged(line) })
        }),
        Err(error) => recorder.emit(What::Note { text: format!("{}: no log lines: {error}", plan.id) }),
    }
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
    let journal = recorder.journal_path();
    let text = bundle::write(&about, cluster, directory.path(), &journal, &clock, cancel).await;
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

/// A locked file; the lock goes with the process.
struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    /// Removes the file, of a cluster that nobody can reach any more.
    fn remove(self) {
        // A file that stays is in nobody's way.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One run at a time works in a namespace.
fn take_lock(state: &Path, cluster: &Cluster) -> Result<Lock, RunError> {
    let path = state.join(format!("{}-{}.lock", cluster.facts.uid, cluster.namespace));
    let failed = |source| RunError::Directory { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { path, _held: file }),
        Err(TryLockError::WouldBlock) => Err(RunError::Busy {
            namespace: cluster.namespace.clone(),
            cluster: cluster.facts.name.clone(),
            lock: path,
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
