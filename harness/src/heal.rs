//! Healing what a dead run left: from its ledger, by whoever finds it.
//!
//! A run writes what it is about to break, and which namespaces it is about to make, into a
//! ledger under the user's state directory, synced, before it does so, and holds a lock on
//! that file for as long as it lives. Whoever can take the lock of a ledger in which
//! something is left has found a dead run, and heals it. A ledger in which nothing is left
//! is removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{Cluster, ClusterError};
use crate::event::{Event, What};
use crate::fault::{Reach, Receipt};
use crate::journal::{self, Journal, JournalError};
use crate::kind::{self, Removed};
use crate::system::SystemError;

mod ledger;
pub mod namespaces;
pub mod receipts;

pub use ledger::{Ledger, Left, Open, Opened, orphans};

/// How often putting one thing right is tried while the API does not answer.
pub const ATTEMPTS_MAX: u32 = 60;
/// The same, where it was broken below the API, which is away because of it and takes as long as a
/// machine does to come back.
pub const ATTEMPTS_BELOW_MAX: u32 = 300;
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

/// Puts right everything that a dead run left; returns one line a fault and a namespace.
/// `None` where the run lives or another healer is at work.
///
/// # Errors
/// The first that could not be verified; the others have been tried too.
pub async fn heal_dead_run(path: &Path) -> Result<Option<Vec<String>>, HealError> {
    let Some((mut ledger, open)) = Ledger::take_over(path)? else { return Ok(None) };
    let Open { opened, left } = open;
    // What was broken in a namespace that goes, goes with it.
    let mut faults = left.faults;
    faults.retain(|_, receipt| receipt.namespace().is_none_or(|name| !left.namespaces.contains(name)));
    let removing = left.namespaces.iter().map(async |name| (name, remove_until_verified(&opened, name).await));
    let (healed, removed) = tokio::join!(heal_all(&opened, faults), futures_util::future::join_all(removing));
    let mut told = Told::default();
    for (fault, receipt, healed) in healed {
        if told.is_done(&receipt.to_string(), healed) {
            ledger.healed(fault)?;
        }
    }
    for (name, removed) in removed {
        if told.is_done(&format!("namespace {name}"), removed) {
            ledger.removed(name)?;
        }
    }
    for name in &left.clusters {
        if told.is_done(&format!("kind cluster {name}"), remove_cluster(name).await) {
            ledger.removed_cluster(name)?;
        }
    }
    ledger.close()?;
    tell_journal(&opened.journal, &told.lines, told.first_failure.is_none());
    told.first_failure.map_or(Ok(Some(told.lines)), Err)
}

/// What became of everything that was left.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    first_failure: Option<HealError>,
}

impl Told {
    fn is_done(&mut self, what: &str, healed: Result<Vec<String>, HealError>) -> bool {
        match healed {
            Ok(facts) => {
                let undone = if facts.is_empty() { "nothing was left to undo".to_owned() } else { facts.join("; ") };
                self.lines.push(format!("{what}: {undone}"));
                true
            }
            Err(error) => {
                self.lines.push(format!("{what}: {error}"));
                self.first_failure.get_or_insert(error);
                false
            }
        }
    }
}

type Healed = Result<Vec<String>, HealError>;

async fn heal_all(opened: &Opened, faults: BTreeMap<u32, Receipt>) -> Vec<(u32, Receipt, Healed)> {
    let mut all = Vec::new();
    for (fault, receipt) in faults {
        let healed = heal_until_verified(opened, &receipt).await;
        all.push((fault, receipt, healed));
    }
    all
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

async fn heal_until_verified(opened: &Opened, receipt: &Receipt) -> Healed {
    let heal = async |cluster: Cluster| {
        let facts = receipt.heal(Reach { cluster: &cluster, proxy: None }).await?;
        receipts::forget(&cluster, receipt).await?;
        Ok(facts)
    };
    let namespace = receipt.namespace().unwrap_or(&opened.namespace);
    let mut below = Vec::new();
    // Without it there may be no API server to heal the rest through.
    let mut bring_back = async || {
        let undone = receipt.heal_below().await?;
        below.extend(undone);
        Ok(())
    };
    let attempts = if receipt.is_below() { ATTEMPTS_BELOW_MAX } else { ATTEMPTS_MAX };
    let healed = until_verified(opened, namespace, &receipt.to_string(), attempts, &mut bring_back, heal).await;
    healed.map(|facts| below.into_iter().chain(facts).collect())
}

async fn remove_until_verified(opened: &Opened, namespace: &str) -> Healed {
    let remove = async |cluster: Cluster| {
        let was_there = namespaces::remove(&cluster, namespace, Some(&opened.run)).await?;
        Ok(if was_there { vec!["removed".to_owned()] } else { Vec::new() })
    };
    let what = format!("namespace {namespace}");
    until_verified(opened, namespace, &what, ATTEMPTS_MAX, &mut async || Ok(()), remove).await
}

/// Removes the cluster that a dead run had for itself; waits for the `kind` that the run has left behind.
async fn remove_cluster(name: &str) -> Healed {
    match kind::down(name, &mut |_| {}).await {
        Ok(Removed::Cluster | Removed::Additions) => Ok(vec!["removed".to_owned()]),
        Ok(Removed::Nothing) => Ok(Vec::new()),
        Err(error) => Err(HealError::Unverified { what: format!("kind cluster {name}"), reason: error.to_string() }),
    }
}

/// Why one try did not heal.
enum Untold {
    /// The system.
    System(SystemError),
    /// What was healed is not put away.
    Heal(HealError),
}

impl From<SystemError> for Untold {
    fn from(error: SystemError) -> Self {
        Self::System(error)
    }
}

impl From<HealError> for Untold {
    fn from(error: HealError) -> Self {
        Self::Heal(error)
    }
}

/// Tries until it is done, is refused, or the tries are used up. What comes `first` needs no
/// cluster that answers, and is done before each try.
async fn until_verified(
    opened: &Opened,
    namespace: &str,
    what: &str,
    attempts_max: u32,
    first: &mut impl AsyncFnMut() -> Result<(), SystemError>,
    heal: impl AsyncFn(Cluster) -> Result<Vec<String>, Untold>,
) -> Healed {
    let mut last = String::new();
    for _ in 0..attempts_max {
        let stuck = match first().await {
            Ok(()) => None,
            Err(error) if error.transient => Some(error.to_string()),
            Err(error) => return Err(HealError::Unverified { what: what.to_owned(), reason: error.to_string() }),
        };
        match Cluster::connect(&opened.cluster, namespace).await {
            // Its pods and objects lived in that process, so nothing of ours is left of it.
            Err(ClusterError::NotRunning { .. }) => return Ok(vec!["the embedded cluster is gone".to_owned()]),
            Err(ClusterError::NoKind { .. }) => return Ok(vec!["the kind cluster is gone".to_owned()]),
            // Why it could not be brought back says more than that it is away.
            Err(error) => last = stuck.unwrap_or_else(|| error.to_string()),
            Ok(cluster) => match heal(cluster).await {
                Ok(facts) => return Ok(facts),
                Err(Untold::System(error)) if error.transient => last = error.to_string(),
                Err(Untold::System(error)) => {
                    return Err(HealError::Unverified { what: what.to_owned(), reason: error.to_string() });
                }
                Err(Untold::Heal(error)) => return Err(error),
            },
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    let reason = format!("gave up after {attempts_max} attempts; last seen: {last}");
    Err(HealError::Unverified { what: what.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Selection;
    use crate::scenario::plan::WorkloadRef;

    #[tokio::test]
    async fn a_late_healing_is_told_in_the_journal_of_the_dead_run() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("journal.ndjson");
        let at = crate::event::Offset::from_millis(7);
        let sent = Event { at, scenario: None, what: What::FaultSent };
        Journal::create(&path).unwrap().append_synced(&sent).unwrap();
        let name = format!("no-such-cluster-{}", std::process::id());
        let opened = Opened {
            run: "a".to_owned(),
            cluster: Selection::Embedded { name },
            namespace: "hsc-jit".to_owned(),
            journal: path.clone(),
            pid: std::process::id(),
        };
        let mut ledger = Ledger::create(state.path(), opened).unwrap();
        let receipt = |namespace: &str| Receipt::Scale {
            namespace: namespace.to_owned(),
            workload: "statefulset/redis".parse::<WorkloadRef>().unwrap(),
            replicas_before: 1,
            replicas_fault: 0,
        };
        ledger.broke(&receipt("hsc-jit")).unwrap();
        ledger.made("hsc-jit-lane-2").unwrap();
        ledger.broke(&receipt("hsc-jit-lane-2")).unwrap();
        let ledger_path = ledger.path().to_owned();
        assert!(heal_dead_run(&ledger_path).await.unwrap().is_none(), "the run lives");
        drop(ledger);

        let lines = heal_dead_run(&ledger_path).await.unwrap().unwrap();
        let gone = "the embedded cluster is gone";
        let expected =
            [format!("scale of statefulset/redis to 0: {gone}"), format!("namespace hsc-jit-lane-2: {gone}")];
        assert_eq!(lines, expected);
        assert!(!ledger_path.exists());
        let told = journal::read::<Event>(&path).unwrap().entries;
        assert_eq!(told.last().unwrap(), &Event { at, scenario: None, what: What::Healed { facts: lines } });
    }
}
