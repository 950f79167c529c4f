//! `test`: what CI runs, on one build of everything.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use harness::clock::RunClock;
use harness::run::evidence;
use serde_json::Value;

use crate::fail::Failure;
use crate::{Shared, say, scenario};

/// Packages and test programs that start clusters or time what they see, and are run with
/// nothing beside them.
const ALONE: [&str; 5] =
    ["gameday-tests", "embedded-cluster/node", "embedded-cluster/launch", "harness/truth", "standin/it"];
/// How many of the slowest test programs are named.
const SLOWEST: usize = 10;

/// Format, lints and every test: what CI runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Passed on to the test programs, such as a filter.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Sums of `test result:` lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// One compiled test program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    /// `package/target`.
    name: String,
    /// The package, where it runs.
    directory: PathBuf,
    path: PathBuf,
}

/// How a test program ended.
struct Ended {
    name: String,
    took: Duration,
    tally: Tally,
    succeeded: bool,
    /// What it says it could not test on this machine, and why.
    skipped: Vec<String>,
}

pub(crate) fn test(command: &Test, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = scenario::config(&shared.config)?;
    let source = evidence::source(&config.root);
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], &[])?;
    let programs = compiled()?;
    let (alone, beside): (Vec<_>, Vec<_>) = programs.into_iter().partition(Program::runs_alone);
    let mut ended =
        run_all(beside, std::thread::available_parallelism().map_or(1, std::num::NonZero::get), &command.rest)?;
    ended.extend(run_all(alone, 1, &command.rest)?);
    ended.sort_by_key(|one| std::cmp::Reverse(one.took));
    say::result("\nslowest test programs:")?;
    for one in ended.iter().take(SLOWEST) {
        say::result(format!("  {:>6.1} s  {}", one.took.as_secs_f64(), one.name))?;
    }
    for line in ended.iter().flat_map(|one| &one.skipped) {
        say::result(line)?;
    }
    for one in ended.iter().filter(|one| !one.succeeded) {
        say::result(format!("FAILED: {}", one.name))?;
    }
    let sum = ended.iter().fold(Tally::default(), |sum, one| sum.plus(one.tally));
    let Tally { passed, failed, ignored } = sum;
    say::result(format!("{passed} passed, {failed} failed, {ignored} skipped"))?;
    let crashed = ended.iter().any(|one| !one.succeeded && one.tally.failed == 0);
    let is_green = ended.iter().all(|one| one.succeeded) && failed == 0 && passed > 0;
    // A part of the tests says nothing about all of them.
    if command.rest.is_empty() {
        match source {
            Ok(source) => evidence::keep_tests(&config, source, passed, failed + u64::from(crashed), ignored)
                .map_err(Failure::from)?,
            Err(why) => say::narrative(format!("note: no evidence for the checklist is kept: {why}")),
        }
    }
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compiles every program and every test in one go, so that nothing is built with two sets of
/// features; end-to-end tests then find the programs as a user would run them.
fn compiled() -> anyhow::Result<Vec<Program>> {
    let mut child = program()
        .args(["test", "--workspace", "--bins", "--lib", "--tests", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start cargo test")?;
    let stdout = child.stdout.take().context("failed to read cargo test")?;
    let mut programs = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read cargo test")?;
        programs.extend(Program::read(&line));
    }
    anyhow::ensure!(child.wait().context("failed to wait for cargo test")?.success(), "the tests do not compile");
    cargo(&["build", "--workspace", "--bins", "--quiet"], &[])?;
    Ok(programs)
}

/// Runs programs, so many at a time; each prints as a whole when it ends.
fn run_all(programs: Vec<Program>, at_once: usize, rest: &[String]) -> anyhow::Result<Vec<Ended>> {
    let queue = Mutex::new(VecDeque::from(programs));
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || {
                while let Some(next) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
                    if done.send(next.run(rest)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        finished
            .iter()
            .map(|outcome| {
                let (ended, output) = outcome?;
                std::io::stdout().write_all(&output)?;
                Ok(ended)
            })
            .collect()
    })
}

impl Program {
    /// A test program from one line of cargo's messages.
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        let directory = manifest.parent()?.to_owned();
        // `path+file:///…/harness#0.1.0`, or `…/embedded#embedded-cluster@0.1.0`.
        let id = message["package_id"].as_str()?;
        let (place, version) = id.rsplit_once('#')?;
        let package = version.split_once('@').map_or_else(|| place.rsplit('/').next(), |(name, _)| Some(name))?;
        let target = message["target"]["name"].as_str()?;
        let path = PathBuf::from(message["executable"].as_str()?);
        Some(Self { name: format!("{package}/{target}"), directory, path })
    }

    fn runs_alone(&self) -> bool {
        let package = self.name.split('/').next().unwrap_or_default();
        ALONE.iter().any(|alone| *alone == self.name || *alone == package)
    }

    /// Runs it as cargo would; also what it printed.
    fn run(&self, rest: &[String]) -> anyhow::Result<(Ended, Vec<u8>)> {
        let clock = RunClock::start();
        let output = Command::new(&self.path)
            .args(rest)
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("failed to start {}", self.path.display()))?;
        let took = Duration::from_nanos(clock.now().nanos());
        let mut text = format!("\n     Running {}\n", self.name).into_bytes();
        text.extend_from_slice(&output.stdout);
        text.extend_from_slice(&output.stderr);
        let mut tally = Tally::default();
        String::from_utf8_lossy(&output.stdout).lines().for_each(|line| tally.add(line));
        let skipped = skipped(&String::from_utf8_lossy(&output.stderr));
        Ok((Ended { name: self.name.clone(), took, tally, succeeded: output.status.success(), skipped }, text))
    }
}

/// What a test program says it left out.
fn skipped(stderr: &str) -> Vec<String> {
    stderr.lines().filter(|line| line.starts_with("skipped: ")).map(str::to_owned).collect()
}

impl Tally {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let count = |word: &str| {
            let before = counts.split(word).next().and_then(|before| before.split_whitespace().next_back());
            before.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        self.passed += count(" passed");
        self.failed += count(" failed");
        self.ignored += count(" ignored");
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// Runs cargo to its end.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let status =
        program().args(arguments).envs(environment.iter().copied()).status().context("failed to start cargo")?;
    anyhow::ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}

pub(crate) fn program() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed_and_others_are_not() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test a::passed ... ok",
            "running 3 tests",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1 });
    }

    #[test]
    fn what_is_left_out_is_repeated_with_its_reason() {
        let said = "kubectl v1.36.2: ok\nskipped: a: no b\nit was skipped: no\nskipped: c: no d\n";
        assert_eq!(skipped(said), ["skipped: a: no b", "skipped: c: no d"]);
        assert_eq!(skipped(""), [""; 0]);
    }

    #[test]
    fn test_programs_are_read_from_cargo_s_messages() {
        let message = |id: &str, target: &str, is_test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "package_id": id, "manifest_path": "/p/a/Cargo.toml",
                "target": {"name": target}, "profile": {"test": is_test}, "executable": "/t/x-1",
            })
            .to_string()
        };
        let check = |line: &str, expect: Option<(&str, bool)>| {
            let found = Program::read(line);
            assert_eq!(found.as_ref().map(|one| (one.name.as_str(), one.runs_alone())), expect, "{line}");
        };
        check(&message("path+file:///p/harness#0.1.0", "outcome", true), Some(("harness/outcome", false)));
        check(&message("path+file:///p/tests#gameday-tests@0.1.0", "gate", true), Some(("gameday-tests/gate", true)));
        check(&message("path+file:///p/e#embedded-cluster@0.1.0", "node", true), Some(("embedded-cluster/node", true)));
        check(&message("path+file:///p/e#embedded-cluster@0.1.0", "api", true), Some(("embedded-cluster/api", false)));
        check(&message("path+file:///p/harness#0.1.0", "harness", false), None);
        check("not a message", None);
    }
}
