//! The ledger of open faults, and healing from it.
//!
//! A run writes what it is about to break into a ledger under the user's state
//! directory, synced, before it breaks it, and holds a lock on that file for as long
//! as it lives. Whoever can take the lock of a ledger that still has open faults has
//! found a dead run, and heals it. A ledger without open faults is removed.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, ClusterError, Selection};
use crate::event::{Event, What};
use crate::fault::{Reach, Receipt};
use crate::journal::{self, Journal, JournalError};

pub mod receipts;

/// How often healing one fault is tried while the API does not answer.
pub const ATTEMPTS_MAX: u32 = 60;
/// Pause between two tries.
pub const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);

/// Healing could not be done, or not be verified.
#[derive(Debug, thiserror::Error)]
pub enum HealError {
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] JournalError),
    /// A file of the state directory could not be made or locked.
    #[error("open state file `{path}`: {source}")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger does not say which cluster it is about.
    #[error("read ledger `{path}`: it does not begin with the run it belongs to")]
    Headless {
        /// Which.
        path: PathBuf,
    },
    /// The cluster could not be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What was broken could not be verified as healed.
    #[error("heal {what}: {reason}")]
    Unverified {
        /// Which fault.
        what: String,
        /// Why, and what was last seen.
        reason: String,
    },
}

/// The head of a ledger: whose it is and how to reach the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Opened {
    /// The run's id.
    pub run: String,
    /// The cluster.
    pub cluster: Selection,
    /// The namespace the run works in.
    pub namespace: String,
    /// The run's journal, which a late healing is added to.
    pub journal: PathBuf,
    /// Process id of the run.
    pub pid: u32,
}

/// One line of a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Entry {
    Opened(Opened),
    Broke { fault: u32, receipt: Receipt },
    Healed { fault: u32 },
}

/// What a ledger says.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Whose it is.
    pub opened: Opened,
    /// Faults that were prepared and not healed, by number.
    pub faults: BTreeMap<u32, Receipt>,
}

/// The ledger of a run, held locked.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal,
    lock: File,
    open: BTreeMap<u32, Receipt>,
    next: u32,
}

impl Ledger {
    /// Makes the ledger of a run and locks it until it is dropped.
    ///
    /// # Errors
    /// [`HealError::State`], [`HealError::Ledger`].
    pub fn create(state: &Path, opened: Opened) -> Result<Self, HealError> {
        let directory = runs_directory(state)?;
        let path = directory.join(format!("{}-{}.ledger", opened.run, opened.pid));
        // Under a name that nobody looks for until it is locked and says whose it is: who could
        // lock it first would take it for what a dead run left, and remove it.
        let partial = path.with_extension("partial");
        let mut journal = Journal::create(&partial)?;
        let lock = locked(&partial)?.ok_or_else(|| HealError::State {
            path: partial,
            source: io::Error::other("another process holds the ledger of a run that is only beginning"),
        })?;
        journal.append_synced(&Entry::Opened(opened))?;
        journal.rename(&path)?;
        Ok(Self { journal, lock, open: BTreeMap::new(), next: 0 })
    }

    /// Takes over the ledger of a dead run; `None` where its run (or a healer) lives.
    ///
    /// # Errors
    /// [`HealError`] where it cannot be read.
    pub fn take_over(path: &Path) -> Result<Option<(Self, Open)>, HealError> {
        let Some(lock) = locked(path)? else { return Ok(None) };
        let open = read(path)?;
        let next = open.faults.keys().max().map_or(0, |last| last + 1);
        let ledger = Self { journal: Journal::reopen(path)?, lock, open: open.faults.clone(), next };
        Ok(Some((ledger, open)))
    }

    /// Records, on the disk before it returns, that this is about to be broken.
    ///
    /// # Errors
    /// [`HealError::Ledger`]; then nothing may be broken.
    pub fn broke(&mut self, receipt: &Receipt) -> Result<u32, HealError> {
        let fault = self.next;
        self.journal.append_synced(&Entry::Broke { fault, receipt: receipt.clone() })?;
        self.open.insert(fault, receipt.clone());
        self.next += 1;
        Ok(fault)
    }

    /// Records that this fault is healed and verified.
    ///
    /// # Errors
    /// [`HealError::Ledger`].
    pub fn healed(&mut self, fault: u32) -> Result<(), HealError> {
        self.open.remove(&fault);
        Ok(self.journal.append_synced(&Entry::Healed { fault })?)
    }

    /// Faults that are not healed.
    #[must_use]
    pub fn open_faults(&self) -> &BTreeMap<u32, Receipt> {
        &self.open
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.journal.path()
    }

    /// Removes the ledger where nothing is open, and releases it otherwise.
    ///
    /// # Errors
    /// [`HealError::State`].
    pub fn close(self) -> Result<(), HealError> {
        let path = self.journal.path().to_owned();
        if self.open.is_empty() {
            std::fs::remove_file(&path).map_err(|source| HealError::State { path: path.clone(), source })?;
        }
        self.lock.unlock().map_err(|source| HealError::State { path, source })
    }
}

/// The state directory: `$XDG_STATE_HOME/gameday`, by default `~/.local/state/gameday`.
///
/// # Errors
/// [`HealError::State`] where neither variable names a directory.
pub fn state_directory() -> Result<PathBuf, HealError> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("gameday"))
        .ok_or_else(|| HealError::State {
            path: PathBuf::from("$XDG_STATE_HOME"),
            source: io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME is set"),
        })
}

/// Ledgers of dead runs with open faults. Ledgers of dead runs without any are removed.
///
/// # Errors
/// [`HealError`] where the directory cannot be read.
pub fn orphans(state: &Path) -> Result<Vec<PathBuf>, HealError> {
    let directory = runs_directory(state)?;
    let failed = |source| HealError::State { path: directory.clone(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "ledger") {
            continue;
        }
        match Ledger::take_over(&path) {
            Ok(Some((ledger, open))) if open.faults.is_empty() => ledger.close()?,
            Ok(Some((ledger, _))) => {
                ledger.close()?;
                found.push(path);
            }
            // Its run lives.
            Ok(None) => {}
            // A run that died between making the file and writing its head broke nothing.
            Err(HealError::Headless { .. }) => {
                std::fs::remove_file(&path).map_err(|source| HealError::State { path, source })?;
            }
            Err(error) => return Err(error),
        }
    }
    found.sort();
    Ok(found)
}

/// Heals everything that a dead run left open; returns one line a fault.
/// `None` where the run lives or another healer is at work.
///
/// # Errors
/// The first fault that could not be verified; the others have been tried too.
pub async fn heal_dead_run(path: &Path) -> Result<Option<Vec<String>>, HealError> {
    let Some((mut ledger, open)) = Ledger::take_over(path)? else { return Ok(None) };
    let mut lines = Vec::new();
    let mut first_failure = None;
    for (fault, receipt) in open.faults {
        match heal_until_verified(&open.opened, &receipt).await {
            Ok(facts) => {
                ledger.healed(fault)?;
                let undone = if facts.is_empty() { "nothing was left to undo".to_owned() } else { facts.join("; ") };
                lines.push(format!("{receipt}: {undone}"));
            }
            Err(error) => {
                lines.push(format!("{receipt}: {error}"));
                first_failure.get_or_insert(error);
            }
        }
    }
    ledger.close()?;
    tell_journal(&open.opened.journal, &lines, first_failure.is_none());
    first_failure.map_or(Ok(Some(lines)), Err)
}

/// Adds to the dead run's journal what became of its faults, so that its report tells it.
/// The run's clock died with it: the events stand at the time of its last one. A journal that
/// is gone or damaged keeps nobody from healing.
fn tell_journal(path: &Path, lines: &[String], clean: bool) {
    let mut last = None;
    let read = journal::each(path, |event: Event| last = Some(event.at));
    let (Ok(_), Some(at)) = (read, last) else { return };
    let Ok(mut journal) = Journal::reopen(path) else { return };
    let when = crate::clock::wall_clock();
    let text = format!("the run ended without a word; what it left broken was healed from outside at {when}");
    let notes = [text].into_iter().chain(lines.iter().cloned()).map(|text| What::Note { text });
    let healed =
        if clean { What::Healed { facts: lines.to_vec() } } else { What::HealFailed { error: lines.join("; ") } };
    for what in notes.chain([healed]) {
        if journal.append_synced(&Event { at, scenario: None, what }).is_err() {
            return;
        }
    }
}

async fn heal_until_verified(opened: &Opened, receipt: &Receipt) -> Result<Vec<String>, HealError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS_MAX {
        match Cluster::connect(&opened.cluster, &opened.namespace).await {
            // Its pods and objects lived in that process, so nothing broken is left of it.
            Err(ClusterError::NotRunning { .. }) => return Ok(vec!["the embedded cluster is gone".to_owned()]),
            Err(error) => last = error.to_string(),
            Ok(cluster) => match receipt.heal(Reach { cluster: &cluster, proxy: None }).await {
                Ok(facts) => {
                    receipts::forget(&cluster, receipt).await?;
                    return Ok(facts);
                }
                Err(error) if !error.transient => {
                    return Err(HealError::Unverified { what: receipt.to_string(), reason: error.to_string() });
                }
                Err(error) => last = error.to_string(),
            },
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    let reason = format!("gave up after {ATTEMPTS_MAX} attempts; last seen: {last}");
    Err(HealError::Unverified { what: receipt.to_string(), reason })
}

fn runs_directory(state: &Path) -> Result<PathBuf, HealError> {
    let directory = state.join("runs");
    std::fs::create_dir_all(&directory).map_err(|source| HealError::State { path: directory.clone(), source })?;
    Ok(directory)
}

fn locked(path: &Path) -> Result<Option<File>, HealError> {
    let failed = |source| HealError::State { path: path.to_owned(), source };
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn read(path: &Path) -> Result<Open, HealError> {
    let mut entries = journal::read::<Entry>(path)?.entries.into_iter();
    let Some(Entry::Opened(opened)) = entries.next() else {
        return Err(HealError::Headless { path: path.to_owned() });
    };
    let mut faults = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Opened(_) => {}
            Entry::Broke { fault, receipt } => {
                faults.insert(fault, receipt);
            }
            Entry::Healed { fault } => {
                faults.remove(&fault);
            }
        }
    }
    Ok(Open { opened, faults })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::WorkloadRef;

    fn opened(run: &str) -> Opened {
        Opened {
            run: run.to_owned(),
            cluster: Selection::Embedded { name: "test".to_owned() },
            namespace: "hsc-jit".to_owned(),
            journal: PathBuf::from("journal.ndjson"),
            pid: std::process::id(),
        }
    }

    fn receipt(replicas_before: u32) -> Receipt {
        Receipt::Scale {
            namespace: "hsc-jit".to_owned(),
            workload: "statefulset/redis".parse::<WorkloadRef>().unwrap(),
            replicas_before,
            replicas_fault: 0,
        }
    }

    #[test]
    fn a_live_run_is_left_alone_and_a_dead_one_is_found() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), opened("a")).unwrap();
        let path = ledger.path().to_owned();
        ledger.broke(&receipt(1)).unwrap();
        let second = ledger.broke(&receipt(3)).unwrap();
        assert_eq!(orphans(state.path()).unwrap(), Vec::<PathBuf>::new(), "the run lives");
        assert!(Ledger::take_over(&path).unwrap().is_none(), "the run lives");

        drop(ledger);
        assert_eq!(orphans(state.path()).unwrap(), std::slice::from_ref(&path));
        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.opened, opened("a"));
        assert_eq!(open.faults.len(), 2);
        healer.healed(second).unwrap();
        healer.close().unwrap();
        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.faults.into_iter().collect::<Vec<_>>(), [(0, receipt(1))]);
        healer.healed(0).unwrap();
        healer.close().unwrap();
        assert!(!path.exists(), "a ledger without open faults is removed");
    }

    #[test]
    fn a_ledger_is_never_seen_without_its_lock_and_its_head() {
        let state = tempfile::tempdir().unwrap();
        let runs = runs_directory(state.path()).unwrap();
        let made = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Another run that starts in that instant looks for what dead runs left.
            scope.spawn(|| {
                while !made.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(orphans(state.path()).unwrap(), Vec::<PathBuf>::new());
                }
            });
            let ledgers: Vec<Ledger> =
                (0..50).map(|run| Ledger::create(state.path(), opened(&run.to_string())).unwrap()).collect();
            made.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(ledgers.iter().all(|ledger| ledger.path().exists()));
        });
        assert!(std::fs::read_dir(runs).unwrap().all(|entry| entry.unwrap().path().extension().unwrap() == "ledger"));
    }

    #[test]
    fn a_ledger_cut_in_its_last_line_keeps_what_was_synced() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), opened("a")).unwrap();
        let path = ledger.path().to_owned();
        ledger.broke(&receipt(1)).unwrap();
        let synced = std::fs::read(&path).unwrap();
        ledger.broke(&receipt(2)).unwrap();
        drop(ledger);
        let whole = std::fs::read(&path).unwrap();
        for cut in synced.len()..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, open) = Ledger::take_over(&path).unwrap().unwrap();
            assert_eq!(open.faults.into_values().collect::<Vec<_>>(), [receipt(1)], "cut at {cut}");
        }
    }

    #[test]
    fn a_run_that_died_before_its_first_line_broke_nothing() {
        let state = tempfile::tempdir().unwrap();
        let path = runs_directory(state.path()).unwrap().join("a.ledger");
        std::fs::write(&path, b"").unwrap();
        assert!(orphans(state.path()).unwrap().is_empty());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_late_healing_is_told_in_the_journal_of_the_dead_run() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("journal.ndjson");
        let at = crate::event::Offset::from_millis(7);
        let sent = Event { at, scenario: None, what: What::FaultSent };
        Journal::create(&path).unwrap().append_synced(&sent).unwrap();
        let name = format!("no-such-cluster-{}", std::process::id());
        let opened = Opened { journal: path.clone(), cluster: Selection::Embedded { name }, ..opened("a") };
        let mut ledger = Ledger::create(state.path(), opened).unwrap();
        ledger.broke(&receipt(1)).unwrap();
        let ledger_path = ledger.path().to_owned();
        assert!(heal_dead_run(&ledger_path).await.unwrap().is_none(), "the run lives");
        drop(ledger);

        let lines = heal_dead_run(&ledger_path).await.unwrap().unwrap();
        assert_eq!(lines, ["scale of statefulset/redis to 0: the embedded cluster is gone"]);
        assert!(!ledger_path.exists());
        let told = journal::read::<Event>(&path).unwrap().entries;
        assert_eq!(told.last().unwrap(), &Event { at, scenario: None, what: What::Healed { facts: lines } });
    }
}
