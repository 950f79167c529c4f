//! One run of a container: starting it, and what is known of it while it runs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::container_init::{Spec, hand_over};
use super::files::remove_tree;
use super::logs::Log;
use super::prober::Verdict;
use super::sandbox::Sandbox;
use super::{Live, Settings};
use crate::launch::Tool;

/// How long building a root file system may take.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long output may trickle in after the last process is gone.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// Longest termination message, in bytes.
const MESSAGE_MAX: usize = 4096;

/// A run that has begun.
#[derive(Debug)]
pub(super) struct Run {
    child: Child,
    /// What joining it needs.
    pub(super) live: Live,
    /// `gameday://` and 64 hexadecimal digits.
    pub(super) id: String,
    output: JoinSet<()>,
    /// Its startup and liveness probes; they end when it is told to end.
    pub(super) health: JoinSet<()>,
    /// Its readiness probe; it ends with the run.
    pub(super) readiness: JoinSet<()>,
    /// What they say.
    verdicts: mpsc::Receiver<Verdict>,
    /// Opens the probes that wait for the start.
    pub(super) started: watch::Sender<bool>,
    /// Whether it was killed for its memory.
    pub(super) exceeded: Arc<AtomicBool>,
    files: Files,
}

/// What can happen to a run.
#[derive(Debug)]
pub(super) enum RunHappening {
    Ended(std::io::Result<ExitStatus>),
    Verdict(Verdict),
}

/// Files of one run.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// Upper and work directories; removed when the run ends.
    pub(super) scratch: PathBuf,
    /// What it leaves as its last words.
    pub(super) message: PathBuf,
    /// Its output.
    pub(super) log: Log,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) out_of_memory: bool,
    pub(super) message: String,
}

impl Run {
    /// Starts a run of the named container in the sandbox; returns once its command has been executed.
    ///
    /// # Errors
    /// Why there is no such process, as far as possible in container runtimes' words.
    pub(super) async fn start(
        settings: &Settings,
        sandbox: &Sandbox,
        (name, spec): (&str, &Spec),
        files: Files,
        verdicts: mpsc::Receiver<Verdict>,
    ) -> Result<Self, String> {
        let result = Self::try_start(settings, sandbox, (name, spec), &files, verdicts).await;
        if result.is_err() {
            remove_tree(&files.scratch);
        }
        result
    }

    async fn try_start(
        settings: &Settings,
        sandbox: &Sandbox,
        (name, spec): (&str, &Spec),
        files: &Files,
        verdicts: mpsc::Receiver<Verdict>,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("unable to start container process: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (report, report_theirs) = UnixStream::pair().map_err(failed)?;
        let mut child = command(settings, sandbox, spec, theirs)?.spawn().map_err(failed)?;
        hand_over(&report_theirs, &ours).map_err(failed)?;
        drop(report_theirs);
        let mut output = JoinSet::new();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            output.spawn(files.log.clone().copy(out, "stdout"));
            output.spawn(files.log.clone().copy(err, "stderr"));
        }
        let talk = talk(ours, report, spec);
        let said = match timeout(START_DEADLINE, talk).await {
            Ok(said) => said.map_err(failed)?,
            Err(_) => {
                return Err(format!(
                    "unable to start container process: not done after {} s",
                    START_DEADLINE.as_secs()
                ));
            }
        };
        let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
        let pid = first.strip_prefix("pid ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        match pid {
            Some(pid) if rest.is_empty() => Ok(Self {
                child,
                live: Live {
                    container: name.to_owned(),
                    pid,
                    environment: spec.environment.clone(),
                    directory: spec.directory.clone(),
                },
                id: new_id(),
                output,
                health: JoinSet::new(),
                readiness: JoinSet::new(),
                verdicts,
                started: watch::Sender::new(false),
                exceeded: Arc::new(AtomicBool::new(false)),
                files: files.clone(),
            }),
            Some(_) => Err(format!("unable to start container process: {rest}")),
            // It died without a word, or before its first one.
            None => Err(format!(
                "unable to start container process: {}",
                if said.is_empty() { "its process ended" } else { &said }
            )),
        }
    }

    /// Waits for a probe's verdict, or until every process of the run is gone. Cancel safe.
    pub(super) async fn happening(&mut self) -> RunHappening {
        let verdict = async {
            match self.verdicts.recv().await {
                Some(verdict) => verdict,
                // No probe is left.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = self.child.wait() => RunHappening::Ended(status),
            verdict = verdict => RunHappening::Verdict(verdict),
        }
    }

    /// Sends a signal to its PID 1.
    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process(self.live.pid, signal);
    }

    /// Collects what a run leaves after its end: the rest of its output, its last words.
    pub(super) async fn finish(mut self, status: std::io::Result<ExitStatus>) -> Exit {
        self.health.shutdown().await;
        self.readiness.shutdown().await;
        let drained = async { while self.output.join_next().await.is_some() {} };
        let _ = timeout(DRAIN_DEADLINE, drained).await;
        let code = match status {
            Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255),
            Err(_) => 255,
        };
        remove_tree(&self.files.scratch);
        Exit { code, out_of_memory: self.exceeded.load(Ordering::Acquire), message: last_words(&self.files) }
    }
}

fn command(settings: &Settings, sandbox: &Sandbox, spec: &Spec, stdin: UnixStream) -> Result<Command, String> {
    let tool = |tool: Tool| tool.path().map_err(|error| error.to_string());
    let mut command = Command::new(tool(Tool::Nsenter)?);
    command.args(["--target", &sandbox.pid.as_raw_nonzero().to_string()]);
    command.args(["--user", "--net", "--uts", "--ipc", "--preserve-credentials"]).arg(tool(Tool::Unshare)?);
    command.args(["--mount", "--pid"]);
    if (spec.user, spec.group) != (0, 0) {
        command.args(["--user", "--keep-caps"]);
        command.args([format!("--map-user={}", spec.user), format!("--map-group={}", spec.group)]);
    }
    command.arg(&settings.program).args(["embedded-cluster", "init"]).env_clear();
    command.stdin(Stdio::from(OwnedFd::from(stdin))).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// Tells the first process what to become, and listens to what it says until it is that.
async fn talk(to: UnixStream, report: UnixStream, spec: &Spec) -> std::io::Result<String> {
    to.set_nonblocking(true)?;
    report.set_nonblocking(true)?;
    let mut to = tokio::net::UnixStream::from_std(to)?;
    let mut report = tokio::net::UnixStream::from_std(report)?;
    to.write_all(&serde_json::to_vec(spec)?).await?;
    to.shutdown().await?;
    let mut said = String::new();
    report.read_to_string(&mut said).await?;
    Ok(said)
}

fn last_words(files: &Files) -> String {
    let bytes = std::fs::read(&files.message).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(MESSAGE_MAX)]).into_owned()
}

fn new_id() -> String {
    let digits: String = std::iter::repeat_with(|| fastrand::digit(16)).take(64).collect();
    format!("gameday://{digits}")
}

/// The numbers of the user that a container runs as.
///
/// # Errors
/// The sentence for `CreateContainerConfigError`.
pub(super) fn user(
    image: &super::image::Image,
    pod: &serde_json::Value,
    container: &serde_json::Value,
) -> Result<(u32, u32), String> {
    let setting = |key: &str| {
        let own = &container["securityContext"][key];
        if own.is_null() { &pod["spec"]["securityContext"][key] } else { own }
    };
    let number = |key: &str| setting(key).as_u64().and_then(|number| u32::try_from(number).ok());
    let (image_user, image_group) = match image.config.user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image.config.user.as_str(), None),
    };
    let layers: Vec<PathBuf> = image.layers.iter().map(|layer| image.layers_dir.join(layer)).collect();
    let (user, own_group) = match number("runAsUser") {
        Some(user) => (user, 0),
        None => look_up(&layers, "etc/passwd", image_user)
            .ok_or_else(|| format!("unable to find user {image_user}: no matching entries in passwd file"))?,
    };
    let group = match (number("runAsGroup"), image_group) {
        (Some(group), _) => group,
        (None, Some(name)) if number("runAsUser").is_none() => {
            let group = look_up(&layers, "etc/group", name);
            group.ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))?.0
        }
        (None, _) => own_group,
    };
    if user == 0 && setting("runAsNonRoot") == true {
        return Err("container has runAsNonRoot and image will run as root".to_owned());
    }
    Ok((user, group))
}

/// A name's number, and the group that stands beside it in a list of users.
fn look_up(layers: &[PathBuf], file: &str, name: &str) -> Option<(u32, u32)> {
    if name.is_empty() {
        return Some((0, 0));
    }
    let text = layers.iter().find_map(|layer| std::fs::read_to_string(Path::new(layer).join(file)).ok());
    let text = text.unwrap_or_default();
    let found = text
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 2 && (fields[0] == name || fields[2] == name));
    match found {
        Some(fields) => {
            let group = fields.get(3).and_then(|group| group.parse().ok()).unwrap_or(0);
            Some((fields[2].parse().ok()?, group))
        }
        None => Some((name.parse().ok()?, 0)),
    }
}
