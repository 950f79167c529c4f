//! `test` and `bench`: what the people who work on this project run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

/// Format, lints and every test: what CI runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Passed on to the test programs, such as a filter.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Measure this project's own figures.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Passed on to the benchmarks, such as a filter.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Sums of `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

pub(crate) fn test(command: &Test) -> anyhow::Result<ExitCode> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    // End-to-end tests run the programs as a user would.
    cargo(&["build", "--workspace", "--bins", "--quiet"])?;
    let mut child = program()
        .args(["test", "--workspace", "--no-fail-fast", "--"])
        .args(&command.rest)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start cargo test")?;
    let mut tally = Tally::default();
    let stdout = child.stdout.take().context("failed to read cargo test")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read cargo test")?;
        tally.add(&line);
        writeln!(std::io::stdout(), "{line}")?;
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    let Tally { passed, failed, ignored } = tally;
    println!("{passed} passed, {failed} failed, {ignored} skipped");
    Ok(if status.success() && failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn bench(command: &Bench) -> anyhow::Result<ExitCode> {
    // In the profile that people run: a second build of everything would measure another program.
    let mut arguments =
        vec!["bench", "--package", "harness", "--profile", "dev", "--bench", "truth", "--bench", "fold", "--"];
    arguments.extend(command.rest.iter().map(String::as_str));
    cargo(&arguments)?;
    Ok(ExitCode::SUCCESS)
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
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = program().args(arguments).status().context("failed to start cargo")?;
    anyhow::ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}

fn program() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::Tally;

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
}
