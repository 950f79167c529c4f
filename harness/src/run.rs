//! One run from its first event to its exit code.
//!
//! A run takes the cluster's lock, heals what dead runs left, releases (for the gate),
//! rehearses the chosen plans, in lanes side by side where it may, and writes its reports; it
//! writes them also when it is cancelled or when a stage fails.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::cluster::lease::{self, LeaseError};
use crate::cluster::permission::{self, Consent, Refused};
use crate::config::Config;
use crate::event::{Rules, RunFacts, What};
use crate::guardian::Guardian;
use crate::heal::{self, Ledger, Opened};
use crate::pipeline;
use crate::reference::Comparand;
use crate::report::Report;
use crate::scenario::plan::Plan;
use crate::soak::SoakPlan;
use crate::system::SystemError;
use crate::verdict::Exit;

mod bundle;
pub mod checklist;
pub mod directory;
pub mod evidence;
pub mod files;
mod hold;
mod lanes;
mod needs;
pub mod place;
pub mod recorder;
pub mod reference;
mod rehearse;
pub mod release;
mod schedule;
pub mod select;

use directory::RunDirectory;
use lanes::Lane;
pub use lanes::NoLanes;
use place::{Place, PlaceError};
use recorder::{Display, RecordError, Recorder, Shared};
use rehearse::Rehearsal;

/// What a run is asked to do.
pub struct Request {
    /// `gate.toml`.
    pub config: Config,
    /// Which cluster.
    pub place: Place,
    /// What is released before rehearsing; nothing for `run`.
    pub release: Option<release::Release>,
    /// What is rehearsed, in order where it is one after the other; what is repeated, in its rounds.
    pub plans: Vec<Plan>,
    /// How many run side by side; as many as fit the machine where absent.
    pub lanes: Option<u32>,
    /// How the system is soaked in the end, if at all.
    pub soak: Option<SoakPlan>,
    /// What whoever started it says about writing to a cluster of others.
    pub consent: Consent,
    /// What is asked beyond verdicts.
    pub rules: Rules,
    /// What recoveries are compared against, if anything.
    pub comparand: Option<Comparand>,
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
    /// So many lanes cannot be had; nothing was done.
    #[error(transparent)]
    Lanes(#[from] NoLanes),
    /// The cluster.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// This cluster may not be written to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another machine's run works there, or the API does not say.
    #[error(transparent)]
    Lease(#[from] LeaseError),
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
pub async fn run(request: Request, display: Display, cancel: &CancellationToken) -> Result<Finished, RunError> {
    let clock = RunClock::start();
    let lanes = lanes::count(request.lanes, &request.place, request.release.is_some(), &request.plans)?;
    let state = heal::state_directory().map_err(RunError::State)?;
    let orphans = heal::orphans(&state).map_err(|error| match error {
        unusable @ heal::HealError::State { .. } => RunError::State(unusable),
        unhealed => RunError::Heal(unhealed),
    })?;
    let directory = RunDirectory::create(&request.runs, &clock)
        .map_err(|source| RunError::Directory { path: request.runs.clone(), source })?;
    let recorder = match begin(&request, lanes, &directory, clock, display) {
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
    let (standing, lock) = match enter(&request, &state, &directory, &recorder, cancel).await {
        Ok(entered) => entered,
        Err(error) => {
            // Nothing has happened that a record could tell of.
            directory.discard();
            return Err(error);
        }
    };
    let ended = on_cluster(&request, lanes, &standing, &state, &directory, &recorder, cancel).await;
    // A cluster of the run's own goes whatever became of the run, and its lock with it.
    let own = standing.is_own();
    let stopped = standing.leave().await;
    if own {
        lock.remove();
    }
    let failed = match ended {
        Err(error @ RunError::Lease(_)) => {
            // Nothing was done.
            directory.discard();
            return Err(error);
        }
        ended => ended?,
    };
    stopped?;
    if let Some(mebibytes) = peak_memory() {
        recorder.emit(What::Note { text: format!("this program used {mebibytes} MiB of memory at most") })?;
    }
    let clean = recorder.lock().is_clean();
    recorder.emit(What::RunEnded { clean })?;
    let report = recorder.lock().known().report();
    let timelines = files::timelines(&recorder.lock().journal_path()).map_err(RecordError::from)?;
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

fn begin(
    request: &Request,
    lanes: u32,
    directory: &RunDirectory,
    clock: RunClock,
    display: Display,
) -> Result<Shared, RecordError> {
    let mut recorder = Recorder::create(directory.path(), clock, display)?;
    recorder.emit(What::RunStarted(Box::new(facts(request, lanes, directory, &clock))))?;
    if request.rules != Rules::default() {
        recorder.emit(What::RulesSet(request.rules))?;
    }
    if let Some(comparand) = &request.comparand {
        recorder.emit(What::ReferenceGiven(Box::new(comparand.clone())))?;
    }
    Ok(Shared::new(recorder))
}

/// Finds or starts the cluster, makes sure that it may be written to, and takes the namespace.
async fn enter(
    request: &Request,
    state: &Path,
    directory: &RunDirectory,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<(place::Standing, Lock), RunError> {
    let standing = match &request.release {
        Some(release) if release.goal.may_start_a_cluster() => {
            let journal = recorder.lock().journal_path();
            let (program, run, seed) = (&request.program, directory.run(), request.seed);
            request.place.stand(&place::For { program, run, seed, state, journal: &journal, cancel }).await?
        }
        // On a cluster of its own nothing would be installed, or nobody could look at it.
        Some(_) | None => place::Standing::find(&request.place).await?,
    };
    let cluster = standing.cluster();
    let allowed = pipeline::permit(&request.config, cluster).await;
    let allowed = allowed.and_then(|()| permission::consented(&cluster.facts, request.consent)).map_err(RunError::from);
    match allowed.and_then(|()| take_lock(state, standing.cluster())) {
        Ok(lock) => Ok((standing, lock)),
        Err(error) => {
            standing.leave().await?;
            Err(error)
        }
    }
}

/// Everything between a standing cluster and the last event.
async fn on_cluster(
    request: &Request,
    lanes: u32,
    standing: &place::Standing,
    state: &Path,
    directory: &RunDirectory,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<Option<release::StageFailed>, RunError> {
    let cluster = standing.cluster();
    recorder.emit(What::ClusterReady(cluster.facts.clone()))?;
    if request.rules.require.is_some_and(|require| !require.takes(cluster.facts.kind)) {
        // Whatever came out, it would not be taken: the report says so at once.
        return Ok(None);
    }
    let lease = lease::take(cluster, directory.run(), lease::Terms::default()).await?;
    let Some(mut lease) = lease else {
        return in_namespace(request, lanes, standing, state, directory, recorder, cancel).await;
    };
    let stop = cancel.child_token();
    let ended = {
        let work = in_namespace(request, lanes, standing, state, directory, recorder, &stop);
        tokio::pin!(work);
        tokio::select! {
            biased;
            ended = &mut work => ended,
            why = lease.lost() => {
                recorder.emit(What::Note { text: format!("lost the lease of namespace `{}`: {why}; stopping", cluster.namespace) })?;
                // As if the user had stopped it: no more is broken, and what is gets healed.
                stop.cancel();
                work.await
            }
        }
    };
    lease.release().await;
    ended
}

/// The work itself, in a namespace that nobody else works in.
async fn in_namespace(
    request: &Request,
    lanes: u32,
    standing: &place::Standing,
    state: &Path,
    directory: &RunDirectory,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<Option<release::StageFailed>, RunError> {
    let cluster = standing.cluster();
    let released = match &request.release {
        None => None,
        Some(release) => match release.carry_out(&request.config, cluster, directory.run(), recorder, cancel).await? {
            Ok(built) => built.map(|built| (release, built)),
            Err(failed) => {
                tell_of_bad_release(cluster, directory, recorder, cancel).await?;
                return Ok(Some(failed));
            }
        },
    };
    if request.plans.is_empty() {
        return Ok(None);
    }
    let plans = needs::met(&request.plans, cluster, recorder).await?;
    let ledger = Ledger::create(state, opened(standing, directory, recorder)).map_err(RunError::State)?;
    let guardian = Guardian::start(&request.program, ledger.path()).map_err(RunError::Guardian)?;
    recorder.lock().guard_with(ledger);
    let lanes = Lane::all(cluster, lanes);
    let rehearsed = match &released {
        Some((release, built)) => {
            let copies = lanes::Copies { config: &request.config, release, built, run: directory.run() };
            match copies.stand(&lanes, recorder, cancel).await {
                Ok(true) => rehearse(request, &plans, &lanes, directory, recorder, cancel).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        None => rehearse(request, &plans, &lanes, directory, recorder, cancel).await,
    };
    let removed = lanes::remove(&lanes, directory.run(), standing.is_own(), recorder).await;
    rehearsed.and(removed)?;
    // With the other lanes gone, nothing disturbs what is watched.
    if let Some(plan) = request.soak.as_ref().filter(|_| !cancel.is_cancelled()) {
        soak(plan, cluster, recorder, cancel).await?;
    }
    // A guardian that is not dismissed goes on healing when this process has ended.
    let clean = {
        let mut recorder = recorder.lock();
        recorder.release()?;
        recorder.is_clean()
    };
    if clean {
        guardian.dismiss().map_err(RunError::Guardian)?;
    }
    Ok(None)
}

async fn rehearse(
    request: &Request,
    plans: &[Plan],
    lanes: &[Lane],
    directory: &RunDirectory,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    let clock = recorder.lock().clock;
    let rehearsal = Rehearsal {
        recorder: recorder.clone(),
        clock,
        run: directory.run().to_owned(),
        directory: directory.path().to_owned(),
        seed: request.seed,
        cancel: cancel.clone(),
        side_by_side: lanes.len() > 1,
    };
    rehearsal.carry_out(lanes.to_vec(), plans.to_vec()).await
}

/// Soaks the system; what came of it is in the record.
async fn soak(
    plan: &SoakPlan,
    cluster: &Cluster,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<(), RecordError> {
    let (clock, mut unrecorded) = (recorder.lock().clock, None);
    let stop = cancel.child_token();
    let mut sink = |what: What| {
        if unrecorded.is_none() {
            unrecorded = recorder.emit(what).err();
            // What cannot be recorded is not worth ten minutes.
            unrecorded.iter().for_each(|_| stop.cancel());
        }
    };
    // What went wrong stands in the stage's event, which has been recorded.
    let _ = pipeline::soak(plan, cluster, clock, &stop, &mut sink).await;
    unrecorded.map_or(Ok(()), Err)
}

/// Writes a bundle about a release that failed, unless the user is waiting for the run to end.
async fn tell_of_bad_release(
    cluster: &Cluster,
    directory: &RunDirectory,
    recorder: &Shared,
    cancel: &CancellationToken,
) -> Result<(), RecordError> {
    let about = bundle::About::release(recorder.lock().known());
    let Some(about) = about.filter(|_| !cancel.is_cancelled()) else {
        return Ok(());
    };
    let clock = recorder.lock().clock;
    let journal = recorder.lock().journal_path();
    let text = bundle::write(&about, cluster, directory.path(), &journal, &clock, cancel).await;
    recorder.emit(What::Note { text })
}

fn opened(standing: &place::Standing, directory: &RunDirectory, recorder: &Shared) -> Opened {
    Opened {
        run: directory.run().to_owned(),
        cluster: standing.selection().clone(),
        namespace: standing.cluster().namespace.clone(),
        journal: recorder.lock().journal_path(),
        pid: std::process::id(),
    }
}

fn facts(request: &Request, lanes: u32, directory: &RunDirectory, clock: &RunClock) -> RunFacts {
    RunFacts {
        run: directory.run().to_owned(),
        started: clock.started().to_string(),
        command: request.command.clone(),
        seed: request.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: request.profile.clone(),
        profile_changes: request.profile_changes.clone(),
        lanes,
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
