//! A bad key of the LLM and a provider in trouble: red on a build that keeps failures,
//! inconclusive without a bite, and never a byte of the good key anywhere.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gameday_tests::{Cluster, Place, eventually, kill, newest_journal, project};
use harness::event::{Event, What};
use harness::journal;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use serde_json::Value;

/// Every variant of the two scenarios.
const VARIANTS: [(&str, &[&str]); 2] = [
    ("llm-key-bad", &["wrong", "empty", "short"]),
    ("llm-unavailable", &["quota", "errors", "slow", "hang", "cut", "garbage"]),
];
/// A budget of seconds: what never comes back is not back after a few of them either.
const SHORT: [(&str, &str); 2] = [("max: 300s", "max: 20s"), ("max: 60s", "max: 10s")];
/// How long a gate may take until its fault is there.
const REACHES_WITHIN: Duration = Duration::from_secs(240);
/// How long the guardian may take until the Secret is as before.
const RESTORED_WITHIN: Duration = Duration::from_secs(5);
/// How long the pods may take after that.
const RELEASED_WITHIN: Duration = Duration::from_secs(90);

/// The scenarios of the project with some words replaced, each variant in a file of its own
/// that asks a question of its own: what a build has cached for one must not spoil the next.
/// Returns the directory and the variants' ids.
fn copies(place: &Place, replace: &[(&str, &str)]) -> (PathBuf, Vec<String>) {
    let directory = place.path().join("scenarios");
    std::fs::create_dir_all(&directory).unwrap();
    let mut ids = Vec::new();
    for (scenario, variants) in VARIANTS {
        let text = std::fs::read_to_string(project().join(format!("scenarios/{scenario}.yaml"))).unwrap();
        for variant in variants {
            let (head, question) = (format!("name: {scenario}\n"), "How do I reset it?");
            assert!(text.contains(&head) && text.contains(question), "{scenario} is written otherwise");
            let name = format!("{scenario}-{variant}");
            let mut copy = text.replace(&head, &format!("name: {name}\n"));
            copy = copy.replace(question, &format!("How do I reset it {variant}?"));
            replace.iter().for_each(|(from, to)| copy = copy.replace(from, to));
            std::fs::write(directory.join(format!("{name}.yaml")), copy).unwrap();
            ids.push(format!("{name}/{variant}"));
        }
    }
    (directory, ids)
}

/// Runs one gate over these variants; returns its scenarios.
fn gate(place: &Place, directory: &Path, ids: &[String], more: &[&str], code: i32) -> Vec<Value> {
    let directory = directory.to_str().unwrap();
    let command = ["gate", "--scenarios", directory].into_iter().chain(ids.iter().map(String::as_str));
    place.run(command.chain(more.iter().copied())).expect_code(code);
    place.report()["scenarios"].as_array().unwrap().clone()
}

/// Verdict by scenario id.
fn verdicts(scenarios: &[Value]) -> BTreeMap<&str, &str> {
    scenarios.iter().map(|one| (one["id"].as_str().unwrap(), one["verdict"]["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_build_that_keeps_failures_is_red_in_every_variant() {
    let place = Place::new();
    let (directory, ids) = copies(&place, &SHORT);
    let scenarios = gate(&place, &directory, &ids, &["--build", "caches-failures"], 1);
    assert_eq!(verdicts(&scenarios), ids.iter().map(|id| (id.as_str(), "fail")).collect());
    for scenario in &scenarios {
        assert_eq!(scenario["fault-proven"], true, "{scenario}");
        let why = scenario["verdict"]["why"].as_str().unwrap();
        assert!(why.starts_with("still bad "), "it is red because answers do not come back: {why}");
    }
}

#[test]
fn a_fault_that_does_not_bite_is_inconclusive_in_every_variant() {
    let place = Place::new();
    let fault = "restart: deployment/backend }";
    let bites = ["quota", "error", "slow", "hang", "cut", "garbage"].map(|answers| format!("answers: {answers}"));
    // The key changes and nobody reads it; the provider goes on as before.
    let defused = [(fault, "restart: deployment/frontend }")].into_iter();
    let defused: Vec<_> = defused.chain(bites.iter().map(|bite| (bite.as_str(), "answers: ok"))).collect();
    let (directory, ids) = copies(&place, &defused);
    let scenarios = gate(&place, &directory, &ids, &[], 3);
    assert_eq!(verdicts(&scenarios), ids.iter().map(|id| (id.as_str(), "inconclusive")).collect());
    for scenario in &scenarios {
        let why = scenario["verdict"]["why"].as_str().unwrap();
        assert!(why.starts_with("no proof that the fault took effect"), "{why}");
    }
}

#[test]
fn the_good_key_is_nowhere_but_in_the_cluster_and_comes_back_whatever_happens() {
    let place = Place::new();
    let cluster = place.cluster();
    let planted = Planted::new(&place);
    planted.plant(&cluster);
    let (directory, ids) = copies(&place, &SHORT);
    let wrong = &ids[..1];

    // A red gate writes most: reports, journal, and a bundle of logs and objects.
    let watching = AtomicBool::new(true);
    let output = std::thread::scope(|scope| {
        let lines = scope.spawn(|| planted.in_command_lines(&watching));
        let arguments =
            ["gate", "--scenarios", directory.to_str().unwrap(), &wrong[0], "--build", "caches-failures", "-v"];
        let ended = place.run(arguments);
        watching.store(false, Ordering::Relaxed);
        assert_eq!(lines.join().unwrap(), Vec::<String>::new(), "the key was in a command line");
        ended.expect_code(1)
    });
    assert!(place.runs().join("latest/bundle").is_dir(), "a red run has a bundle");
    for (stream, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        assert!(!planted.is_in(text.as_bytes()), "the key is in {stream}");
    }
    planted.is_back(&cluster);

    // Killed while the key is bad, the gate leaves the rest to its guardian.
    let known = newest_journal(&place.runs());
    let arguments = ["gate", "--scenarios", directory.to_str().unwrap(), &wrong[0]];
    let mut gate = place.xtask(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(REACHES_WITHIN, || {
        let journal = newest_journal(&place.runs()).filter(|journal| Some(journal) != known.as_ref());
        let events = journal.and_then(|path| journal::read::<Event>(&path).ok()).map(|recorded| recorded.entries);
        let done = events.iter().flatten().any(|event| matches!(event.what, What::FaultDone));
        assert!(gate.try_wait().unwrap().is_none(), "the gate ended before its fault");
        if done { Ok(()) } else { Err("no fault yet".to_owned()) }
    });
    assert_ne!(planted.in_cluster(&cluster), Some(planted.key.clone()), "the key is bad while the fault is on");
    kill(&mut gate);
    planted.is_back(&cluster);

    assert_eq!(planted.files(place.path()), Vec::<PathBuf>::new(), "the key is in a file");
    for text in [planted.key.clone(), format!("x{}", base64(format!("ab{}", planted.key).as_bytes()))] {
        std::fs::write(place.path().join("planted"), text).unwrap();
        assert_eq!(planted.files(place.path()), [place.path().join("planted")], "the search finds what is there");
    }
}

/// A key that occurs nowhere else, and every form of it that is looked for.
struct Planted {
    key: String,
    forms: Vec<Vec<u8>>,
}

impl Planted {
    fn new(place: &Place) -> Self {
        let unique: String = place.path().display().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let key = format!("Planted{:0>32}", &unique[unique.len().saturating_sub(24)..]);
        // In base64 the same bytes look different by where they begin; ends depend on what stands beside them.
        let shifted = |before: &str, skip: usize| {
            let text = base64(format!("{before}{key}").as_bytes());
            let text = text.trim_end_matches('=').as_bytes();
            text[skip..text.len() - 2].to_vec()
        };
        let forms = vec![key.as_bytes().to_vec(), shifted("", 0), shifted("a", 2), shifted("ab", 3)];
        Self { key, forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_slice()))
    }

    /// Files below a directory that hold it.
    fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                found.extend(self.files(&path));
            } else if kind.is_file() && std::fs::read(&path).is_ok_and(|bytes| self.is_in(&bytes)) {
                found.push(path);
            }
        }
        found
    }

    /// Command lines of any process that held it while `watching`.
    fn in_command_lines(&self, watching: &AtomicBool) -> Vec<String> {
        let mut found = Vec::new();
        while watching.load(Ordering::Relaxed) {
            for process in std::fs::read_dir("/proc").unwrap().flatten() {
                let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                if self.is_in(&line) {
                    found.push(String::from_utf8_lossy(&line).into_owned());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        found
    }

    /// Makes the Secret before the gate does.
    fn plant(&self, cluster: &Cluster<'_>) {
        in_runtime(async {
            let client = cluster.client().await;
            let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let namespace = Namespace { metadata: named("hsc-jit"), ..Namespace::default() };
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
            let data = BTreeMap::from([("key".to_owned(), ByteString(self.key.clone().into_bytes()))]);
            let secret = Secret { metadata: named("llm-api-key"), data: Some(data), ..Secret::default() };
            Api::namespaced(client, "hsc-jit").create(&PostParams::default(), &secret).await.unwrap();
        });
    }

    fn in_cluster(&self, cluster: &Cluster<'_>) -> Option<String> {
        in_runtime(async {
            let secret = Api::<Secret>::namespaced(cluster.client().await, "hsc-jit").get("llm-api-key").await.unwrap();
            secret.data.unwrap_or_default().remove("key").and_then(|value| String::from_utf8(value.0).ok())
        })
    }

    /// The Secret soon, and in a while no copy of the original and no receipt.
    fn is_back(&self, cluster: &Cluster<'_>) {
        eventually(RESTORED_WITHIN, || match self.in_cluster(cluster) {
            Some(key) if key == self.key => Ok(()),
            other => Err(format!("the Secret holds {} characters", other.map_or(0, |other| other.len()))),
        });
        eventually(RELEASED_WITHIN, || {
            let secrets = in_runtime(async {
                let api: Api<Secret> = Api::namespaced(cluster.client().await, "hsc-jit");
                api.list(&ListParams::default().labels("gameday.dev/kept")).await.unwrap().items.len()
            });
            if secrets == 0 { Ok(()) } else { Err("the original is still kept".to_owned()) }
        });
    }
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(ByteString(bytes.to_vec())).unwrap().as_str().unwrap().to_owned()
}

fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
