//! Whatever kills the gate, what it broke is healed within seconds, without a command.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gameday_tests::{Cluster, Place, eventually, kill, newest_journal, project};
use harness::event::{Event, What};
use harness::journal;
use serde_json::Value;

/// How often the gate is killed at least.
const KILLS: usize = 20;
/// How often at least while a fault is active.
const ACTIVE: usize = 15;
/// Gates that end by themselves before they are killed do not count; so many are started at most.
const ROUNDS_MAX: usize = 50;
/// How long the guardian may take until everything is as before.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// How long the system may take after that until its pods are ready and the receipt is gone.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long a gate may take until it is where it should be killed.
const REACHES_WITHIN: Duration = Duration::from_secs(180);

#[test]
fn a_gate_killed_at_any_moment_leaves_the_system_as_it_was() {
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["gate", "redis-lost/deleted"]).expect_code(0);
    let before = state(&cluster);
    let variants = [
        "redis-lost/hung",
        "traffic/annotated",
        "redis-lost/gone",
        "redis-lost/killed",
        "traffic/silent",
        "redis-lost/deleted",
    ];
    let (mut kills, mut active) = (0, 0);
    for round in 0..ROUNDS_MAX {
        if kills >= KILLS && active >= ACTIVE {
            break;
        }
        let variant = variants[round % variants.len()];
        // Every fifth is killed before anything is broken, the others while it is.
        let early = round % 5 == 4;
        let mut gate = start(&place, variant);
        let reached = wait_for(&place, &mut gate, |what| match what {
            What::ScenarioStarted(_) => early,
            What::FaultDone => true,
            _ => false,
        });
        kill(&mut gate);
        // A gate that came to its end by itself was not killed.
        kills += usize::from(reached);
        active += usize::from(reached && !early);
        eventually(HEALED_WITHIN, || same(round, variant, &undone(&before), &undone(&state(&cluster))));
        // Until a restarted Redis is ready again is the kubelet's time; the receipt goes after that.
        eventually(SETTLED_WITHIN, || same(round, variant, &before, &state(&cluster)));
    }
    assert!(kills >= KILLS && active >= ACTIVE, "{kills} were killed, {active} of them while a fault was active");
    let ledgers = std::fs::read_dir(place.path().join("state/gameday/runs")).unwrap().count();
    assert_eq!(ledgers, 0, "a healed run leaves no ledger");
}

fn start(place: &Place, variant: &str) -> Child {
    let mut command: Command = place.xtask(["gate", variant]);
    if variant.starts_with("traffic/") {
        command.arg("--scenarios").arg(project().join("tests/scenarios/traffic"));
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the newest journal holds such an event, or the gate has ended.
fn wait_for(place: &Place, gate: &mut Child, reached: impl Fn(&What) -> bool) -> bool {
    let known = newest_journal(&place.runs());
    eventually(REACHES_WITHIN, || {
        let journal = newest_journal(&place.runs()).filter(|journal| Some(journal) != known.as_ref());
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

/// What must be as before: specs, settings, Secrets, ready pods and no stopped process.
fn state(cluster: &Cluster<'_>) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gameday_tests::state::of_system(&cluster.kubeconfig(), cluster.pid()))
}

fn same(round: usize, variant: &str, before: &Value, now: &Value) -> Result<(), String> {
    if now == before { Ok(()) } else { Err(format!("round {round}, {variant}:\n{}", difference(before, now))) }
}

/// What healing itself undoes: specs, settings and Secrets as before, and no stopped process.
fn undone(state: &Value) -> Value {
    let mut undone = state.clone();
    undone["pods"].take();
    if let Some(maps) = undone["config-maps"].as_object_mut() {
        maps.retain(|name, _| !name.starts_with("gameday-receipt-"));
    }
    for counts in undone["processes"].as_object_mut().unwrap().values_mut() {
        *counts = counts[1].take();
    }
    // A Redis that is being restarted is not there, and one that is not there is not stopped.
    undone["processes"].as_object_mut().unwrap().retain(|_, stopped| *stopped != 0);
    undone
}

fn difference(before: &Value, now: &Value) -> String {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (before, now) = (text(before), text(now));
    let changed = before.lines().zip(now.lines()).filter(|(was, is)| was != is).take(20);
    changed.map(|(was, is)| format!("- {was}\n+ {is}\n")).collect()
}
