//! Starting, finding and stopping an embedded cluster from outside.
//!
//! Processes, outermost first: the *portal* stays in the host's network namespace, holds
//! the lock and opens sockets on the host's loopback; inside namespaces of its own runs
//! the *reaper* as PID 1, and below it the *cluster*, which serves the API and runs pods.
//! Whoever of them dies, by whatever signal, takes everything below along.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

mod bootstrap;
mod cluster;
mod handover;
mod place;
mod portal;
pub mod preflight;
mod reaper;
mod tool;

pub(crate) use handover::{Portal, receive_with, send_with};
pub use place::is_name;
pub(crate) use place::remove_tree;
pub use preflight::{Finding, preflight};
pub(crate) use tool::{Tool, program};

use place::Place;

/// How long a start may take before it counts as failed.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a cluster gets to end by itself before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Connections that clusters with [`Lifetime::Caller`] watch: they close with this process.
static HELD: Mutex<BTreeMap<String, UnixStream>> = Mutex::new(BTreeMap::new());

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program to run again as the cluster's processes: one that hands the arguments
    /// after `embedded-cluster` to [`main`]. Usually the current executable.
    pub program: PathBuf,
    /// Its name; state lives under a directory of that name.
    pub name: String,
    /// OCI layout that images are taken from; read anew at each pull.
    pub images: PathBuf,
    /// API port on the host's loopback; any free one where absent.
    pub port: Option<u16>,
    /// Seed of its randomness (endpoint delays, names).
    pub seed: u64,
    /// Whether it ends with the process that started it, or outlives it until [`stop`].
    pub lifetime: Lifetime,
}

/// How long a cluster lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the starting process is gone, however it went.
    Caller,
    /// Until it is stopped.
    UntilStopped,
}

/// A running cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// The kubeconfig to reach it with, mode 0600.
    pub kubeconfig: PathBuf,
    /// `https://127.0.0.1:PORT`.
    pub server: String,
    /// Process id of its outermost process.
    pub pid: u32,
}

/// A cluster could not be started, found or stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LaunchError {
    /// What, and at which cluster, program, file or port.
    pub message: String,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

impl LaunchError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What the portal tells the process that started it, as one line of JSON.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    Ready(Running),
    Failed(LaunchError),
}

/// Starts a cluster and waits until its API answers. Blocks for as long as 30 s.
///
/// # Errors
/// The name is in use, the port is taken, a program is missing, namespaces are refused, or
/// nothing was ready in time; the hint says what to do.
pub fn start(options: &Options) -> Result<Running, LaunchError> {
    let place = Place::new(&options.name)?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| LaunchError::new(format!("make a socket: {error}")))?;
    spawn_portal(options, theirs)?;
    ours.set_read_timeout(Some(START_DEADLINE)).map_err(|error| LaunchError::new(error.to_string()))?;
    let mut line = String::new();
    let read = BufReader::new(&ours).read_line(&mut line);
    let log = place.log();
    let unclear = |what: &str| {
        LaunchError::new(format!("start cluster `{}`: {what}", options.name))
            .hint(format!("its log is {}", log.display()))
    };
    match (read, serde_json::from_str(&line)) {
        (Ok(_), Ok(Report::Ready(running))) => {
            if options.lifetime == Lifetime::Caller {
                HELD.lock().expect("nothing panics while it holds this").insert(options.name.clone(), ours);
            }
            Ok(running)
        }
        (Ok(_), Ok(Report::Failed(error))) => Err(error),
        (Ok(_), Err(_)) => Err(unclear("its outer process ended without a word")),
        (Err(error), _) => Err(unclear(&format!("not ready after {} s: {error}", START_DEADLINE.as_secs()))),
    }
}

/// The running cluster of this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<Running> {
    let place = Place::new(name).ok()?;
    if place.is_locked() { place.running() } else { None }
}

/// Ends a cluster and waits until nothing of it is left, also where it was killed and only
/// files are. Blocks for as long as 20 s. Returns whether it ran.
///
/// # Errors
/// It is still there after it was killed.
pub fn stop(name: &str) -> Result<bool, LaunchError> {
    let place = Place::new(name)?;
    let Some(running) = find(name) else {
        place.remove();
        return Ok(false);
    };
    let Some(pid) = i32::try_from(running.pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Err(LaunchError::new(format!("stop cluster `{name}`: its recorded process id is invalid")));
    };
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        // While the lock is held, the process id cannot belong to anyone else.
        let _ = rustix::process::kill_process(pid, signal);
        HELD.lock().expect("nothing panics while it holds this").remove(name);
        if place.wait_until_unlocked(STOP_DEADLINE) {
            place.remove();
            return Ok(true);
        }
    }
    Err(LaunchError::new(format!("stop cluster `{name}`: process {} is still there after SIGKILL", running.pid)))
}

/// Entry of the hidden subcommand: what follows `embedded-cluster` on the command line.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match (words.first().copied(), words.get(1..).unwrap_or_default()) {
        (Some("portal"), rest) => portal::main(rest),
        (Some("serve"), _) => reaper::main(),
        (Some("cluster"), _) => cluster::main(),
        (Some("pause"), rest) => crate::node::pause(rest),
        (Some("init"), _) => crate::node::container_init(),
        (Some("init-inner"), _) => crate::node::container_init_inner(),
        (Some("join"), rest) => crate::node::join(rest),
        (Some("join-inner"), rest) => crate::node::join_inner(rest),
        _ => {
            eprintln!("embedded-cluster is started by `cargo xtask cluster up`, not by hand");
            ExitCode::from(2)
        }
    }
}

/// Starts the outer process in a session of its own, so that neither a terminal's Ctrl-C
/// nor its end reaches the cluster before its caller has put things right.
fn spawn_portal(options: &Options, report: UnixStream) -> Result<(), LaunchError> {
    // `setsid` forks before it could tell.
    if let Err(error) = options.program.metadata() {
        return Err(LaunchError::new(format!("start {}: {error}", options.program.display())));
    }
    let mut command = Command::new(Tool::Setsid.path()?);
    command.arg("--fork").arg(&options.program).args(["embedded-cluster", "portal"]);
    command.args([&options.name, &options.seed.to_string(), &options.port.unwrap_or(0).to_string()]);
    command.arg(match options.lifetime {
        Lifetime::Caller => "caller",
        Lifetime::UntilStopped => "until-stopped",
    });
    command.arg(std::path::absolute(&options.images).unwrap_or_else(|_| options.images.clone()));
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(report))).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(LaunchError::new(format!("start {}: setsid ended with {status}", options.program.display()))),
        Err(error) => Err(LaunchError::new(format!("start {}: {error}", options.program.display()))),
    }
}
