//! The pre-deployment checklist: evidence passes an item, a person's word waives one, and what
//! is lacking stops a deployment.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::process::Command;

use gameday_tests::{Ended, Place, project};
use serde_json::{Value, json};

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(project()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `xtask` with this place's evidence.
fn run(place: &Place, arguments: &[&str]) -> Ended {
    Ended::of(place.xtask(arguments).env("GAMEDAY_EVIDENCE", place.path().join("evidence")))
}

fn keep(place: &Place, name: &str, evidence: &Value) {
    let directory = place.path().join("evidence");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), evidence.to_string()).unwrap();
}

/// The word of each item's finding, in the runbook's order.
fn findings(ended: &Ended) -> Vec<String> {
    let checked: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let word = |one: &Value| one["finding"].as_object().unwrap().keys().next().unwrap().clone();
    checked.as_array().unwrap().iter().map(word).collect()
}

#[test]
fn a_deployment_waits_for_evidence_or_for_a_persons_word() {
    let place = Place::new();
    let _cluster = place.cluster();

    let nothing = run(&place, &["checklist", "--output", "json"]).expect_code(1);
    assert_eq!(findings(&nothing), ["unknown", "unknown", "unknown", "not-passed", "unknown"]);
    assert!(nothing.stderr.contains("5 of 5 items of the checklist are not passed"), "{}", nothing.stderr);
    run(&place, &["checklist", "--waive", "nothing-known=x"]).expect_code(2);

    run(&place, &["deploy", "--previous"]).expect_code(0);
    let stopped = run(&place, &["deploy", "--checklist"]).expect_code(1);
    assert!(stopped.stderr.contains("4 of 5 items"), "what runs is the way back: {}", stopped.stderr);
    assert!(!stopped.stderr.contains("deploy: done"), "{}", stopped.stderr);

    run(&place, &["deploy"]).expect_code(0);
    run(&place, &["smoke"]).expect_code(0);
    let now = said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    let source = json!({ "commit": said("git", &["rev-parse", "HEAD"]), "clean": true });
    let tests = json!({ "source": source, "passed": 900, "failed": 0, "skipped": 3, "finished": now });
    keep(&place, "tests.json", &tests);
    keep(&place, "backup.json", &json!({ "artefact": "redis.rdb.gz", "verified": now }));
    // Somebody at work has changes that are not committed, and no evidence is of those.
    let is_clean = said("git", &["status", "--porcelain"]).is_empty();
    let words = ["--waive", "tests-passed=at work", "--waive", "smoke-in-staging=at work", "--announced", "14:00"];
    let all: Vec<&str> = ["checklist", "--output", "json"].into_iter().chain(words).collect();
    let of_source = if is_clean { "passed" } else { "waived" };
    let expect = [of_source, of_source, "passed", "passed", "stated"];
    assert_eq!(findings(&run(&place, &all).expect_code(0)), expect);

    keep(&place, "backup.json", &json!({ "artefact": "redis.rdb.gz", "verified": "2026-01-01T00:00:00Z" }));
    let stale = run(&place, &all).expect_code(1);
    assert!(stale.stdout.contains("more than 24h ago"), "{}", stale.stdout);
}
