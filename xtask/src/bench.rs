//! `bench`: this project's own figures, beside their targets.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use harness::clock::RunClock;

use crate::develop::cargo;
use crate::say;

/// Measure this project's own figures.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Only these of `commands`, `truth`, `fold`, `proxy` and `sockets`.
    #[arg(value_enum, value_name = "NAME")]
    only: Vec<Figures>,
    /// How many outages `truth` makes.
    #[arg(long, default_value_t = 1000)]
    trials: usize,
    /// How often each command is run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Figures {
    /// What a person waits for: help, a lint, a cluster, the whole stack, a deploy that changes nothing.
    Commands,
    /// Whether the truth lies inside the measured interval.
    Truth,
    /// How fast events are folded.
    Fold,
    /// What the fault proxy adds to a round trip, and how fast an order reaches live connections.
    Proxy,
    /// How punctual the load is while it holds 2,000 WebSockets and sends 500 requests a second.
    Sockets,
}

pub(crate) fn bench(command: &Bench) -> anyhow::Result<ExitCode> {
    let wants = |figures| command.only.is_empty() || command.only.contains(&figures);
    if wants(Figures::Commands) {
        commands(command.rounds)?;
    }
    let benchmark = |name: &str| {
        // In the profile that people run: a second build of everything would measure another program.
        let trials = command.trials.to_string();
        let arguments = ["bench", "--quiet", "--package", "harness", "--profile", "dev", "--bench", name];
        cargo(&arguments, &[("TRIALS", &trials)])
    };
    if wants(Figures::Truth) {
        benchmark("truth")?;
    }
    if wants(Figures::Fold) {
        benchmark("fold")?;
    }
    if wants(Figures::Proxy) {
        benchmark("proxy")?;
    }
    if wants(Figures::Sockets) {
        // It starts a backend of the stand-in.
        cargo(&["build", "--quiet", "--package", "standin"], &[])?;
        benchmark("sockets")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One figure: what was measured, how long it may take, and how long it took each time.
struct Figure {
    name: &'static str,
    target: Duration,
    took: Vec<Duration>,
}

impl Figure {
    fn new(name: &'static str, target_millis: u64) -> Self {
        Self { name, target: Duration::from_millis(target_millis), took: Vec::new() }
    }

    /// `median 7 ms, worst 9 ms of 10 (target 20 ms: within)`; judged by the median, because a
    /// machine that does something else meanwhile is no fault of the program.
    fn line(&self) -> String {
        let mut took = self.took.clone();
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let judged = if median <= self.target { "within" } else { "OVER" };
        let millis = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
        format!(
            "{:<44} median {:>8}, worst {:>8} of {:>2}  (target {}: {judged})",
            self.name,
            millis(median),
            millis(worst),
            took.len(),
            millis(self.target),
        )
    }
}

/// How many scenario files are linted at once.
const LINTED: usize = 100;

/// Measures commands as a user runs them, in a state directory of their own.
fn commands(rounds: u32) -> anyhow::Result<()> {
    let state = State::new()?;
    let scenarios = state.scenarios(Path::new("scenarios"))?;
    let lint: Vec<&str> = ["lint"].into_iter().chain(scenarios.iter().map(String::as_str)).collect();
    let mut help = Figure::new("xtask --help", 20);
    let mut linted = Figure::new("100 scenario files linted", 100);
    let mut up = Figure::new("embedded API ready (cluster up)", 300);
    let mut stack = Figure::new("whole stack ready (cluster up, first deploy)", 8_000);
    let mut again = Figure::new("nothing changed: build, push, deploy", 2_000);
    state.run(&["push"])?;
    for _ in 0..rounds {
        help.took.push(state.run(&["--help"])?);
        linted.took.push(state.run(&lint)?);
        let started = state.run(&["cluster", "up"])?;
        let deployed = state.run(&["deploy"])?;
        again.took.push(state.run(&["deploy"])?);
        state.run(&["cluster", "down"])?;
        up.took.push(started);
        stack.took.push(started + deployed);
    }
    [help, linted, up, stack, again].iter().try_for_each(|figure| say::result(figure.line()))?;
    Ok(())
}

/// A state directory; the cluster in it ends, and the directory goes, when this is dropped.
struct State {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl State {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, directory: tempfile::tempdir()? })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("XDG_STATE_HOME", self.path()).env_remove("KUBECONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies of the project's scenario files, each under a name of its own.
    fn scenarios(&self, directory: &Path) -> anyhow::Result<Vec<String>> {
        let entries =
            std::fs::read_dir(directory).with_context(|| format!("failed to list `{}`", directory.display()))?;
        let mut originals = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                originals.push(
                    std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?,
                );
            }
        }
        anyhow::ensure!(!originals.is_empty(), "`{}` has no scenario file", directory.display());
        let copy = |(number, original): (usize, &String)| {
            let path = self.path().join(format!("{number}.yaml"));
            std::fs::write(&path, original.replacen("\nname: ", &format!("\nname: copy-{number}-of-"), 1))?;
            Ok(path.display().to_string())
        };
        originals.iter().cycle().take(LINTED).enumerate().map(copy).collect()
    }

    /// Runs this program; how long that took.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<Duration> {
        let clock = RunClock::start();
        let output = self.command(arguments).output().context("failed to start this program again")?;
        let took = Duration::from_nanos(clock.now().nanos());
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`xtask {}` failed: {}", arguments.join(" "), said.trim_end());
        Ok(took)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = self.command(&["cluster", "down"]).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median() {
        let check = |millis: &[u64], expect: &str| {
            let took = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
            let figure = Figure { name: "help", target: Duration::from_millis(20), took };
            let line = figure.line();
            assert!(line.ends_with(expect), "{line}");
        };
        check(&[7, 8, 30], "median     8 ms, worst    30 ms of  3  (target 20 ms: within)");
        check(&[7, 21, 30], "median    21 ms, worst    30 ms of  3  (target 20 ms: OVER)");
    }
}
