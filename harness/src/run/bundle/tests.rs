use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Event, Offset, What};

fn finished(stage: &str, result: StageResult) -> Event {
    let what = What::StageFinished { stage: stage.to_owned(), result, facts: Vec::new() };
    Event { at: Offset::ZERO, scenario: None, what }
}

#[test]
fn a_release_has_a_bundle_where_it_failed_on_the_cluster() {
    let error = || "smoke: 503".to_owned();
    for (stage, result, expect) in [
        ("smoke", StageResult::Done, None),
        ("smoke", StageResult::Cancelled, None),
        ("build", StageResult::Failed { error: error() }, None),
        ("push", StageResult::Failed { error: error() }, None),
        ("smoke", StageResult::Failed { error: error() }, Some(("smoke", "failed: smoke: 503"))),
        ("deploy", StageResult::RolledBack { reason: error() }, Some(("deploy", "rolled back: smoke: 503"))),
        ("deploy", StageResult::RollbackFailed { error: error() }, Some(("deploy", "roll-back failed: smoke: 503"))),
        (
            "install previous release",
            StageResult::Failed { error: error() },
            Some(("install-previous-release", "failed: smoke: 503")),
        ),
    ] {
        let mut known = Fold::default();
        known.apply(&finished("build", StageResult::Done));
        known.apply(&finished(stage, result.clone()));
        let about = About::release(&known);
        let found = about.as_ref().map(|about| (about.folder.as_str(), about.why.as_str()));
        assert_eq!(found, expect, "{stage} {result:?}");
    }
}

#[test]
fn only_a_scenario_that_did_not_pass_has_a_bundle() {
    let id = ScenarioId("redis-lost/killed".to_owned());
    assert!(About::scenario(&id, &Verdict::Pass, &Fold::default()).is_none());
    for verdict in [Verdict::Fail { why: "late".to_owned() }, Verdict::Inconclusive { why: "late".to_owned() }] {
        let about = About::scenario(&id, &verdict, &Fold::default()).unwrap();
        assert_eq!((about.folder.as_str(), about.why), ("redis-lost-killed", verdict.to_string()));
    }
}

#[test]
fn a_folder_never_leaves_the_bundle() {
    for (name, expect) in [("redis-lost/killed", "redis-lost-killed"), ("../..", "-----"), ("a b", "a-b")] {
        assert_eq!(file_name(name), expect);
    }
}

#[test]
fn logs_are_wanted_of_containers_that_started() {
    let container = |name: &str, id: &str, restarts: u32, last: Value| json!({"name": name, "containerID": id, "restartCount": restarts, "lastState": last, "image": "i", "imageID": "i", "ready": true});
    let ended = json!({"terminated": {"exitCode": 1}});
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "status": {
            "initContainerStatuses": [container("init", "c0", 0, json!({}))],
            "containerStatuses": [
                container("fresh", "c1", 0, json!({})),
                container("again", "c2", 2, ended.clone()),
                container("waiting", "", 0, json!({})),
                container("backing-off", "", 1, ended),
            ],
        },
    }))
    .unwrap();
    let paths: Vec<String> = wanted_logs(&pod).iter().map(WantedLog::path).collect();
    assert_eq!(
        paths,
        [
            "logs/p.init.log",
            "logs/p.fresh.log",
            "logs/p.again.log",
            "logs/p.again.previous.log",
            "logs/p.backing-off.previous.log"
        ]
    );
    assert!(wanted_logs(&Pod::default()).is_empty(), "a pod without a status");
}

/// Every byte of every file below a directory.
fn bytes_below(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { bytes.extend(bytes_below(&path)) } else { bytes.extend(std::fs::read(&path).unwrap()) }
    }
    bytes
}

#[test]
fn a_planted_secret_is_in_no_byte_that_is_written() {
    let (secret, encoded) = ("s3cr\"t-5f1e9c", "czNjciJ0LTVmMWU5Yw");
    let mut bundle = Bundle {
        redactor: Redactor::new([secret.as_bytes()]),
        files: Vec::new(),
        gaps: vec![format!("lost {secret}")],
    };
    let config_map = json!({"items": [{"data": {"copy": secret, "url": format!("redis://:{secret}@redis")}}]});
    bundle.add("objects/configmaps.json", text::objects(config_map));
    bundle.keep_logs(vec![("logs/p.c.log".to_owned(), format!("connecting with {secret}\nor {encoded}\n"))]);
    bundle.add("README.txt", bundle.gaps.join("\n"));
    let directory = tempfile::tempdir().unwrap();
    bundle.write(directory.path()).unwrap();
    let written = String::from_utf8(bytes_below(directory.path())).unwrap();
    for (needle, count) in [(secret, 0), ("s3cr", 0), ("5f1e9c", 0), (encoded, 0), ("[redacted]", 5)] {
        assert_eq!(written.matches(needle).count(), count, "{needle} in {written}");
    }
}

#[test]
fn logs_beyond_the_bound_keep_their_ends_and_say_so() {
    let line = "x".repeat(99) + "\n";
    let long = line.repeat(LOG_BYTES_MAX / 100 + 1) + "the end\n";
    let mut bundle = Bundle { redactor: Redactor::default(), files: Vec::new(), gaps: Vec::new() };
    bundle.keep_logs(vec![("logs/long.log".to_owned(), long), ("logs/short.log".to_owned(), "short\n".to_owned())]);
    assert!(bundle.files.iter().map(|(_, log)| log.len()).sum::<usize>() <= LOG_BYTES_MAX);
    assert!(bundle.files[0].1.ends_with("the end\n"));
    assert_eq!(bundle.files[1].1, "short\n");
    assert!(bundle.gaps.iter().any(|gap| gap.starts_with("logs/long.log: the first ")), "{:?}", bundle.gaps);
}

#[test]
fn a_full_disk_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("logs"), "a file where a directory should be").unwrap();
    let mut bundle = Bundle { redactor: Redactor::default(), files: Vec::new(), gaps: Vec::new() };
    bundle.add("logs/p.c.log", String::new());
    let (path, _) = bundle.write(directory.path()).unwrap_err();
    assert_eq!(path, directory.path().join("logs"));
}

proptest! {
    #[test]
    fn no_file_has_a_secret(secret in "\\PC{4,16}", around in "[a-z\" ]{0,8}") {
        let mut bundle = Bundle { redactor: Redactor::new([secret.as_bytes()]), files: Vec::new(), gaps: Vec::new() };
        bundle.add("objects/configmaps.json", text::objects(json!({"items": [{"data": {"k": format!("{around}{secret}{around}")}}]})));
        bundle.keep_logs(vec![("logs/p.c.log".to_owned(), format!("{around}{secret}{around}\n"))]);
        let directory = tempfile::tempdir().unwrap();
        bundle.write(directory.path()).unwrap();
        let written = String::from_utf8(bytes_below(directory.path())).unwrap();
        prop_assert!(!written.contains(&secret));
    }
}
