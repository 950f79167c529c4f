//! Whatever kills a run, what it broke and made is put right within seconds, without a command.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gameday_tests::{Cluster, Place, alone, eventually, kill, newest_journal, project};
use harness::event::{Event, What};
use serde_json::Value;

/// How often a run is killed at least.
const KILLS: usize = 20;
/// How often at least while a fault is active.
const ACTIVE: usize = 15;
/// Runs that end by themselves before they are killed do not count; so many are started at most.
const ROUNDS_MAX: usize = 50;
/// How long the guardian may take until everything is as before.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// How long the system may take after that until its pods are ready and the receipt is gone. A
/// killed container starts again at once, because it is its pod's first restart.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long a run may take until it is where it should be killed.
const REACHES_WITHIN: Duration = Duration::from_secs(180);

/// When a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Its release is being rolled out.
    Releasing,
    /// A scenario has begun, and nothing is broken.
    Begun,
    /// A fault is active.
    Broken,
}

/// What is started and killed in one round.
struct Round<'a> {
    number: usize,
    command: &'static str,
    variant: &'a str,
    moment: Moment,
}

impl<'a> Round<'a> {
    /// Every fifth is killed before anything is broken. `run` is `gate` without its release.
    fn of(number: usize, variants: &'a [String]) -> Self {
        let moment = match number % 10 {
            4 => Moment::Releasing,
            9 => Moment::Begun,
            _ => Moment::Broken,
        };
        let command = if number.is_multiple_of(5) || moment == Moment::Releasing { "gate" } else { "run" };
        Self { number, command, variant: &variants[number % variants.len()], moment }
    }

    fn is_reached(&self, what: &What) -> bool {
        match (self.moment, what) {
            (Moment::Releasing, What::StageStarted { stage }) => stage == "deploy",
            (Moment::Begun, What::ScenarioStarted(_)) | (Moment::Broken, What::FaultDone) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Round<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "round {}, {} {}, killed when {:?}", self.number, self.command, self.variant, self.moment)
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_the_system_as_it_was() {
    let _alone = alone();
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["gate", "redis-lost/deleted"]).expect_code(0);
    let watched = Watched::new(&cluster);
    // Redis by itself, as often as everything else of the suite together.
    let (redis, others): (Vec<_>, Vec<_>) = suite(&place).into_iter().partition(|id| id.starts_with("redis-lost/"));
    let traffic = ["traffic/annotated", "traffic/silent"].map(str::to_owned);
    for variants in [redis, others.into_iter().chain(traffic).collect()] {
        killed_twenty_times(&place, &watched, &variants);
    }
    killed_in_two_lanes(&place, &watched);
    interrupted_in_two_lanes(&place, &watched);
    let ledgers = std::fs::read_dir(place.path().join("state/gameday/runs")).unwrap().count();
    assert_eq!(ledgers, 0, "a healed run leaves no ledger");
}

/// Ids of the variants that a gate rehearses by default.
fn suite(place: &Place) -> Vec<String> {
    let listed = place.run(["list", "--suite", "core", "--output", "json"]).expect_code(0).stdout;
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    listed.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn killed_twenty_times(place: &Place, watched: &Watched, variants: &[String]) {
    let (mut kills, mut active) = (0, 0);
    for number in 0..ROUNDS_MAX {
        if kills >= KILLS && active >= ACTIVE {
            break;
        }
        let round = Round::of(number, variants);
        let mut run = start(place, &[round.command, round.variant]);
        let reached = wait_for(place, &mut run, 1, |what| round.is_reached(what));
        kill(&mut run);
        // A run that came to its end by itself was not killed.
        kills += usize::from(reached);
        active += usize::from(reached && round.moment == Moment::Broken);
        watched.is_put_right(&round.to_string());
    }
    assert!(kills >= KILLS && active >= ACTIVE, "{kills} were killed, {active} of them while a fault was active");
}

const IN_TWO_LANES: [&str; 5] = ["gate", "redis-lost/hung", "redis-lost/gone", "--lanes", "2"];

fn killed_in_two_lanes(place: &Place, watched: &Watched) {
    let mut gate = start(place, &IN_TWO_LANES);
    assert!(wait_for(place, &mut gate, 2, |what| *what == What::FaultDone), "both lanes are broken at a time");
    let namespaces = watched.now()["namespaces"].to_string();
    assert!(namespaces.contains("hsc-jit-lane-2"), "{namespaces}");
    kill(&mut gate);
    watched.is_put_right("killed in two lanes");
}

fn interrupted_in_two_lanes(place: &Place, watched: &Watched) {
    let mut gate = start(place, &IN_TWO_LANES);
    assert!(wait_for(place, &mut gate, 2, |what| *what == What::FaultDone), "both lanes are broken at a time");
    assert!(Command::new("kill").args(["-INT", &gate.id().to_string()]).status().unwrap().success());
    assert_eq!(gate.wait().unwrap().code(), Some(130));
    let report = place.report();
    assert_eq!(report["clean"], true, "{report}");
    let scenarios = report["scenarios"].as_array().unwrap();
    let told: Vec<_> = scenarios.iter().map(|one| (&one["ended"], &one["left-broken"], &one["lane"]["lane"])).collect();
    let (cancelled, no) = (Value::from("cancelled"), Value::from(false));
    // The hung one takes longer, so it was first, in the first lane.
    assert_eq!(told, [(&cancelled, &no, &Value::from(1)), (&cancelled, &no, &Value::from(2))]);
    watched.is_put_right("interrupted in two lanes");
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command: Command = place.xtask(arguments);
    if arguments.iter().any(|argument| argument.starts_with("traffic/")) {
        command.arg("--scenarios").arg(project().join("tests/scenarios/traffic"));
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the newest journal holds so many such events, or the run has ended.
fn wait_for(place: &Place, run: &mut Child, times: usize, reached: impl Fn(&What) -> bool) -> bool {
    let known = newest_journal(&place.runs());
    let (mut journal, mut seen) = (None, 0);
    eventually(REACHES_WITHIN, || {
        if journal.is_none() {
            journal = newest_journal(&place.runs()).filter(|path| Some(path) != known.as_ref()).map(Tail::of);
        }
        let events = journal.as_mut().map(Tail::read).unwrap_or_default();
        seen += events.iter().filter(|event| reached(&event.what)).count();
        if seen >= times {
            return Ok(true);
        }
        if run.try_wait().unwrap().is_some() {
            return Ok(false);
        }
        Err(format!("{seen} of {times} events"))
    })
}

/// A journal that is being written.
struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    fn of(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The events of the lines that were completed since the last look.
    fn read(&mut self) -> Vec<Event> {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return Vec::new() };
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += complete as u64;
        serde_json::Deserializer::from_slice(&bytes[..complete]).into_iter().map(Result::unwrap).collect()
    }
}

/// The system, and what it must be again after each kill.
struct Watched {
    kubeconfig: PathBuf,
    cluster: u32,
    runtime: tokio::runtime::Runtime,
    before: Value,
}

impl Watched {
    fn new(cluster: &Cluster<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (kubeconfig, pid) = (cluster.kubeconfig(), cluster.pid());
        let before = runtime.block_on(gameday_tests::state::of_system(&kubeconfig, pid));
        Self { kubeconfig, cluster: pid, runtime, before }
    }

    /// Namespaces, specs, settings, Secrets, ready pods and stopped processes.
    fn now(&self) -> Value {
        self.runtime.block_on(gameday_tests::state::of_system(&self.kubeconfig, self.cluster))
    }

    /// Waits until everything is as before: first what healing undoes, then what takes the
    /// kubelet's time. The next round finds a pod that was never restarted.
    fn is_put_right(&self, after: &str) {
        let same = |before: &Value, now: &Value| match now == before {
            true => Ok(()),
            false => Err(format!("after {after}:\n{}", difference(before, now))),
        };
        eventually(HEALED_WITHIN, || same(&undone(&self.before), &undone(&self.now())));
        eventually(SETTLED_WITHIN, || same(&self.before, &self.now()));
        self.runtime.block_on(gameday_tests::state::replace_restarted_pods(&self.kubeconfig));
        eventually(SETTLED_WITHIN, || same(&self.before, &self.now()));
    }
}

/// What healing itself undoes: namespaces, specs, settings and Secrets as before, and no stopped
/// process.
fn undone(state: &Value) -> Value {
    let mut undone = state.clone();
    undone["pods"].take();
    if let Some(maps) = undone["config-maps"].as_object_mut() {
        maps.retain(|name, _| !name.starts_with("gameday-receipt-"));
    }
    // The good key is back at once; what kept it goes when every pod holds it again.
    if let Some(secrets) = undone["secrets"].as_object_mut() {
        secrets.retain(|name, _| !name.starts_with("gameday-kept-"));
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
