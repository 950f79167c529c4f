//! Releases that go out and back: what that loses, bad ones, interrupted ones, two at once.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gameday_tests::{Ended, Place, kill, project};
use serde_json::Value;

/// One rollout after the other: what runs beside a measurement disturbs it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed before says so itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The only rollout of the newest run.
#[track_caller]
fn rollout(place: &Place, id: &str) -> Value {
    let report = place.report();
    let rollouts = report["rollouts"].as_array().unwrap();
    let [rollout] = &rollouts[..] else { panic!("one rollout, not {rollouts:#?}") };
    assert_eq!(rollout["id"], id);
    rollout.clone()
}

/// Insists that traffic was there, and that nothing of it was lost.
#[track_caller]
fn lost_nothing(rollout: &Value) {
    assert_eq!(rollout["verdict"]["verdict"], "pass", "{rollout:#}");
    let backend = &rollout["traffic"][0];
    assert_eq!((&backend["service"], &backend["sockets"]), (&"backend".into(), &100.into()));
    assert!(backend["requests-good"].as_u64().unwrap() >= 200, "{backend:#}");
    for (traffic, count) in
        rollout["traffic"].as_array().unwrap().iter().flat_map(|one| [(one, "requests-lost"), (one, "sockets-lost")])
    {
        assert_eq!(traffic[count], 0, "{traffic:#}");
    }
    let moments =
        ["started-ms", "flows-ms", "writing-ms", "settled-ms", "ended-ms"].map(|moment| rollout[moment].as_f64());
    assert!(moments.is_sorted() && moments[0].is_some(), "{moments:?}");
}

/// Starts a command and waits until it tells this.
fn until(place: &Place, arguments: &[&str], tells: &str) -> Child {
    let mut child = place.xtask(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(tells)), "{arguments:?} never told `{tells}`");
    // What it tells from now on must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn releases_go_out_and_back_without_a_loss_whatever_interrupts_them() {
    let _alone = alone();
    let place = Place::new();
    let _cluster = place.cluster();
    place.run(["deploy", "--previous"]).expect_code(0);
    let first = rollout(&place, "rollout/deploy");
    assert_eq!((&first["verdict"], &first["traffic"]), (&Value::Null, &Value::Array(Vec::new())), "nothing served");

    let ended = place.run(["deploy"]).expect_code(0);
    assert!(ended.stdout.contains("rollout/deploy: 0 of "), "{}", ended.stdout);
    lost_nothing(&rollout(&place, "rollout/deploy"));
    let again = place.run(["deploy"]).expect_code(0);
    assert!(again.stdout.contains("nothing was to be rolled out"), "{}", again.stdout);
    assert_eq!(place.report()["rollouts"], Value::Array(Vec::new()), "nothing changed, so nothing can be lost");

    let wrong = place.run(["rollback", "--to-revision", "99"]).expect_code(8);
    assert!(wrong.stderr.contains("revision 99 is not in its history, which has 1, 2"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains(" hint: `kubectl rollout history`"), "{}", wrong.stderr);
    place.run(["smoke", "--quick"]).expect_code(0);

    let back = place.run(["rollback", "--to-revision", "1"]).expect_code(0);
    assert!(back.stdout.contains("v3.3.0 runs again and passed"), "{}", back.stdout);
    lost_nothing(&rollout(&place, "rollout/rollback"));

    // Two at once, then one stopped in the middle, one killed in the middle, and one to the end.
    let mut stopped = until(&place, &["deploy"], "rolling out");
    for second in [["deploy"], ["rollback"]] {
        let busy = place.run(second).expect_code(6);
        assert!(busy.stderr.contains("another run is at work there (lock `"), "{}", busy.stderr);
    }
    Ended::of(std::process::Command::new("kill").args(["-INT", &stopped.id().to_string()])).expect_code(0);
    assert_eq!(stopped.wait().unwrap().code(), Some(130));
    let stopped = rollout(&place, "rollout/deploy");
    assert_eq!(stopped["verdict"]["verdict"], "inconclusive", "what was broken off shows nothing");
    kill(&mut until(&place, &["deploy"], "rolling out"));
    place.run(["deploy"]).expect_code(0);
    place.run(["smoke"]).expect_code(0);
}

#[test]
fn a_build_that_drops_what_is_in_flight_is_red_when_it_is_left() {
    let _alone = alone();
    let place = Place::new();
    let _cluster = place.cluster();
    place.run(["deploy", "--build", "no-drain"]).expect_code(0);
    let left = place.run(["deploy"]).expect_code(1);
    assert!(left.stdout.contains("rollout/deploy: service backend lost "), "{}", left.stdout);
    let lossy = rollout(&place, "rollout/deploy");
    assert_eq!(lossy["verdict"]["verdict"], "fail");
    let backend = &lossy["traffic"][0];
    let lost = backend["requests-lost"].as_u64().unwrap() + backend["sockets-lost"].as_u64().unwrap();
    assert!(lost > 0, "{lossy:#}");

    // Sockets are dropped while it runs, too, so that this deployment may be red or not.
    place.run(["deploy", "--build", "drops-sockets"]);
    place.run(["rollback"]).expect_code(1);
    let lossy = rollout(&place, "rollout/rollback");
    assert_eq!(lossy["verdict"]["verdict"], "fail");
    assert!(lossy["traffic"][0]["sockets-lost"].as_u64().unwrap() > 0, "{lossy:#}");
}

#[test]
fn a_gate_shows_that_the_release_it_judges_lets_go_gently() {
    let _alone = alone();
    let place = Place::new();
    let scenarios = project().join("tests/scenarios/no-bite");
    let suite = ["--scenarios", scenarios.to_str().unwrap(), "--suite", "no-bite"];
    place.run([&["gate", "--build", "no-drain"], &suite[..]].concat()).expect_code(1);
    let report = place.report();
    let verdicts: Vec<_> = report["rollouts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["verdict"]["verdict"].as_str()))
        .collect();
    let expected = [
        ("rollout/install-previous-release", None),
        ("rollout/deploy", Some("pass")),
        ("rollout/rollback", Some("fail")),
        ("rollout/deploy-again", Some("pass")),
    ];
    assert_eq!(verdicts, expected, "it is the new release that is left on the way back");
    assert!(!report["scenarios"].as_array().unwrap().is_empty(), "what is red does not hide the rest");
}

#[test]
fn bad_releases_are_recognised_and_what_ran_before_is_proven() {
    let _alone = alone();
    let place = Place::new();
    let _cluster = place.cluster();
    place.run(["deploy", "--previous"]).expect_code(0);
    for (build, reason) in [
        ("bad-config", "CreateContainerConfigError"),
        ("image-invalid", "InvalidImageName"),
        ("crash-loop", "CrashLoopBackOff"),
        ("image-missing", "ImagePull"),
        ("never-ready", "ProgressDeadlineExceeded"),
    ] {
        let ended = place.run(["deploy", "--build", build]).expect_code(7);
        assert!(ended.stdout.contains("v3.3.0 runs again and passed"), "{build}: {}", ended.stdout);
        let rollout = rollout(&place, "rollout/deploy");
        lost_nothing(&rollout);
        let bad = &rollout["bad"];
        assert!(bad["reason"].as_str().unwrap().contains(reason), "{build}: {bad:#}");
        let after = |moment: &str| bad[moment].as_f64().unwrap_or_else(|| panic!("{build}: no {moment} in {bad:#}"));
        assert!(after("returning-after-ms") <= 2_000.0, "{build}: {bad:#}");
        assert!(after("settled-after-ms") <= after("restored-after-ms"), "{build}: {bad:#}");
        place.run(["smoke", "--quick"]).expect_code(1);
    }
    // What was rolled back is not returned to by accident.
    let ended = place.run(["rollback"]).expect_code(8);
    assert!(ended.stderr.contains("each of its previous revisions was rolled back ("), "{}", ended.stderr);
}
