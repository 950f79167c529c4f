//! Dropped WebSockets: red on the builds that do not take them back or do not let them go.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::path::PathBuf;

use gameday_tests::{Place, project};
use serde_json::Value;

/// The scenario with a shorter budget: a build that never takes a client back is red by any budget,
/// and waiting for the real one six times shows nothing more.
fn shortened(place: &Place) -> PathBuf {
    let text = std::fs::read_to_string(project().join("scenarios/websockets-dropped.yaml")).unwrap();
    assert!(text.contains("max: 30s"), "the budgets are where they are shortened");
    let directory = place.path().join("scenarios");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("websockets-dropped.yaml"), text.replace("max: 30s", "max: 8s")).unwrap();
    directory
}

fn scenarios(report: &Value) -> Vec<Value> {
    report["scenarios"].as_array().expect("the report lists scenarios").clone()
}

#[test]
fn a_build_that_refuses_returning_clients_is_red_in_every_variant() {
    let place = Place::new();
    let directory = shortened(&place);
    let directory = directory.to_str().unwrap();
    place.run(["gate", "websockets-dropped", "--scenarios", directory, "--build", "refuses-returning"]).expect_code(1);
    let scenarios = scenarios(&place.report());
    assert_eq!(scenarios.len(), 6);
    for scenario in scenarios {
        assert_eq!(scenario["verdict"]["verdict"], "fail", "{scenario}");
        assert_eq!(scenario["fault-proven"], true, "it is red because its sockets did not come back: {scenario}");
        let sockets = &scenario["sockets"];
        assert!(sockets["open-at-end"].as_u64() < sockets["held"].as_u64(), "{sockets}");
    }
}

#[test]
fn a_build_that_counts_sockets_that_are_gone_is_red() {
    let place = Place::new();
    let directory = shortened(&place);
    let directory = directory.to_str().unwrap();
    let command = ["gate", "websockets-dropped/reset", "--scenarios", directory, "--build", "leaks-sockets"];
    place.run(command).expect_code(1);
    let [scenario] = scenarios(&place.report()).try_into().unwrap();
    assert_eq!((&scenario["verdict"]["verdict"], &scenario["fault-proven"]), (&"fail".into(), &true.into()));
    assert_eq!(scenario["sockets"]["open-at-end"], 200, "all sockets are back, and the gauge is what is red");
}
