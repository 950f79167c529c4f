//! A container's first process: builds its root file system, gives up what it does not
//! need, and becomes the command.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::{exit_code, give_up};
use crate::launch::{receive_with, send_with};

/// Where the old root stands while the new one is furnished.
const OLD_ROOT: &str = "/.host";

/// Devices that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of /proc that reach beyond the container where it runs as the host's root.
const READ_ONLY_PROC: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What containers keep, as container runtimes have it by default.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Everything a container is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Directory with the unpacked layers.
    pub(super) layers_dir: PathBuf,
    /// Names of the layers there, topmost first.
    pub(super) layers: Vec<PathBuf>,
    /// Directory for this run's own files (`upper`, `work`, `root`).
    pub(super) scratch: PathBuf,
    /// Whether `scratch` must be a memory file system of its own.
    pub(super) scratch_in_memory: bool,
    /// Volumes and single files, in the order they are mounted.
    pub(super) mounts: Vec<Mount>,
    /// Whether the root file system can be written by the command.
    pub(super) read_only: bool,
    /// The command.
    pub(super) argv: Vec<String>,
    /// All of its environment but `HOME`.
    pub(super) environment: Vec<(String, String)>,
    /// Its working directory; made where it does not exist.
    pub(super) directory: String,
    /// The user it runs as.
    pub(super) user: u32,
    /// The group it runs as.
    pub(super) group: u32,
}

/// Something from outside at a place inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    /// A file or directory of the host.
    pub(super) source: PathBuf,
    /// An absolute path in the container; made where it does not exist.
    pub(super) target: String,
    /// Whether it is mounted read-only.
    pub(super) read_only: bool,
}

/// The process outside the new PID namespace, which takes effect for children only: waits
/// for the inner one and passes its exit code on. (`unshare --fork` would lose signals.)
pub(crate) fn outer() -> ExitCode {
    let child = Command::new("/proc/self/exe").args(["embedded-cluster", "init-inner"]).spawn();
    match child.and_then(|mut child| child.wait()) {
        Ok(status) => exit_code(status),
        Err(error) => give_up(&format!("start the container's first process: {error}")),
    }
}

/// The process inside: takes a socket and a [`Spec`] from stdin, says `pid N` on the socket
/// with the process id that the node agent sees, and becomes the command. An error goes the
/// same way; success closes the socket. It is handed over because the outer process keeps
/// stdin open.
pub(crate) fn inner() -> ExitCode {
    // Whoever ends the outer process means the container.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let Ok(mut report) = take_report() else { return ExitCode::FAILURE };
    let error = match become_command(&mut report) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let _ = report.write_all(error.as_bytes());
    ExitCode::from(128)
}

fn take_report() -> std::io::Result<UnixStream> {
    let (_, descriptor) = receive_with(rustix::stdio::stdin(), &mut [0])?;
    descriptor.map(UnixStream::from).ok_or_else(|| rustix::io::Errno::BADF.into())
}

/// Starts the other end of [`take_report`].
///
/// # Errors
/// What sending returned.
pub(super) fn hand_over(report: &UnixStream, to: &UnixStream) -> std::io::Result<()> {
    send_with(to, b"r", Some(report.as_fd()))
}

fn become_command(report: &mut UnixStream) -> Result<std::convert::Infallible, String> {
    let say = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| say("read the container's description", &error))?;
    let spec: Spec = serde_json::from_str(&text).map_err(|error| say("read the container's description", &error))?;
    let pid = fs::read_link("/proc/self").map_err(|error| say("read /proc/self", &error))?;
    writeln!(report, "pid {}", pid.display()).map_err(|error| say("report", &error))?;

    mount_root(&spec)?;
    furnish(&spec)?;
    let home = identify(&spec);
    leave_host(&spec)?;

    let directory = if spec.directory.is_empty() { "/" } else { &spec.directory };
    std::env::set_current_dir(directory).map_err(|error| say(&format!("change to {directory}"), &error))?;
    drop_privileges(spec.user).map_err(|error| say("drop capabilities", &error))?;
    let null = fs::File::open("/dev/null").map_err(|error| say("open /dev/null", &error))?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| say("replace stdin", &error))?;
    Err(exec(&spec.argv, &spec.environment, &home))
}

/// Replaces this process; returns why it could not, in container runtimes' words.
pub(super) fn exec(argv: &[String], environment: &[(String, String)], home: &str) -> String {
    let Some((program, arguments)) = argv.split_first() else { return "no command specified".to_owned() };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let error = command.exec();
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound if program.contains('/') => format!("stat {program}: no such file or directory"),
        std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("exec: \"{program}\": {reason}")
}

/// Gives up every capability that containers do not have; those of other users than root
/// go with the exec.
pub(super) fn drop_privileges(user: u32) -> rustix::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for one in CapabilitySet::all().difference(KEPT).iter() {
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // Newer than this kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets)?;
    if user != 0 {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

fn mount_root(spec: &Spec) -> Result<(), String> {
    let say = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    if spec.scratch_in_memory {
        rustix::mount::mount("tmpfs", &spec.scratch, "tmpfs", MountFlags::empty(), None)
            .map_err(|error| say("mount memory for the container's files", &error))?;
    }
    for part in ["upper", "work", "root"] {
        let dir = spec.scratch.join(part);
        fs::create_dir_all(&dir).map_err(|error| say(&format!("make {}", dir.display()), &error))?;
    }
    // Mount options end at one page, so layers are named from where they are.
    std::env::set_current_dir(&spec.layers_dir)
        .map_err(|error| say(&format!("change to {}", spec.layers_dir.display()), &error))?;
    let layers: Vec<String> = spec.layers.iter().map(|layer| layer.display().to_string()).collect();
    let scratch = spec.scratch.display();
    let options = format!("lowerdir={},upperdir={scratch}/upper,workdir={scratch}/work,userxattr", layers.join(":"));
    let options = CString::new(options).map_err(|error| say("name the layers", &error))?;
    let root = spec.scratch.join("root");
    rustix::mount::mount("overlay", &root, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|error| say("mount the image's layers", &error))?;
    std::env::set_current_dir(&root).map_err(|error| say("enter the root", &error))?;
    fs::create_dir_all(&OLD_ROOT[1..]).map_err(|error| say("make a place for the old root", &error))?;
    rustix::process::pivot_root(".", &OLD_ROOT[1..]).map_err(|error| say("change the root", &error))?;
    std::env::set_current_dir("/").map_err(|error| say("enter the root", &error))
}

/// Mounts what every container has, and its volumes. Paths are those of the new root now,
/// so that a link in the image leads nowhere else.
fn furnish(spec: &Spec) -> Result<(), String> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_new("proc", "/proc", quiet, None)?;
    mount_new("tmpfs", "/dev", MountFlags::NOSUID, Some("mode=755"))?;
    for name in DEVICES {
        let source = format!("{OLD_ROOT}/dev/{name}");
        // `tty` is missing on some hosts.
        if Path::new(&source).exists() {
            bind(Path::new(&source), Path::new("/dev").join(name).as_path())?;
        }
    }
    mount_new("tmpfs", "/dev/shm", quiet, Some("mode=1777"))?;
    mount_new(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=0620"),
    )?;
    let links = [("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin")];
    for (target, name) in links.into_iter().chain([("/proc/self/fd/1", "stdout"), ("/proc/self/fd/2", "stderr")]) {
        symlink(target, Path::new("/dev").join(name)).map_err(|error| format!("link /dev/{name}: {error}"))?;
    }
    for path in READ_ONLY_PROC {
        if Path::new(path).exists() {
            bind(Path::new(path), Path::new(path))?;
            make_read_only(Path::new(path))?;
        }
    }
    if !Path::new("/tmp").exists() {
        let made =
            fs::create_dir("/tmp").and_then(|()| fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777)));
        made.map_err(|error| format!("make /tmp: {error}"))?;
    }
    for mount in &spec.mounts {
        let source = Path::new(OLD_ROOT).join(mount.source.strip_prefix("/").unwrap_or(&mount.source));
        let target = Path::new(&mount.target);
        bind(&source, target)?;
        if mount.read_only {
            make_read_only(target)?;
        }
    }
    let directory = Path::new("/").join(&spec.directory);
    fs::create_dir_all(&directory).map_err(|error| format!("make {}: {error}", directory.display()))
}

fn mount_new(kind: &str, target: &str, flags: MountFlags, options: Option<&str>) -> Result<(), String> {
    fs::create_dir_all(target).map_err(|error| format!("make {target}: {error}"))?;
    let options = options.map(|options| CString::new(options).expect("written here, without a zero byte"));
    rustix::mount::mount(kind, target, kind, flags, options.as_deref())
        .map_err(|error| format!("mount {kind} on {target}: {error}"))
}

fn bind(source: &Path, target: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("mount {}: {error}", target.display());
    if target.components().any(|part| part == Component::ParentDir) {
        return Err(failed(&"the path has `..` in it"));
    }
    let is_dir = source.metadata().map_err(|error| failed(&error))?.is_dir();
    if is_dir {
        fs::create_dir_all(target).map_err(|error| failed(&error))?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(&error))?;
        }
        fs::File::create(target).map_err(|error| failed(&error))?;
    }
    rustix::mount::mount_bind(source, target).map_err(|error| failed(&error))
}

/// A mount may not lose what it inherited (`nosuid` of a home directory), so that is kept.
fn make_read_only(target: &Path) -> Result<(), String> {
    let failed = |error: rustix::io::Errno| format!("make {} read-only: {error}", target.display());
    let inherited = rustix::fs::statvfs(target).map_err(failed)?.f_flag;
    let known = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (bit, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if inherited.contains(bit) {
            flags |= flag & known;
        }
    }
    rustix::mount::mount_remount(target, flags, "").map_err(failed)
}

/// Makes sure that the running user and group have names; returns the home directory.
fn identify(spec: &Spec) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    // An image without a writable /etc still runs: names are a courtesy.
    let _ = fs::create_dir_all("/etc");
    let (users, home) = with_user(&users, spec.user, spec.group);
    let _ = fs::write("/etc/passwd", users);
    let _ = fs::write("/etc/group", with_group(&groups, spec.group));
    home
}

/// The home directory of a user, as the container's `/etc/passwd` has it.
pub(super) fn home(user: u32) -> String {
    with_user(&fs::read_to_string("/etc/passwd").unwrap_or_default(), user, 0).1
}

/// `/etc/passwd` with an entry for the user, and the home directory in it.
fn with_user(users: &str, user: u32, group: u32) -> (String, String) {
    let number = user.to_string();
    let entry = users.lines().find(|line| line.split(':').nth(2) == Some(number.as_str()));
    if let Some(home) = entry.and_then(|entry| entry.split(':').nth(5)).filter(|home| !home.is_empty()) {
        return (users.to_owned(), home.to_owned());
    }
    let name = if user == 0 { "root".to_owned() } else { format!("user{user}") };
    (format!("{}{name}:x:{user}:{group}:{name}:/:/bin/sh\n", lines(users)), "/".to_owned())
}

fn with_group(groups: &str, group: u32) -> String {
    let number = group.to_string();
    if groups.lines().any(|line| line.split(':').nth(2) == Some(number.as_str())) {
        return groups.to_owned();
    }
    let name = if group == 0 { "root".to_owned() } else { format!("group{group}") };
    format!("{}{name}:x:{group}:\n", lines(groups))
}

fn lines(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

fn leave_host(spec: &Spec) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| format!("leave the host's files: {error}");
    rustix::mount::unmount(OLD_ROOT, UnmountFlags::DETACH).map_err(|error| say(&error))?;
    fs::remove_dir(OLD_ROOT).map_err(|error| say(&error))?;
    if spec.read_only {
        rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "").map_err(|error| say(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_get_a_name_and_a_home() {
        let rows = [
            ("", 0, 0, "root:x:0:0:root:/:/bin/sh\n", "/"),
            ("", 999, 998, "user999:x:999:998:user999:/:/bin/sh\n", "/"),
            ("root:x:0:0::/root:/bin/sh\n", 0, 0, "root:x:0:0::/root:/bin/sh\n", "/root"),
            ("a:x:1:1::/a:/bin/sh", 5, 5, "a:x:1:1::/a:/bin/sh\nuser5:x:5:5:user5:/:/bin/sh\n", "/"),
        ];
        for (before, user, group, after, home) in rows {
            assert_eq!(with_user(before, user, group), (after.to_owned(), home.to_owned()), "{before:?} {user}");
        }
    }

    #[test]
    fn groups_get_a_name_once() {
        assert_eq!(with_group("", 7), "group7:x:7:\n");
        assert_eq!(with_group("seven:x:7:\n", 7), "seven:x:7:\n");
    }
}
