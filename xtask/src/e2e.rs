//! `e2e`: a cluster, the gate on it, the contracts on it, and the cluster away again.

use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use harness::clock::RunClock;
use harness::verdict::Exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::contract::IMAGE;
use crate::fail::Failure;
use crate::gate::Sort;
use crate::{Output, Shared, say, signals};

/// The name of its cluster where none is said: none that somebody works with.
const NAME: &str = "e2e";

/// Start a cluster, run the gate and the contracts on it, and take it away, whatever came of them.
#[derive(Debug, clap::Args)]
pub(crate) struct EndToEnd {
    /// Sort of cluster.
    #[arg(long, value_enum, default_value_t = Sort::Embedded)]
    cluster: Sort,
    /// Name of the cluster. It is taken away in the end.
    #[arg(long, default_value = NAME, value_parser = crate::cluster::name)]
    name: String,
    /// Only contracts whose name contains this.
    #[arg(long, value_name = "TEXT")]
    contracts: Option<String>,
    /// Passed on to the gate, such as `--suite core` or a scenario's name.
    #[arg(last = true)]
    gate: Vec<String>,
}

/// One command of the way, and how it ended.
struct Stage {
    name: &'static str,
    exit: Exit,
    took: Duration,
}

/// What starts the commands of the way: this program, as a person would.
struct Way<'a> {
    command: &'a EndToEnd,
    shared: &'a Shared,
    cancel: CancellationToken,
    stages: Vec<Stage>,
}

pub(crate) fn end_to_end(command: &EndToEnd, shared: &Shared) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stages, stopped) = runtime.block_on(async {
        let (cancel, signal) = signals::cancelled_by_signals()?;
        let mut way = Way { command, shared, cancel: cancel.clone(), stages: Vec::new() };
        let went = way.go().await;
        // Whatever happened, the cluster goes; a signal does not keep it.
        way.cancel = CancellationToken::new();
        let down = way.stage("down", &["cluster", "down"], &[]).await;
        went.and(down)?;
        let by = if signal.terminated() { Exit::Terminated } else { Exit::Interrupted };
        let stopped = cancel.is_cancelled().then_some(by);
        anyhow::Ok((way.stages, stopped))
    })?;
    tell(&stages, shared)?;
    let exit = stages.iter().map(|stage| stage.exit).chain(stopped).fold(Exit::Pass, Exit::worst);
    Ok(ExitCode::from(exit.code()))
}

impl Way<'_> {
    /// Up, gate, contracts. A gate that fails is no reason not to hear the contracts.
    async fn go(&mut self) -> anyhow::Result<()> {
        if self.stage("up", &["cluster", "up"], &[]).await? != Exit::Pass {
            return Ok(());
        }
        let gate = self.command.gate.clone();
        self.stage("gate", &["gate"], &gate).await?;
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let arguments = match self.contract_arguments().await {
            Ok(arguments) => arguments,
            Err(error) => {
                say::narrative(format!("error: failed to prepare the contracts: {error:#}"));
                self.stages.push(Stage { name: "contract", exit: Exit::Environment, took: Duration::ZERO });
                return Ok(());
            }
        };
        self.carry_out("contract", self.program(&arguments)?).await.map(drop)
    }

    /// A command about this way's cluster.
    async fn stage(&mut self, name: &'static str, words: &[&str], rest: &[String]) -> anyhow::Result<Exit> {
        let mut arguments = self.on_cluster(words);
        arguments.extend_from_slice(rest);
        let command = self.program(&arguments)?;
        self.carry_out(name, command).await
    }

    fn on_cluster(&self, words: &[&str]) -> Vec<String> {
        let sort = match self.command.cluster {
            Sort::Embedded => "embedded",
            Sort::Kind => "kind",
        };
        let place = ["--cluster", sort, "--name", &self.command.name];
        words.iter().chain(&place).map(|word| (*word).to_owned()).collect()
    }

    /// The contracts know nothing of clusters but a context, and take an image from where it pulls.
    async fn contract_arguments(&self) -> anyhow::Result<Vec<String>> {
        let status = self.read(&self.on_cluster(&["cluster", "status"])).await?;
        let kubeconfig = status["kubeconfig"].as_str().context("`cluster status` names no kubeconfig")?;
        let pushed = self.read(&self.on_cluster(&["push"])).await?;
        let mut images = pushed["images"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let image = images.find(|image| image.contains(IMAGE)).context("`push` names no image with a shell")?;
        let sort = match self.command.cluster {
            Sort::Embedded => "gameday",
            Sort::Kind => "kind",
        };
        let context = format!("{sort}-{}", self.command.name);
        let mut arguments = vec!["contract", "--context", &context, "--kubeconfig", kubeconfig, "--image", image];
        if let Some(filter) = &self.command.contracts {
            arguments.extend(["--", "--filter", filter]);
        }
        Ok(arguments.into_iter().map(str::to_owned).collect())
    }

    /// This program with what was said to all commands.
    fn program(&self, arguments: &[String]) -> anyhow::Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.arg("--config").arg(&self.shared.config);
        command.args(self.shared.quiet.then_some("--quiet")).args(self.shared.verbose.then_some("--verbose"));
        // A key that is pressed reaches only us, and each command once.
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    /// What a command prints as JSON.
    async fn read(&self, arguments: &[String]) -> anyhow::Result<Value> {
        let mut command = self.program(arguments)?;
        command.args(["--output", "json"]).stdout(Stdio::piped());
        let child = command.spawn().context("start this program again")?;
        let pid = child.id();
        let ended = child.wait_with_output();
        let output = self.passing_on(pid, ended).await.context("wait for this program")?;
        anyhow::ensure!(output.status.success(), "`{}` ended with {}", arguments.join(" "), output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs a command to its end, which each of them bounds by itself.
    async fn carry_out(&mut self, name: &'static str, mut command: tokio::process::Command) -> anyhow::Result<Exit> {
        if !self.shared.quiet {
            say::narrative(format!("e2e: {name}"));
        }
        if let Output::Json = self.shared.output {
            // One result on standard output: the stages.
            command.stdout(std::io::stderr());
        }
        let clock = RunClock::start();
        let mut child = command.spawn().context("failed to start this program again")?;
        let pid = child.id();
        let status = self.passing_on(pid, child.wait()).await.context("failed to wait for this program")?;
        let exit = exit_of(status);
        self.stages.push(Stage { name, exit, took: Duration::from_nanos(clock.now().nanos()) });
        Ok(exit)
    }

    /// Waits for a command; the signal that stops us stops it as well, and it is waited for all the same.
    async fn passing_on<T>(&self, pid: Option<u32>, ended: impl Future<Output = T>) -> T {
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => return ended,
            () = self.cancel.cancelled() => {}
        }
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended in this moment.
            let _ = kill_process(pid, Signal::INT);
        }
        ended.await
    }
}

/// What a status means; one that no command of ours has is a bug.
fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Exit::BY_PRECEDENCE.into_iter().find(|exit| Some(exit.code()) == code).unwrap_or(Exit::Bug)
}

fn tell(stages: &[Stage], shared: &Shared) -> Result<(), Failure> {
    match shared.output {
        Output::Human => stages.iter().try_for_each(|stage| say::result(line(stage))),
        Output::Json => {
            let row = |stage: &Stage| json!({ "stage": stage.name, "exit": stage.exit.code(), "seconds": stage.took.as_secs_f64() });
            say::result(json!(stages.iter().map(row).collect::<Vec<_>>()))
        }
    }
}

fn line(stage: &Stage) -> String {
    let mark = if stage.exit == Exit::Pass { "ok    " } else { "FAILED" };
    let code = if stage.exit == Exit::Pass { String::new() } else { format!(", exit code {}", stage.exit.code()) };
    format!("{mark} {} ({:.1} s{code})", stage.name, stage.took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_status_is_an_exit_of_ours_or_a_bug() {
        let check = |raw: i32, expect: Exit| assert_eq!(exit_of(ExitStatus::from_raw(raw)), expect, "{raw}");
        check(0, Exit::Pass);
        check(1 << 8, Exit::GateFailed);
        check(6 << 8, Exit::Environment);
        check(130 << 8, Exit::Interrupted);
        check(77 << 8, Exit::Bug);
        check(9, Exit::Bug);
    }

    #[test]
    fn lines_say_what_failed_with_its_code() {
        let check = |exit: Exit, expect: &str| {
            assert_eq!(line(&Stage { name: "gate", exit, took: Duration::from_millis(1250) }), expect);
        };
        check(Exit::Pass, "ok     gate (1.2 s)");
        check(Exit::Inconclusive, "FAILED gate (1.2 s, exit code 3)");
    }
}
