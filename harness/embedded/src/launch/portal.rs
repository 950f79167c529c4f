//! The outer process: it stays in the host's network namespace, opens sockets there for
//! the cluster, and makes sure that neither outlives the other.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::handover::{Channel, Setup, ToCluster, ToPortal};
use super::place::Place;
use super::{LaunchError, Report, Running, Tool};

/// How long the cluster gets to end by itself once we let go of it.
const GRACE: Duration = Duration::from_secs(2);

/// Node ports, as Kubernetes has them; [`ToPortal::NodePort`] with 0 means any of them.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

struct Arguments {
    name: String,
    seed: u64,
    port: u16,
    follows_caller: bool,
    images: PathBuf,
}

/// Runs until the cluster ends, a signal asks for its end, or (for clusters that end with
/// their caller) the caller is gone.
pub(super) fn main(arguments: &[&str]) -> ExitCode {
    let Some(arguments) = parse(arguments) else {
        eprintln!("failed to start: the portal's arguments are invalid");
        return ExitCode::from(2);
    };
    let Ok(report) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    // One thread: a parent-death signal follows the thread that started the child.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match &runtime {
        Ok(runtime) => runtime.block_on(run(&arguments, &report)),
        Err(error) => Err(LaunchError::new(format!("start a runtime: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&report, &Report::Failed(error));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[&str]) -> Option<Arguments> {
    let [name, seed, port, lifetime, images] = arguments else { return None };
    Some(Arguments {
        name: (*name).to_owned(),
        seed: seed.parse().ok()?,
        port: port.parse().ok()?,
        follows_caller: *lifetime == "caller",
        images: PathBuf::from(images),
    })
}

async fn run(arguments: &Arguments, report: &UnixStream) -> Result<(), LaunchError> {
    let place = Place::new(&arguments.name)?;
    let lock = place.take()?;
    // The descriptor stays open, and with it the lock, until this process is gone.
    let _held = lock.file();
    let result = with_place(arguments, report, &place).await;
    // The log stays where the error sends its reader there.
    let log = place.log().display().to_string();
    let keep_log = result.as_ref().is_err_and(|error| error.hint.as_ref().is_some_and(|hint| hint.contains(&log)));
    place.clear(lock, keep_log);
    result
}

async fn with_place(arguments: &Arguments, report: &UnixStream, place: &Place) -> Result<(), LaunchError> {
    let (listener, port) = listen(arguments.port).map_err(|error| port_error(arguments.port, &error))?;
    let (ours, theirs) = Channel::pair().map_err(|error| LaunchError::new(format!("make a socket: {error}")))?;
    let channel = Channel::new(ours).map_err(|error| LaunchError::new(format!("use a socket: {error}")))?;
    let mut child = spawn(theirs, &place.log())?;
    let setup = Setup {
        name: arguments.name.clone(),
        dir: place.dir(),
        images: arguments.images.clone(),
        layers: layers_dir(&place.dir()),
        program: pinned_program(&place.dir()),
        seed: arguments.seed,
        port,
    };
    let result = match channel.send(&ToCluster::Setup(setup), Some(&listener)).await {
        Ok(()) => {
            drop(listener);
            attend(arguments, report, place, port, &channel, &mut child).await
        }
        // Nobody takes it: the chain of programs that was to start the cluster is at its end.
        Err(_) => {
            let _ = timeout(GRACE, child.wait()).await;
            Err(refused(place))
        }
    };
    drop(channel);
    end(&mut child).await;
    result
}

/// Serves the cluster's requests until one side is to end.
async fn attend(
    arguments: &Arguments,
    report: &UnixStream,
    place: &Place,
    port: u16,
    channel: &Channel,
    child: &mut Child,
) -> Result<(), LaunchError> {
    let cannot = |what: &str, error: io::Error| LaunchError::new(format!("{what}: {error}"));
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| cannot("wait for signals", error))?;
    let [terminate, interrupt, hangup] = &mut signals[..] else { unreachable!("three signals were asked for") };
    let caller = report.try_clone().and_then(|caller| {
        caller.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(caller)
    });
    let mut caller = caller.map_err(|error| cannot("watch the caller", error))?;
    let mut ready = false;
    loop {
        let mut nothing = [0; 16];
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A cluster that outlives its terminal is not to end with it.
            _ = hangup.recv(), if arguments.follows_caller => return Ok(()),
            _ = child.wait() => return if ready { Ok(()) } else { Err(refused(place)) },
            // Before it is ready, nobody else knows of the cluster.
            read = caller.read(&mut nothing), if arguments.follows_caller || !ready => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            },
            received = channel.receive() => match received {
                Ok(Some((ToPortal::Ready { kubeconfig }, _))) => {
                    let running = Running {
                        name: arguments.name.clone(),
                        kubeconfig,
                        server: format!("https://127.0.0.1:{port}"),
                        pid: std::process::id(),
                    };
                    place.announce(&running).map_err(|error| cannot("write the cluster's state", error))?;
                    tell(report, &Report::Ready(running));
                    ready = true;
                }
                Ok(Some((ToPortal::Failed(error), _))) => return Err(error),
                Ok(Some((ToPortal::NodePort(wanted), _))) => {
                    let (answer, socket) = match listen_node_port(wanted) {
                        Ok((socket, port)) => (Ok(port), Some(socket)),
                        Err(error) => (Err(error), None),
                    };
                    // A failure here shows as the end of the channel.
                    let _ = channel.send(&ToCluster::NodePort(answer), socket.as_ref()).await;
                }
                // The cluster is gone or ending; its exit comes next.
                Ok(None) | Err(_) => {
                    let _ = timeout(GRACE, child.wait()).await;
                    return if ready { Ok(()) } else { Err(refused(place)) };
                }
            },
        }
    }
}

/// Starts the cluster in namespaces of its own. Its life hangs on ours twice: by the
/// parent-death signals of the chain, and by the socket.
fn spawn(socket: OwnedFd, log: &Path) -> Result<Child, LaunchError> {
    let log_file = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let log_file = log_file.map_err(|error| LaunchError::new(format!("write {}: {error}", log.display())))?;
    let mut command = Command::new(Tool::Setpriv.path()?);
    command.args(["--pdeathsig", "KILL"]).arg(Tool::Unshare.path()?);
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--uts", "--ipc"]);
    command.args(["--fork", "--kill-child=SIGKILL", "--mount-proc"]);
    command.arg(super::program()).args(["embedded-cluster", "serve"]);
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::from(log_file)).kill_on_drop(true);
    command.spawn().map_err(|error| LaunchError::new(format!("start unshare: {error}")))
}

/// Ends whatever still runs inside, and returns when nothing does: `unshare` waits for its
/// PID 1, and that one ends only after all others in its namespace.
async fn end(child: &mut Child) {
    if timeout(GRACE, child.wait()).await.is_ok() {
        return;
    }
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    for inner in pid.map(crate::node::children).unwrap_or_default() {
        let _ = rustix::process::kill_process(inner, Signal::KILL);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn listen(port: u16) -> io::Result<(OwnedFd, u16)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let port = listener.local_addr()?.port();
    Ok((OwnedFd::from(listener), port))
}

fn listen_node_port(wanted: u16) -> Result<(OwnedFd, u16), String> {
    if wanted != 0 {
        return listen(wanted).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {wanted} of 127.0.0.1 is taken by another program"),
            _ => format!("listen on port {wanted} of 127.0.0.1: {error}"),
        });
    }
    NODE_PORTS
        .clone()
        .find_map(|port| listen(port).ok())
        .ok_or_else(|| format!("no port of {} to {} is free on 127.0.0.1", NODE_PORTS.start(), NODE_PORTS.end()))
}

fn port_error(port: u16, error: &io::Error) -> LaunchError {
    let failed = LaunchError::new(format!("listen on port {port} of 127.0.0.1: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => failed.hint("leave the port out, and a free one is taken"),
        io::ErrorKind::PermissionDenied => failed.hint("choose a port above 1023"),
        _ => failed,
    }
}

/// Why nothing came of the namespaces, from what the last program of the chain wrote.
fn refused(place: &Place) -> LaunchError {
    let log = std::fs::read_to_string(place.log()).unwrap_or_default();
    let last = log.lines().last().unwrap_or("no message").to_owned();
    let error = LaunchError::new(format!("start the cluster's processes: {last}"));
    if last.starts_with("unshare:") {
        error.hint(super::preflight::NAMESPACES_HINT)
    } else {
        error.hint(format!("its log is {}", place.log().display()))
    }
}

fn tell(mut report: &UnixStream, message: &Report) {
    if let Ok(mut line) = serde_json::to_vec(message) {
        line.push(b'\n');
        // The caller may be gone; that is noticed elsewhere.
        let _ = report.write_all(&line);
    }
}

/// A second name for this program, so that a rebuild while the cluster runs does not mix
/// two versions; the path itself where the file system cannot.
fn pinned_program(dir: &Path) -> PathBuf {
    let program = super::program();
    let pinned = dir.join("program");
    if std::fs::hard_link(&program, &pinned).is_ok() { pinned } else { program }
}

/// Unpacked layers are shared by all clusters of the user.
fn layers_dir(fallback: &Path) -> PathBuf {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.map_or_else(|| fallback.join("layers"), |cache| cache.join("gameday/layers"))
}
