//! The workflow of pull requests, as linters of workflows see it.

use std::process::Command;

use gameday_tests::{Ended, project, tell};

const WORKFLOW: &str = ".github/workflows/gate.yml";

/// Runs a linter in the project's root, where this machine has it.
fn lint(program: &str, arguments: &[&str]) {
    if !Command::new(program).arg("--version").output().is_ok_and(|tried| tried.status.success()) {
        tell(&format!("skipped: {WORKFLOW}: this machine has no {program}"));
        return;
    }
    let mut command = Command::new(program);
    Ended::of(command.args(arguments).arg(WORKFLOW).current_dir(project())).expect_code(0);
}

#[test]
fn actionlint_finds_nothing() {
    lint("actionlint", &["-no-color"]);
}

#[test]
fn zizmor_finds_nothing() {
    lint("zizmor", &["--offline", "--no-progress", "--color", "never"]);
}

/// A tag can be moved, and then runs with what a pull request may touch.
#[test]
fn every_action_is_pinned_by_commit_with_its_version_beside_it() {
    let text = std::fs::read_to_string(project().join(WORKFLOW)).expect("the workflow can be read");
    let used: Vec<_> = text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action).collect();
    assert!(!used.is_empty());
    for action in used {
        assert!(is_pinned(action), "{action}");
    }
}

fn is_pinned(action: &str) -> bool {
    let Some((place, version)) = action.split_once(" # v") else { return false };
    let commit = place.rsplit_once('@').map_or("", |(_, commit)| commit);
    commit.len() == 40 && commit.chars().all(|one| one.is_ascii_hexdigit()) && version.starts_with(char::is_numeric)
}

#[test]
fn tags_and_short_commits_are_no_pins() {
    let check = |action: &str, expect: bool| assert_eq!(is_pinned(action), expect, "{action}");
    let commit = "3d3c42e5aac5ba805825da76410c181273ba90b1";
    check(&format!("actions/checkout@{commit} # v7.0.1"), true);
    check(&format!("actions/checkout@{commit}"), false);
    check("actions/checkout@v7 # v7.0.1", false);
    check("actions/checkout@3d3c42e # v7.0.1", false);
    check("actions/checkout # v7.0.1", false);
}
