//! The command line as people and programs meet it: what is printed where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::io::Read;
use std::process::{Command, Stdio};

use gameday_tests::{Ended, Place};
use serde_json::Value;

/// Exit code and both channels, for a snapshot.
fn shown(ended: &Ended) -> String {
    format!("exit code {}\n--- stdout\n{}--- stderr\n{}", ended.code, ended.stdout, ended.stderr)
}

/// Runs a command in a place of its own.
fn run(arguments: &[&str]) -> Ended {
    let place = Place::new();
    let mut ended = place.run(arguments);
    // Help shows what a variable is set to.
    ended.stdout = ended.stdout.replace(place.path().to_str().unwrap(), "[place]");
    ended
}

#[test]
fn what_people_read_first_is_as_reviewed() {
    let rows: [(&str, &[&str]); 11] = [
        ("help", &["--help"]),
        ("help_gate", &["gate", "--help"]),
        ("help_cluster_up", &["cluster", "up", "--help"]),
        ("list", &["list"]),
        ("list_filtered", &["list", "--filter", "hung"]),
        ("plan_hung", &["plan", "redis-lost/hung"]),
        ("plan_gone", &["plan", "redis-lost/gone"]),
        ("lint", &["lint"]),
        ("lint_quiet", &["lint", "--quiet"]),
        ("unknown_command", &["gaet"]),
        ("unknown_scenario", &["gate", "redis-found"]),
    ];
    for (name, arguments) in rows {
        insta::assert_snapshot!(name, shown(&run(arguments)));
    }
}

#[test]
fn every_command_is_in_the_help_and_has_help_of_its_own() {
    let help = run(&["--help"]).expect_code(0).stdout;
    for command in [
        "gate",
        "run",
        "list",
        "plan",
        "lint",
        "schema",
        "build",
        "push",
        "deploy",
        "rollback",
        "smoke",
        "soak",
        "checklist",
        "heal",
        "report",
        "cluster",
        "doctor",
        "test",
        "bench",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.split_whitespace().next() == Some(command)), "no `{command}` in\n{help}");
        let own = run(&[command, "--help"]).expect_code(0);
        assert!(own.stdout.contains(&format!("Usage: cargo xtask {command}")), "{own:?}");
        assert_eq!(own.stderr, "", "{command}: help that was asked for is a result");
    }
}

/// Commands that end quickly, with their results as JSON, and a pointer to a part of them.
const JSON: [(&[&str], i32, &str); 6] = [
    (&["list"], 0, "/0/id"),
    (&["plan"], 0, "/0/promise/says"),
    (&["lint"], 0, "/valid/3"),
    (&["heal"], 0, "/healed"),
    (&["heal", "--dry-run"], 0, "/left"),
    (&["cluster", "down"], 0, "/state"),
];

#[test]
fn results_as_json_are_json_and_stand_alone_on_standard_output() {
    for (command, code, pointer) in JSON {
        let ended = run(&[command, &["--output", "json"]].concat()).expect_code(code);
        let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(json.pointer(pointer).is_some(), "{command:?}: no {pointer} in {json:#}");
    }
    // Whether this machine lacks something is not the question here.
    let doctor = run(&["doctor", "--output", "json"]);
    let findings: Value = serde_json::from_str(&doctor.stdout).unwrap();
    assert_eq!(findings.pointer("/0/name"), Some(&Value::from("toolchain")), "{findings:#}");
    let schema: Value = serde_json::from_str(&run(&["schema"]).expect_code(0).stdout).unwrap();
    assert!(schema.get("$schema").is_some(), "{schema:#}");
}

#[test]
fn a_standing_cluster_is_told_as_json_and_for_a_shell() {
    let place = Place::new();
    let json = |command: &str| -> Value {
        let ended = place.run(["cluster", command, "--output", "json"]).expect_code(0);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let up = json("up");
    assert!(up["server"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{up:#}");
    assert_eq!(json("status")["pid"], up["pid"]);
    assert_eq!(json("up")["state"], "runs already");
    let said = place.run(["cluster", "status"]).expect_code(0).stdout;
    let kubeconfig = said.lines().find_map(|line| line.strip_prefix("export KUBECONFIG=")).unwrap();
    assert!(std::path::Path::new(kubeconfig).is_file(), "{said}");
    assert_eq!(json("down")["state"], "stopped");
    place.run(["cluster", "status"]).expect_code(6);
}

#[test]
fn release_steps_print_what_they_made_and_nothing_else_on_standard_output() {
    let place = Place::new();
    let cluster = place.cluster();
    let json = |command: &[&str]| -> Value {
        let ended = place.run([command, &["--output", "json"]].concat()).expect_code(0);
        assert!(!ended.stderr.is_empty(), "{command:?} tells what it does");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{command:?}: {error} in {}", ended.stdout))
    };
    for command in ["build", "push"] {
        let made = json(&[command]);
        let images = made["images"].as_array().unwrap();
        let backend = images.iter().filter_map(Value::as_str).find(|image| image.starts_with("hsc-jit-backend:"));
        let version = made["version"].as_str().unwrap();
        assert!(backend.is_some_and(|image| image.contains(version) && image.contains("@sha256:")), "{made:#}");
    }
    let report = json(&["deploy"]);
    let stages: Vec<_> = report["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(stages, ["build", "push", "deploy"]);
    assert!(json(&["smoke"]).as_array().unwrap().len() > json(&["smoke", "--quick"]).as_array().unwrap().len());
    let ended = place.run(["smoke", "--quiet"]).expect_code(0);
    assert!(ended.stdout.ends_with("checks passed\n") && ended.stderr.is_empty(), "{ended:?}");

    // There is nothing to go back to yet.
    let ended = place.run(["rollback"]).expect_code(8);
    assert!(ended.stderr.contains(" hint: `kubectl rollout history`"), "{ended:?}");
    place.run(["deploy", "--previous"]).expect_code(0);
    let ended = place.run(["smoke", "--quick"]).expect_code(1);
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains(" hint: "), "another version runs: {ended:?}");
    let report = json(&["rollback"]);
    let facts = &report["stages"][0]["facts"];
    assert!(facts[0].as_str().unwrap().starts_with("deployment/backend is back"), "{report:#}");
    place.run(["smoke", "--quick"]).expect_code(0);
    drop(cluster);
}

#[test]
fn errors_and_narrative_stand_on_standard_error_only() {
    for command in [&["gate", "redis-found"][..], &["smoke"], &["report"], &["cluster", "status"], &["gaet"]] {
        let ended = run(command);
        assert_ne!(ended.code, 0, "{command:?}");
        assert_eq!(ended.stdout, "", "{command:?}");
        assert!(ended.stderr.contains("error: "), "{command:?}: {}", ended.stderr);
    }
    for command in [&["list"][..], &["plan"], &["lint"], &["schema"], &["completions", "bash"]] {
        let ended = run(command).expect_code(0);
        assert!(!ended.stdout.is_empty() && ended.stderr.is_empty(), "{command:?}: {ended:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).expect_code(0).stdout;
        for word in ["gate", "rollback", "--suite"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: no {word}");
        }
    }
}

#[test]
fn there_is_no_escape_code_where_nobody_wants_one() {
    for settings in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "dumb")], &[("CI", "true")]] {
        for command in [&["--help"][..], &["list"], &["gate", "redis-found"], &["gaet"], &["doctor"]] {
            let place = Place::new();
            let ended = Ended::of(place.xtask(command).envs(settings.iter().copied()));
            for (channel, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
                assert!(!text.contains('\u{1b}'), "{command:?} with {settings:?} on {channel}: {text:?}");
            }
        }
    }
}

/// What a command prints on a terminal of its own, as `script` of util-linux gives it one.
fn on_a_terminal(settings: &str, arguments: &str) -> String {
    let place = Place::new();
    let xtask = place.xtask([""; 0]);
    let mut command = Command::new("script");
    command.args([
        "-qec",
        &format!("env {settings} {} {arguments}", xtask.get_program().to_str().unwrap()),
        "/dev/null",
    ]);
    let environment = xtask.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    command.envs(environment.collect::<Vec<_>>()).current_dir(gameday_tests::project());
    // CI systems show colours, so there a dumb terminal gets them as well.
    command.env_remove("CI").env_remove("NO_COLOR").env("TERM", "xterm-256color").stdin(Stdio::null());
    Ended::of(&mut command).stdout
}

#[test]
fn a_terminal_gets_colour_unless_it_is_told_otherwise() {
    assert!(on_a_terminal("A=b", "gaet").contains("\u{1b}["), "clap colours its errors");
    for settings in ["NO_COLOR=1", "TERM=dumb"] {
        let text = on_a_terminal(settings, "gaet");
        assert!(text.contains("error: ") && !text.contains('\u{1b}'), "{settings}: {text:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_changes_nothing() {
    for command in [&["list"][..], &["plan", "--output", "json"], &["schema"], &["completions", "bash"], &["doctor"]] {
        let place = Place::new();
        let expected = place.run(command).code;
        let mut child = place.xtask(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
}
