//! The pure rooms stay pure: they name no runtime, no cluster, no file system and no clock.

use std::path::{Path, PathBuf};

/// What is pure, below `src`.
const PURE: [&str; 14] = [
    "access.rs",
    "soak",
    "checklist",
    "scenario",
    "event.rs",
    "event",
    "duration.rs",
    "outcome",
    "verdict.rs",
    "verdict",
    "report",
    "runbook",
    "statistics",
    "reference.rs",
];

/// Words of effects. `std::time::Duration` and `std::process::ExitCode` are values.
const EFFECTS: [&str; 22] = [
    "tokio",
    "kube::",
    "k8s_openapi",
    "hyper",
    "rustix",
    "tempfile",
    "fastrand",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process::Command",
    "std::io::stdout",
    "println!",
    "Instant",
    "SystemTime",
    "::now()",
    "crate::clock",
    "crate::cluster",
    "crate::engine",
    "crate::journal",
    "crate::system",
];

/// The effects that a source text names outside its comments, each with its line.
fn effects(text: &str) -> Vec<(usize, &'static str)> {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    let lines = text.lines().map(code).enumerate();
    let in_line = |(number, line): (usize, String)| {
        let named = EFFECTS.into_iter().filter(move |effect| names(&line, effect));
        named.map(move |effect| (number + 1, effect))
    };
    lines.flat_map(in_line).collect()
}

/// Whether a line has the word, and not only as part of a longer one.
fn names(line: &str, effect: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(effect).any(|(place, _)| {
        let starts = !effect.starts_with(is_part) || !line[..place].ends_with(is_part);
        let ends = !effect.ends_with(is_part) || !line[place + effect.len()..].starts_with(is_part);
        starts && ends
    })
}

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| sources(&entry.expect("a directory that was opened can be read").path())).collect()
}

#[test]
fn pure_rooms_name_no_effects() {
    let mut found = Vec::new();
    for room in PURE {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room));
        assert!(!sources.is_empty(), "{room} is empty");
        for path in sources.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let text = std::fs::read_to_string(path).unwrap();
            found.extend(
                effects(&text).into_iter().map(|(line, effect)| format!("{}:{line}: {effect}", path.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_effect_is_found() {
    #[track_caller]
    fn check(text: &str, expect: &[(usize, &str)]) {
        assert_eq!(effects(text), expect, "{text}");
    }
    check("use tokio::sync::mpsc;", &[(1, "tokio")]);
    check("let x = 1;\nlet y = std::fs::read(path);", &[(2, "std::fs")]);
    check("let started = Instant::now();", &[(1, "Instant"), (1, "::now()")]);
    check("use kube::Client;", &[(1, "kube::")]);
    check("use crate::system::System;", &[(1, "crate::system")]);
    check("jiff::Timestamp::now()", &[(1, "::now()")]);
    check("// tokio::spawn is for others\n/// and so is std::fs", &[]);
    check("\"kubectl delete pod redis-0\"", &[]);
    check("let instant = Instantly;", &[]);
    check("use std::time::Duration;", &[]);
}

/// The test above is only worth something where the rooms with effects would not pass it.
#[test]
fn rooms_with_effects_are_told_apart() {
    let clock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clock.rs")).unwrap();
    assert!(!effects(&clock).is_empty());
}
