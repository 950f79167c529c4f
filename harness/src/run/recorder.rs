//! Where every event of a run goes, in order: journal, ledger, live display, report.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::RunClock;
use crate::event::{Event, What};
use crate::heal::{HealError, Ledger};
use crate::journal::{self, Journal, JournalError};
use crate::report::Fold;
use crate::scenario::plan::ScenarioId;

/// Shows events as they happen; it decides nothing.
pub type Display = Box<dyn FnMut(&Event) + Send>;

/// An event could not be recorded; what it announces must not happen.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ledger of open faults.
    #[error(transparent)]
    Ledger(#[from] HealError),
}

/// Takes in the events of one run. The journal alone keeps the samples: they are many.
pub struct Recorder {
    /// The run's clock.
    pub clock: RunClock,
    journal: Journal,
    ledger: Option<Ledger>,
    open: HashMap<ScenarioId, u32>,
    namespaces: BTreeSet<String>,
    fold: Fold,
    display: Display,
}

impl Recorder {
    /// Starts the journal in the run's directory.
    ///
    /// # Errors
    /// [`RecordError::Journal`] where it cannot be created.
    pub fn create(directory: &Path, clock: RunClock, display: Display) -> Result<Self, RecordError> {
        let journal = Journal::create(&directory.join("journal.ndjson"))?;
        let (open, namespaces) = (HashMap::new(), BTreeSet::new());
        Ok(Self { clock, journal, ledger: None, open, namespaces, fold: Fold::default(), display })
    }

    /// From here on, faults are written into this ledger before they are injected.
    pub fn guard_with(&mut self, ledger: Ledger) {
        self.ledger = Some(ledger);
    }

    /// Stamps and takes in what happened to the run as a whole.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn emit(&mut self, what: What) -> Result<(), RecordError> {
        let event = Event { at: self.clock.now(), scenario: None, what };
        self.accept(&event)
    }

    /// Takes in an event. A fault's preparation is on the disk, in journal and ledger,
    /// when this returns.
    ///
    /// # Errors
    /// [`RecordError`]; a fault whose preparation was not accepted must not be injected.
    pub fn accept(&mut self, event: &Event) -> Result<(), RecordError> {
        if let (Some(ledger), Some(scenario)) = (&mut self.ledger, &event.scenario) {
            match &event.what {
                What::FaultPrepared { receipt } => {
                    let fault = ledger.broke(receipt)?;
                    self.open.insert(scenario.clone(), fault);
                }
                What::Healed { .. } => {
                    if let Some(fault) = self.open.remove(scenario) {
                        ledger.healed(fault)?;
                    }
                }
                _ => {}
            }
        }
        if journal::must_sync(event) {
            self.journal.append_synced(event)?;
        } else {
            self.journal.append(event)?;
        }
        (self.display)(event);
        self.fold.apply(event);
        Ok(())
    }

    /// Records, on the disk before it returns, that a lane's namespace is about to be made.
    ///
    /// # Errors
    /// [`RecordError::Ledger`]; then it may not be made.
    pub fn made(&mut self, namespace: &str) -> Result<(), RecordError> {
        if let Some(ledger) = &mut self.ledger {
            ledger.made(namespace)?;
        }
        self.namespaces.insert(namespace.to_owned());
        Ok(())
    }

    /// Records that a lane's namespace is gone.
    ///
    /// # Errors
    /// [`RecordError::Ledger`].
    pub fn removed(&mut self, namespace: &str) -> Result<(), RecordError> {
        if let Some(ledger) = &mut self.ledger {
            ledger.removed(namespace)?;
        }
        self.namespaces.remove(namespace);
        Ok(())
    }

    /// What is known of the run so far.
    #[must_use]
    pub fn known(&self) -> &Fold {
        &self.fold
    }

    /// Whether every fault that was recorded is healed, and every namespace that was made is gone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.open.is_empty() && self.namespaces.is_empty()
    }

    /// Where the journal is.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.journal.path().to_owned()
    }

    /// Lets go of the ledger; it stays on the disk where something is not healed.
    ///
    /// # Errors
    /// [`RecordError::Ledger`].
    pub fn release(&mut self) -> Result<(), RecordError> {
        Ok(self.ledger.take().map_or(Ok(()), Ledger::close)?)
    }
}

/// The one recorder of a run, shared by its lanes: their events interleave in one journal.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Recorder>>);

impl Shared {
    /// Shares a recorder.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self(Arc::new(Mutex::new(recorder)))
    }

    /// The recorder, for as long as nobody waits: never across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, Recorder> {
        // Whoever panicked here ends the run; what was recorded before is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Recorder::emit`].
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn emit(&self, what: What) -> Result<(), RecordError> {
        self.lock().emit(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Selection;
    use crate::fault::Receipt;
    use crate::heal::{Opened, orphans};
    use crate::report::Report;

    #[test]
    fn a_fault_is_in_the_ledger_before_it_is_accepted_and_an_unhealed_one_is_never_clean() {
        let directory = tempfile::tempdir().unwrap();
        let clock = RunClock::start();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let showing = Arc::clone(&shown);
        let show: Display = Box::new(move |event| showing.lock().unwrap().push(event.clone()));
        let mut recorder = Recorder::create(directory.path(), clock, show).unwrap();
        let opened = Opened {
            run: "a".to_owned(),
            cluster: Selection::Embedded { name: "a".to_owned() },
            namespace: "hsc-jit".to_owned(),
            journal: recorder.journal_path(),
            pid: std::process::id(),
        };
        recorder.guard_with(Ledger::create(directory.path(), opened).unwrap());
        let receipt = Receipt::Scale {
            namespace: "hsc-jit".to_owned(),
            workload: "statefulset/redis".parse().unwrap(),
            replicas_before: 1,
            replicas_fault: 0,
        };
        let event = |id: &str, what| Event { at: clock.now(), scenario: Some(ScenarioId(id.to_owned())), what };
        assert!(recorder.is_clean());
        recorder.accept(&event("one", What::FaultPrepared { receipt: receipt.clone() })).unwrap();
        recorder.accept(&event("two", What::FaultPrepared { receipt })).unwrap();
        recorder.accept(&event("one", What::Healed { facts: Vec::new() })).unwrap();
        assert!(!recorder.is_clean());
        recorder.release().unwrap();
        assert!(!recorder.is_clean(), "letting go of the ledger heals nothing");
        assert_eq!(orphans(directory.path()).unwrap().len(), 1, "somebody else can still heal it");
        let written = journal::read::<Event>(&recorder.journal_path()).unwrap().entries;
        assert_eq!(Report::of(&written), recorder.known().report());
        assert_eq!(*shown.lock().unwrap(), written);
    }

    #[test]
    fn a_namespace_that_was_made_must_be_removed_for_a_run_to_be_clean() {
        let directory = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(directory.path(), RunClock::start(), Box::new(|_| {})).unwrap();
        recorder.made("hsc-jit-lane-2").unwrap();
        assert!(!recorder.is_clean());
        recorder.removed("hsc-jit-lane-2").unwrap();
        assert!(recorder.is_clean());
    }
}
