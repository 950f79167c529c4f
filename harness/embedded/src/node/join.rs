//! Running a command inside a running container: `exec`, and checks that execute.
//!
//! Two processes, because entering a PID namespace takes effect for children only: the
//! outer one stays outside and passes the exit code (and a terminal's bytes) on.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::pty::OpenptFlags;
use rustix::thread::ThreadNameSpaceType;

use super::container_init::{drop_privileges, exec};
use super::{Live, give_up};

/// What a shell says of a command that is not there.
const NOT_FOUND: u8 = 127;

/// What a shell says of a command that cannot run.
const NOT_RUNNABLE: u8 = 126;

/// The command that joins `live`; see [`super::Node::exec`].
pub(super) fn command(program: &Path, live: &Live, argv: &[String], terminal: bool) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.args(["embedded-cluster", "join", &live.pid.as_raw_nonzero().to_string(), &live.directory]);
    command.arg(if terminal { "terminal" } else { "pipes" }).args(argv);
    command.env_clear().envs(live.environment.iter().map(|(name, value)| (name, value)));
    command.kill_on_drop(true);
    command
}

/// The outer process.
pub(crate) fn outer(arguments: &[&str]) -> ExitCode {
    let [pid, directory, mode, argv @ ..] = arguments else { return give_up("join: arguments are missing") };
    let target = pid.parse().ok().and_then(Pid::from_raw);
    let Some(target) = target else { return give_up("join: the process id is invalid") };
    let terminal = match *mode {
        "terminal" => match open_terminal(target) {
            Ok(terminal) => Some(terminal),
            Err(error) => return give_up(&format!("open a terminal in the container: {error}")),
        },
        _ => None,
    };
    let joined = rustix::process::pidfd_open(target, PidfdFlags::empty()).and_then(|descriptor| {
        use std::os::fd::AsFd;
        rustix::thread::move_into_thread_name_spaces(descriptor.as_fd(), ThreadNameSpaceType::PROCESS_ID)
    });
    if let Err(error) = joined {
        return give_up(&format!("join the container's processes: {error}"));
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["embedded-cluster", "join-inner", directory]);
    command.arg(terminal.as_ref().map_or("", |(_, path)| path)).args(argv);
    let status = match (command.spawn(), terminal) {
        (Ok(mut child), Some((master, _))) => relay(&mut child, &master),
        (Ok(mut child), None) => child.wait(),
        (Err(error), _) => return give_up(&format!("join the container: {error}")),
    };
    match status {
        Ok(status) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => give_up(&format!("wait for the command: {error}")),
    }
}

/// The inner process: PID 1 of its PID namespace is the container's first process.
pub(crate) fn inner(arguments: &[&str]) -> ExitCode {
    let [directory, terminal, argv @ ..] = arguments else { return give_up("join: arguments are missing") };
    if let Err(error) = enter(directory, terminal) {
        return give_up(&format!("join the container: {error}"));
    }
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let error = exec(&argv, &environment, "/");
    eprintln!("{error}");
    ExitCode::from(if error.ends_with("permission denied") { NOT_RUNNABLE } else { NOT_FOUND })
}

fn enter(directory: &str, terminal: &str) -> rustix::io::Result<()> {
    use std::os::fd::AsFd;
    let first = rustix::process::pidfd_open(Pid::INIT, PidfdFlags::empty())?;
    let all = ThreadNameSpaceType::USER
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION;
    rustix::thread::move_into_thread_name_spaces(first.as_fd(), all)?;
    // Set after entering, because a change of credentials forgets it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if !terminal.is_empty() {
        rustix::process::setsid()?;
        // The first terminal that a session's leader opens becomes the session's.
        let slave = rustix::fs::open(terminal, OFlags::RDWR, Mode::empty())?;
        rustix::stdio::dup2_stdin(&slave)?;
        rustix::stdio::dup2_stdout(&slave)?;
        rustix::stdio::dup2_stderr(&slave)?;
    }
    rustix::process::chdir(if directory.is_empty() { "/" } else { directory })?;
    drop_privileges(rustix::process::getuid().as_raw())
}

type Terminal = (std::fs::File, String);

/// A new terminal of the container's own.
fn open_terminal(target: Pid) -> rustix::io::Result<Terminal> {
    let path = format!("/proc/{}/root/dev/pts/ptmx", target.as_raw_nonzero());
    let flags = OFlags::from_bits_retain(OpenptFlags::RDWR.bits() | OpenptFlags::NOCTTY.bits()) | OFlags::CLOEXEC;
    let master = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = slave.into_string().map_err(|_| rustix::io::Errno::ILSEQ)?;
    Ok((std::fs::File::from(master), slave))
}

/// Carries bytes both ways until the command ends and its terminal is drained.
fn relay(child: &mut std::process::Child, master: &std::fs::File) -> std::io::Result<std::process::ExitStatus> {
    let (mut to_terminal, mut from_terminal) = (master.try_clone()?, master.try_clone()?);
    // Ends with the process: reading stdin cannot be given up.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
            if to_terminal.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
    let output = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The terminal answers with an error once its last user is gone.
        while let Ok(length @ 1..) = from_terminal.read(&mut buffer) {
            let mut out = std::io::stdout();
            if out.write_all(&buffer[..length]).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
    });
    let status = child.wait();
    let _ = output.join();
    status
}
