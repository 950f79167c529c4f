//! The program `kind`.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::files::Files;
use super::{KindError, Tell};

/// How long making a cluster may take, its node image being there.
const CREATE_WITHIN: Duration = Duration::from_secs(600);
/// How long anything else may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How many lines of what it said are kept.
const LINES_MAX: usize = 40;

/// Which `kind` is installed.
///
/// # Errors
/// [`KindError::NoProgram`], [`KindError::Program`].
pub async fn version() -> Result<String, KindError> {
    let version = answer(&["version"]).await?;
    Ok(version.trim().to_owned())
}

/// The kubeconfig of a cluster that stands.
pub(super) async fn kubeconfig(name: &str) -> Result<String, KindError> {
    answer(&["get", "kubeconfig", "--name", name]).await
}

/// Makes a cluster; its kubeconfig is what is written last. Dropping the future kills the program.
/// It holds the lock as well, so that nobody begins while it lives, whatever became of us.
pub(super) async fn create(files: &Files, name: &str, lock: File, tell: Tell<'_>) -> Result<(), KindError> {
    let (config, kubeconfig) = (files.config(), files.kubeconfig());
    let (config, kubeconfig) = (config.display().to_string(), kubeconfig.display().to_string());
    let arguments = ["create", "cluster", "--name", name, "--config", &config, "--kubeconfig", &kubeconfig];
    let command = format!("kind {}", arguments[..4].join(" "));
    let mut child = kind(&arguments)
        .stdin(Stdio::from(lock))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| unstarted(&command, &error))?;
    let mut lines = BufReader::new(child.stderr.take().expect("it was asked for as a pipe")).lines();
    let mut said = Vec::new();
    let running = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(step) = step(&line) {
                tell(step);
            }
            said.push(line);
            said.drain(..said.len().saturating_sub(LINES_MAX));
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(CREATE_WITHIN, running).await;
    let failed = |said: String| KindError::Program { command: command.clone(), said };
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("{status}: {}", reason(&said)))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end within {} s; last said: {}", CREATE_WITHIN.as_secs(), reason(&said)))),
    }
}

/// Runs it for what it prints.
async fn answer(arguments: &[&str]) -> Result<String, KindError> {
    let command = format!("kind {}", arguments.join(" "));
    let failed = |said: String| KindError::Program { command: command.clone(), said };
    let running = kind(arguments).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(ANSWER_WITHIN, running)
        .await
        .map_err(|_| failed(format!("no end within {} s", ANSWER_WITHIN.as_secs())))?
        .map_err(|error| unstarted(&command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said: Vec<_> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    Err(failed(format!("{}: {}", output.status, reason(&said))))
}

fn kind(arguments: &[&str]) -> Command {
    let mut command = Command::new("kind");
    // The engine that we talk to is Docker; kind could take another one where it finds several.
    command.args(arguments).env("KIND_EXPERIMENTAL_PROVIDER", "docker").kill_on_drop(true);
    command
}

fn unstarted(command: &str, error: &io::Error) -> KindError {
    match error.kind() {
        io::ErrorKind::NotFound => KindError::NoProgram,
        _ => KindError::Program { command: command.to_owned(), said: error.to_string() },
    }
}

/// The step that a line says is done, without its ornaments.
fn step(line: &str) -> Option<&str> {
    let done = line.trim_start().strip_prefix('✓')?;
    Some(done.trim_matches(|letter: char| !letter.is_ascii() || letter.is_whitespace()))
}

/// Why it failed: its own error, and after that the last thing a program of its own said.
fn reason(said: &[String]) -> String {
    let error = said.iter().rev().find_map(|line| line.strip_prefix("ERROR: "));
    let last = said.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
    match (error, last) {
        (Some(error), Some(last)) if !last.ends_with(error) => format!("{error}; {last}"),
        (Some(error), _) => error.to_owned(),
        (None, Some(last)) => last.to_owned(),
        (None, None) => "it said nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_done_are_told_without_ornaments() {
        for (line, expect) in [
            (" ✓ Preparing nodes 📦 📦 📦 ", Some("Preparing nodes")),
            (" ✓ Starting control-plane 🕹️", Some("Starting control-plane")),
            (" • Writing configuration 📜  ...", None),
            ("Set kubectl context to \"kind-a\"", None),
            ("", None),
        ] {
            assert_eq!(step(line), expect, "{line}");
        }
    }

    #[test]
    fn the_reason_is_the_error_and_what_stood_behind_it() {
        let check = |said: &str, expect: &str| {
            let said: Vec<_> = said.lines().map(str::to_owned).collect();
            assert_eq!(reason(&said), expect);
        };
        check("", "it said nothing");
        check(" • Preparing\n\n", "• Preparing");
        check("ERROR: failed to create cluster: no", "failed to create cluster: no");
        check(
            "ERROR: command \"docker run\" failed\n\nCommand Output: port is taken",
            "command \"docker run\" failed; Command Output: port is taken",
        );
    }
}
