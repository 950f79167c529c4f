//! The gate from source to verdict, and every way it must not be green.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use gameday_tests::{Place, alone, project};
use serde_json::Value;

const VARIANTS: [&str; 4] = ["redis-lost/killed", "redis-lost/deleted", "redis-lost/hung", "redis-lost/gone"];

/// Verdict by scenario id, from `report.json`.
fn verdicts(report: &Value) -> Vec<(String, String)> {
    let scenarios = report["scenarios"].as_array().expect("the report lists scenarios");
    scenarios
        .iter()
        .map(|one| (one["id"].as_str().unwrap().to_owned(), one["verdict"]["verdict"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn the_gate_is_green_on_the_good_build_and_its_report_renders_again_the_same() {
    let _alone = alone();
    let place = Place::new();
    let ended = place.run(["gate"]).expect_code(0);
    let report = place.report();
    let verdicts = verdicts(&report);
    assert!(verdicts.iter().all(|(_, verdict)| verdict == "pass"), "{verdicts:?}");
    for variant in VARIANTS.into_iter().chain(["llm-key-bad/wrong", "llm-unavailable/hang"]) {
        assert!(verdicts.iter().any(|(id, _)| id == variant), "{variant} is not part of the gate: {verdicts:?}");
    }
    assert!(ended.stdout.contains("rehearsed on embedded"), "{}", ended.stdout);

    for (format, file) in
        [("json", "report.json"), ("markdown", "report.md"), ("junit", "junit.xml"), ("html", "report.html")]
    {
        let written = std::fs::read_to_string(place.runs().join("latest").join(file)).unwrap();
        let again = place.run(["report", "latest", "--format", format]).expect_code(0).stdout;
        assert_eq!(again.trim_end(), written.trim_end(), "{file}");
    }

    let scenarios = report["scenarios"].as_array().unwrap();
    let hung = scenarios.iter().find(|one| one["id"] == "redis-lost/hung").unwrap();
    let steps = hung["remedy"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "the hung Redis has two remedy steps");
    assert_eq!(steps[0]["recovered"], false, "a restart by rollout does not replace a pod that is not ready");
    assert_eq!(steps[1]["recovered"], true);
    let journal = std::fs::read_to_string(place.runs().join("latest/journal.ndjson")).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_hung: Vec<Value> = lines.filter(|line| line["scenario"] == "redis-lost/hung").collect();
    let first = |is_it: &dyn Fn(&Value) -> bool| of_hung.iter().position(|line| is_it(&line["what"])).unwrap();
    let second_step = first(&|what| what["step-sent"]["step"] == 1);
    let ends = first(&|what| what["pod-seen"]["name"] == "redis-0" && what["pod-seen"]["terminating"] == true);
    assert!(second_step < ends, "the pod was ended by step 2, not by the restart before it");
}

#[test]
fn a_build_that_never_reconnects_is_red_in_every_variant() {
    let _alone = alone();
    let place = Place::new();
    // Side by side: the budget is the runbook's, and waiting for it four times takes five minutes.
    place.run(["gate", "redis-lost", "--build", "never-reconnects", "--lanes", "4"]).expect_code(1);
    let report = place.report();
    assert_eq!(verdicts(&report), VARIANTS.map(|variant| (variant.to_owned(), "fail".to_owned())));
    for scenario in report["scenarios"].as_array().unwrap() {
        assert!(scenario["fault-proven"] == true, "it is red because it did not recover: {scenario}");
        assert!(scenario["lane"]["namespace"].is_string(), "{scenario}");
    }
}

#[test]
fn a_fault_that_does_not_bite_is_inconclusive() {
    let _alone = alone();
    let place = Place::new();
    let scenarios = project().join("tests/scenarios/no-bite");
    let ended = place.run(["gate", "--scenarios", scenarios.to_str().unwrap(), "--suite", "no-bite"]).expect_code(3);
    let report = place.report();
    let verdicts = verdicts(&report);
    assert!(!verdicts.is_empty() && verdicts.iter().all(|(_, verdict)| verdict == "inconclusive"), "{verdicts:?}");
    assert!(ended.stdout.contains("no proof"), "{}", ended.stdout);
}

#[test]
fn clients_that_are_cut_off_are_measured_and_what_a_load_balancer_is_set_to_is_said() {
    let _alone = alone();
    let place = Place::new();
    let scenarios = project().join("tests/scenarios/traffic");
    place.run(["gate", "--scenarios", scenarios.to_str().unwrap(), "--suite", "traffic"]).expect_code(1);
    let report = place.report();
    let expect = [("refused", "pass"), ("silent", "pass"), ("slow", "fail"), ("annotated", "inconclusive")];
    let expect = expect.map(|(variant, verdict)| (format!("traffic/{variant}"), verdict.to_owned()));
    assert_eq!(verdicts(&report), expect);
    // The pods were asked past the proxy, and were well all the time.
    let symptoms =
        report["scenarios"].as_array().unwrap().iter().map(|scenario| scenario["symptom"]["subject"].as_str());
    let service = Some("the service");
    assert_eq!(symptoms.collect::<Vec<_>>(), [service, service, service, None]);
    let text = std::fs::read_to_string(place.runs().join("latest/journal.ndjson")).unwrap();
    for said in [
        "are idle for 5m (as its annotation says); time is scaled: it acts as 30s, 10 times shorter",
        "idle for 1m (as its annotation says); time is scaled: it acts as 6s",
        "annotation nginx.ingress.kubernetes.io/proxy-read-timeout of ingress/hsc-jit set to `300`",
        "lifted: bytes arrive 800ms later",
    ] {
        assert!(text.contains(said), "`{said}` is nowhere in the journal");
    }
}

#[test]
fn a_build_whose_health_check_is_costly_shows_our_own_effect_and_not_a_failure() {
    let _alone = alone();
    let place = Place::new();
    let ended = place.run(["gate", "redis-lost/killed", "--build", "costly-health"]).expect_code(3);
    assert_eq!(verdicts(&place.report()), [(VARIANTS[0].to_owned(), "inconclusive".to_owned())]);
    assert!(ended.stdout.contains("observer effect"), "{}", ended.stdout);
}

#[test]
fn a_release_that_is_slow_to_start_is_not_rolled_back() {
    let _alone = alone();
    let place = Place::new();
    place.run(["gate", "redis-lost/deleted", "--build", "slow-start"]).expect_code(0);
    assert_eq!(verdicts(&place.report()), [("redis-lost/deleted".to_owned(), "pass".to_owned())]);
}
