//! The ledger of a run: what it is about to break and to make, on the disk before it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HealError;
use crate::cluster::Selection;
use crate::fault::Receipt;
use crate::journal::{self, Journal};

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
    Made { namespace: String },
    Removed { namespace: String },
    MadeCluster { kind: String },
    RemovedCluster { kind: String },
}

/// What a ledger says.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Whose it is.
    pub opened: Opened,
    /// What is not put right.
    pub left: Left,
}

/// What a run has broken or made, and not put right yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Left {
    /// Faults that were prepared and not healed, by number.
    pub faults: BTreeMap<u32, Receipt>,
    /// Namespaces that were, or were about to be, made for lanes, and not removed.
    pub namespaces: BTreeSet<String>,
    /// kind clusters that were, or were about to be, made for the run, and not removed.
    pub clusters: BTreeSet<String>,
}

impl Left {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.namespaces.is_empty() && self.clusters.is_empty()
    }

    /// What was broken in a namespace is gone with it.
    fn removed(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
        self.faults.retain(|_, receipt| receipt.namespace() != Some(namespace));
    }

    fn take_in(&mut self, entry: Entry) {
        match entry {
            Entry::Opened(_) => {}
            Entry::Broke { fault, receipt } => _ = self.faults.insert(fault, receipt),
            Entry::Healed { fault } => _ = self.faults.remove(&fault),
            Entry::Made { namespace } => _ = self.namespaces.insert(namespace),
            Entry::Removed { namespace } => self.removed(&namespace),
            Entry::MadeCluster { kind } => _ = self.clusters.insert(kind),
            Entry::RemovedCluster { kind } => _ = self.clusters.remove(&kind),
        }
    }
}

/// The ledger of a run, held locked.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal,
    lock: File,
    left: Left,
    next: u32,
}

impl Ledger {
    /// Makes the ledger of a run and locks it until it is dropped.
    ///
    /// # Errors
    /// [`HealError::State`], [`HealError::Ledger`].
    pub fn create(state: &Path, opened: Opened) -> Result<Self, HealError> {
        let name = format!("{}-{}", opened.run, opened.pid);
        Self::named(state, &name, opened)
    }

    /// A second ledger of a run, for the cluster that ends with it: it opens before the other and
    /// closes after it.
    ///
    /// # Errors
    /// [`HealError::State`], [`HealError::Ledger`].
    pub fn of_cluster(state: &Path, opened: Opened) -> Result<Self, HealError> {
        let name = format!("{}-{}-cluster", opened.run, opened.pid);
        Self::named(state, &name, opened)
    }

    fn named(state: &Path, name: &str, opened: Opened) -> Result<Self, HealError> {
        let directory = runs_directory(state)?;
        let path = directory.join(format!("{name}.ledger"));
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
        Ok(Self { journal, lock, left: Left::default(), next: 0 })
    }

    /// Takes over the ledger of a dead run; `None` where its run (or a healer) lives.
    ///
    /// # Errors
    /// [`HealError`] where it cannot be read.
    pub fn take_over(path: &Path) -> Result<Option<(Self, Open)>, HealError> {
        let Some(lock) = locked(path)? else { return Ok(None) };
        let open = read(path)?;
        let next = open.left.faults.keys().max().map_or(0, |last| last + 1);
        let ledger = Self { journal: Journal::reopen(path)?, lock, left: open.left.clone(), next };
        Ok(Some((ledger, open)))
    }

    /// Records, on the disk before it returns, that this is about to be broken.
    ///
    /// # Errors
    /// [`HealError::Ledger`]; then nothing may be broken.
    pub fn broke(&mut self, receipt: &Receipt) -> Result<u32, HealError> {
        let fault = self.next;
        self.append(Entry::Broke { fault, receipt: receipt.clone() })?;
        self.next += 1;
        Ok(fault)
    }

    /// Records that this fault is healed and verified.
    ///
    /// # Errors
    /// [`HealError::Ledger`].
    pub fn healed(&mut self, fault: u32) -> Result<(), HealError> {
        self.append(Entry::Healed { fault })
    }

    /// Records, on the disk before it returns, that this namespace is about to be made.
    ///
    /// # Errors
    /// [`HealError::Ledger`]; then it may not be made.
    pub fn made(&mut self, namespace: &str) -> Result<(), HealError> {
        self.append(Entry::Made { namespace: namespace.to_owned() })
    }

    /// Records that this namespace is gone, and what was broken in it as well.
    ///
    /// # Errors
    /// [`HealError::Ledger`].
    pub fn removed(&mut self, namespace: &str) -> Result<(), HealError> {
        self.append(Entry::Removed { namespace: namespace.to_owned() })
    }

    /// Records, on the disk before it returns, that this kind cluster is about to be made.
    ///
    /// # Errors
    /// [`HealError::Ledger`]; then it may not be made.
    pub fn made_cluster(&mut self, kind: &str) -> Result<(), HealError> {
        self.append(Entry::MadeCluster { kind: kind.to_owned() })
    }

    /// Records that this kind cluster is gone.
    ///
    /// # Errors
    /// [`HealError::Ledger`].
    pub fn removed_cluster(&mut self, kind: &str) -> Result<(), HealError> {
        self.append(Entry::RemovedCluster { kind: kind.to_owned() })
    }

    /// What is not put right.
    #[must_use]
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.journal.path()
    }

    /// Removes the ledger where nothing is left, and releases it otherwise.
    ///
    /// # Errors
    /// [`HealError::State`].
    pub fn close(self) -> Result<(), HealError> {
        let path = self.journal.path().to_owned();
        if self.left.is_empty() {
            std::fs::remove_file(&path).map_err(|source| HealError::State { path: path.clone(), source })?;
        }
        self.lock.unlock().map_err(|source| HealError::State { path, source })
    }

    fn append(&mut self, entry: Entry) -> Result<(), HealError> {
        self.journal.append_synced(&entry)?;
        self.left.take_in(entry);
        Ok(())
    }
}

/// Ledgers of dead runs that left something. Ledgers of dead runs that did not are removed.
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
            Ok(Some((ledger, open))) if open.left.is_empty() => ledger.close()?,
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
    let mut left = Left::default();
    entries.for_each(|entry| left.take_in(entry));
    Ok(Open { opened, left })
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
        assert_eq!(open.left.faults.len(), 2);
        healer.healed(second).unwrap();
        healer.close().unwrap();
        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.left.faults.into_iter().collect::<Vec<_>>(), [(0, receipt(1))]);
        healer.healed(0).unwrap();
        healer.close().unwrap();
        assert!(!path.exists(), "a ledger without open faults is removed");
    }

    #[test]
    fn a_cluster_of_a_run_has_a_ledger_beside_the_run_s_own() {
        let state = tempfile::tempdir().unwrap();
        let mut cluster = Ledger::of_cluster(state.path(), opened("a")).unwrap();
        cluster.made_cluster("run-a").unwrap();
        let run = Ledger::create(state.path(), opened("a")).unwrap();
        let path = cluster.path().to_owned();
        assert_ne!(run.path(), path);
        run.close().unwrap();
        drop(cluster);
        assert_eq!(orphans(state.path()).unwrap(), std::slice::from_ref(&path));
        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.left.clusters, BTreeSet::from(["run-a".to_owned()]));
        healer.removed_cluster("run-a").unwrap();
        healer.close().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_namespace_is_known_before_it_is_made_and_takes_its_faults_with_it() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), opened("a")).unwrap();
        let path = ledger.path().to_owned();
        ledger.made("hsc-jit-lane-2").unwrap();
        ledger.broke(&receipt(1)).unwrap();
        let Receipt::Scale { workload, replicas_before, replicas_fault, .. } = receipt(1) else { unreachable!() };
        let namespace = "hsc-jit-lane-2".to_owned();
        ledger.broke(&Receipt::Scale { namespace, workload, replicas_before, replicas_fault }).unwrap();
        drop(ledger);

        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.left.namespaces, BTreeSet::from(["hsc-jit-lane-2".to_owned()]));
        healer.removed("hsc-jit-lane-2").unwrap();
        assert_eq!(healer.left().faults, BTreeMap::from([(0, receipt(1))]));
        healer.close().unwrap();
        let (mut healer, open) = Ledger::take_over(&path).unwrap().unwrap();
        assert_eq!(open.left, Left { faults: BTreeMap::from([(0, receipt(1))]), ..Left::default() });
        healer.healed(0).unwrap();
        healer.close().unwrap();
        assert!(!path.exists());
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
            assert_eq!(open.left.faults.into_values().collect::<Vec<_>>(), [receipt(1)], "cut at {cut}");
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
}
