//! Running a command inside a running container: `exec`, and checks that execute.
//!
//! Two processes, because entering a PID namespace takes effect for children only: the
//! outer one stays outside and passes the exit code (and a terminal's bytes) on.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::ThreadNameSpaceType;

use super::container_init::{drop_privileges, exec, home};
use super::{Live, exit_code, give_up};

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
        "terminal" => match Terminal::open(target) {
            Ok(terminal) => Some(terminal),
            Err(error) => return give_up(&format!("open a terminal in the container: {error}")),
        },
        _ => None,
    };
    let joined = rustix::process::pidfd_open(target, PidfdFlags::empty()).and_then(|descriptor| {
        rustix::thread::move_into_thread_name_spaces(descriptor.as_fd(), ThreadNameSpaceType::PROCESS_ID)
    });
    if let Err(error) = joined {
        return give_up(&format!("join the container's processes: {error}"));
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["embedded-cluster", "join-inner", directory]);
    command.arg(terminal.as_ref().map_or("", |terminal| &terminal.path)).args(argv);
    let status = command.spawn().and_then(|mut child| child.wait());
    if let Some(terminal) = terminal {
        terminal.drain();
    }
    match status {
        Ok(status) => exit_code(status),
        Err(error) => give_up(&format!("run a command in the container: {error}")),
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
    let error = exec(&argv, &environment, &home(rustix::process::getuid().as_raw()));
    eprintln!("{error}");
    ExitCode::from(if error.ends_with("permission denied") { NOT_RUNNABLE } else { NOT_FOUND })
}

fn enter(directory: &str, terminal: &str) -> rustix::io::Result<()> {
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

/// A terminal of the container's own, whose bytes threads carry to and from our pipes.
struct Terminal {
    path: String,
    /// Held so that the other side does not end before the command has opened it.
    slave: OwnedFd,
    output: JoinHandle<()>,
}

impl Terminal {
    /// Opens it. Called before the PID namespace is joined: afterwards no thread can start.
    fn open(target: Pid) -> std::io::Result<Self> {
        let root = format!("/proc/{}/root", target.as_raw_nonzero());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::open(format!("{root}/dev/pts/ptmx"), flags, Mode::empty())?;
        rustix::pty::unlockpt(&master)?;
        let path = rustix::pty::ptsname(&master, Vec::new())?;
        let path = path.into_string().map_err(std::io::Error::other)?;
        let slave = rustix::fs::open(format!("{root}{path}"), flags, Mode::empty())?;
        let mut to_terminal = File::from(master);
        let mut from_terminal = to_terminal.try_clone()?;
        // Ends with the process: reading stdin cannot be given up.
        std::thread::spawn(move || carry(&mut std::io::stdin(), &mut to_terminal));
        let output = std::thread::spawn(move || carry(&mut from_terminal, &mut std::io::stdout()));
        Ok(Self { path, slave, output })
    }

    /// Waits until everything that was written has been carried out: the terminal answers
    /// with an error once its last user is gone.
    fn drain(self) {
        drop(self.slave);
        let _ = self.output.join();
    }
}

fn carry(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
            break;
        }
    }
}
