//! A pod's sandbox: the process that holds its user, network, hostname and IPC namespaces.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Settings, give_up, network};
use crate::launch::{LaunchError, Tool};

/// How long a sandbox may take to come up.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running sandbox; dropping it ends it, and with it every container of the pod.
#[derive(Debug)]
pub(super) struct Sandbox {
    child: Child,
    /// Its end of this socket closes when we are gone.
    _life: tokio::io::BufReader<tokio::net::UnixStream>,
    /// The process that holds the namespaces.
    pub(super) pid: Pid,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
}

impl Sandbox {
    /// Makes the namespaces and connects them.
    ///
    /// # Errors
    /// What failed, or what was not ready after 20 s.
    pub(super) async fn start(settings: &Settings, hostname: &str, address: Ipv4Addr) -> Result<Self, LaunchError> {
        let starting = Self::start_unbounded(settings, hostname, address);
        timeout(DEADLINE, starting)
            .await
            .unwrap_or_else(|_| Err(LaunchError::new(format!("make a sandbox: not up after {} s", DEADLINE.as_secs()))))
    }

    async fn start_unbounded(settings: &Settings, hostname: &str, address: Ipv4Addr) -> Result<Self, LaunchError> {
        let failed = |what: std::io::Error| LaunchError::new(format!("make a sandbox: {what}"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut life = tokio::io::BufReader::new(tokio::net::UnixStream::from_std(ours).map_err(failed)?);
        let mut command = Command::new(Tool::Unshare.path()?);
        command.args(["--user", "--map-root-user", "--net", "--uts", "--ipc"]).arg(&settings.program);
        command.args(["embedded-cluster", "pause", hostname, &address.to_string()]);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let number = child.id().unwrap_or_default();
        expect_ok(&mut life).await?;
        network::attach(number, address, settings.address).await?;
        life.write_all(b"connected\n").await.map_err(failed)?;
        expect_ok(&mut life).await?;
        let pid =
            i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(|| LaunchError::new("find the sandbox"))?;
        Ok(Self { child, _life: life, pid, address })
    }

    /// Ends it and waits until it is gone.
    pub(super) async fn end(mut self) {
        let _ = self.child.kill().await;
        network::detach(self.address).await;
    }
}

async fn expect_ok(life: &mut tokio::io::BufReader<tokio::net::UnixStream>) -> Result<(), LaunchError> {
    let mut line = String::new();
    let read = life.read_line(&mut line).await;
    match (read, line.trim_end()) {
        (Ok(_), "ok") => Ok(()),
        (Ok(0), _) => Err(LaunchError::new("make a sandbox: its process ended")),
        (Ok(_), other) => Err(LaunchError::new(format!("make a sandbox: {other}"))),
        (Err(error), _) => Err(LaunchError::new(format!("make a sandbox: {error}"))),
    }
}

/// The sandbox's process: sets up what only its inside can, then holds the namespaces until
/// the node agent is gone or kills it.
pub(crate) fn pause(arguments: &[&str]) -> ExitCode {
    let [hostname, address] = arguments else { return give_up("pause: a hostname and an address are needed") };
    let Ok(address) = address.parse() else { return give_up("pause: the address is invalid") };
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return give_up("pause: no socket on stdin");
    };
    let mut socket = std::os::unix::net::UnixStream::from(socket);
    let mut lines = match socket.try_clone() {
        Ok(clone) => BufReader::new(clone),
        Err(error) => return give_up(&format!("pause: {error}")),
    };
    let mut answer = |result: Result<(), String>| {
        let line = result.map_or_else(|error| error.replace('\n', " "), |()| "ok".to_owned());
        socket.write_all(format!("{line}\n").as_bytes()).is_ok()
    };
    let mut line = String::new();
    if !answer(prepare(hostname)) || !matches!(lines.read_line(&mut line), Ok(1..)) || !answer(connect(address)) {
        return ExitCode::FAILURE;
    }
    line.clear();
    // Blocks until the other end is closed; nothing more is ever sent.
    let _ = lines.read_line(&mut line);
    ExitCode::SUCCESS
}

fn prepare(hostname: &str) -> Result<(), String> {
    rustix::system::sethostname(hostname.as_bytes()).map_err(|error| format!("set the hostname: {error}"))?;
    for (file, value) in network::POD_SYSCTLS {
        // Without them a server below port 1024 says so itself; some kernels lack one.
        let _ = std::fs::write(file, value);
    }
    Ok(())
}

fn connect(address: Ipv4Addr) -> Result<(), String> {
    let ip = Tool::Ip.path().map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(ip);
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("run ip: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(network::pod_script(address).as_bytes()).map_err(|error| format!("run ip: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("run ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("run ip: {}", String::from_utf8_lossy(&output.stderr)))
}
