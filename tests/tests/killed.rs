//! Whatever kills the gate, what it broke is healed within seconds, without a command.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gameday_tests::{Cluster, Place, eventually, kill};
use harness::cluster::Selection;
use harness::event::{Event, What};
use harness::journal;
use serde_json::Value;

/// How often the gate is killed.
const KILLS: usize = 20;
/// In which of them a fault is active: all but every fourth.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// How long a gate may take until it is where it should be killed.
const REACHES_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn a_gate_killed_at_any_moment_leaves_the_system_as_it_was() {
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["gate", "redis-lost/deleted"]).expect_code(0);
    let before = state(&cluster);
    let variants = ["redis-lost/hung", "redis-lost/gone", "redis-lost/killed", "redis-lost/deleted"];
    let mut active = 0;
    for round in 0..KILLS {
        let variant = variants[round % variants.len()];
        let mut gate = start(&place, variant);
        // Every fourth is killed before anything is broken, the others while it is.
        let early = round % 4 == 3;
        let reached = if early {
            wait_for(&place, &mut gate, |what| matches!(what, What::ScenarioStarted(_)))
        } else {
            wait_for(&place, &mut gate, |what| matches!(what, What::FaultDone))
        };
        kill(&mut gate);
        active += usize::from(reached && !early);
        eventually(HEALED_WITHIN, || {
            let now = state(&cluster);
            if now == before {
                Ok(())
            } else {
                Err(format!("round {round}, {variant}:\n{}", difference(&before, &now)))
            }
        });
    }
    assert!(active >= 15, "only {active} of {KILLS} were killed while a fault was active");
    let ledgers = std::fs::read_dir(place.path().join("state/gameday/runs")).unwrap().count();
    assert_eq!(ledgers, 0, "a healed run leaves no ledger");
}

fn start(place: &Place, variant: &str) -> Child {
    let mut command: Command = place.xtask(["gate", variant]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the newest journal holds such an event, or the gate has ended.
fn wait_for(place: &Place, gate: &mut Child, reached: impl Fn(&What) -> bool) -> bool {
    let known = newest(&place.runs());
    eventually(REACHES_WITHIN, || {
        let journal = newest(&place.runs()).filter(|journal| Some(journal) != known.as_ref());
        let events = journal.and_then(|path| journal::read::<Event>(&path).ok()).map(|recorded| recorded.entries);
        if events.iter().flatten().any(|event| reached(&event.what)) {
            return Ok(true);
        }
        if gate.try_wait().unwrap().is_some() {
            return Ok(false);
        }
        Err(format!("{} events", events.map_or(0, |events| events.len())))
    })
}

fn newest(runs: &Path) -> Option<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir() && !path.is_symlink());
    found.sort();
    found.pop().map(|run| run.join("journal.ndjson"))
}

/// What must be as before: specs, settings, Secrets, ready pods and no stopped process.
fn state(cluster: &Cluster<'_>) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = Selection::Embedded { name: String::new() };
    runtime.block_on(gameday_tests::state_of_system(&cluster.kubeconfig()))
}

fn difference(before: &Value, now: &Value) -> String {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (before, now) = (text(before), text(now));
    let changed = before.lines().zip(now.lines()).filter(|(was, is)| was != is).take(20);
    changed.map(|(was, is)| format!("- {was}\n+ {is}\n")).collect()
}
