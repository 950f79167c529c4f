//! Where a cluster's state lives, and the lock that says whether it runs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::{LaunchError, Running};

/// Longest name: it becomes part of socket and context names.
const NAME_MAX: usize = 40;

/// Whether a cluster can have this name: up to 40 lower-case letters, digits and `-`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(good) && !name.starts_with('-')
}

/// The files of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: String,
    clusters: PathBuf,
}

/// Holding it means being the cluster of that name.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Place {
    /// The place of a cluster of this name; nothing is made yet.
    pub(super) fn new(name: &str) -> Result<Self, LaunchError> {
        if !is_name(name) {
            return Err(LaunchError::new(format!("use `{name}` as the name of a cluster"))
                .hint(format!("up to {NAME_MAX} lower-case letters, digits and `-`")));
        }
        Ok(Self { name: name.to_owned(), clusters: clusters_dir()? })
    }

    /// Directory of the running cluster's files.
    pub(super) fn dir(&self) -> PathBuf {
        self.clusters.join(&self.name)
    }

    /// What the cluster's own processes write.
    pub(super) fn log(&self) -> PathBuf {
        self.dir().join("cluster.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.clusters.join(format!("{}.lock", self.name))
    }

    fn running_file(&self) -> PathBuf {
        self.dir().join("running.json")
    }

    /// Takes the name, and an empty directory of mode 0700 with it.
    pub(super) fn take(&self) -> Result<Lock, LaunchError> {
        let failed = |what: &Path, error: io::Error| {
            LaunchError::new(format!("make {}: {error}", what.display()))
                .hint("set XDG_STATE_HOME to a directory that can be written")
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.clusters)
            .map_err(|error| failed(&self.clusters, error))?;
        let lock = self.lock().map_err(|error| match error {
            TryLockError::WouldBlock => LaunchError::new(format!("start cluster `{}`: it runs already", self.name))
                .hint("stop it, or choose another name"),
            TryLockError::Error(error) => failed(&self.lock_file(), error),
        })?;
        // Whatever an earlier cluster left when it was killed.
        remove_tree(&self.dir());
        fs::DirBuilder::new().mode(0o700).create(self.dir()).map_err(|error| failed(&self.dir(), error))?;
        Ok(lock)
    }

    /// The previous holder removes the file when it ends, so a lock counts only while the
    /// path still leads to the file that was locked.
    fn lock(&self) -> Result<Lock, TryLockError> {
        loop {
            let path = self.lock_file();
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
            let file = file.map_err(TryLockError::Error)?;
            file.try_lock()?;
            if path.metadata().is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
                return Ok(Lock { file });
            }
        }
    }

    /// Whether a cluster of this name holds its lock.
    pub(super) fn is_locked(&self) -> bool {
        File::open(self.lock_file()).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Waits until no cluster of this name holds the lock; false after the deadline.
    pub(super) fn wait_until_unlocked(&self, deadline: Duration) -> bool {
        let Ok(file) = File::open(self.lock_file()) else { return true };
        let (done, waiting) = mpsc::channel();
        // A thread of its own, because taking a lock cannot be given up.
        std::thread::spawn(move || {
            let _ = file.lock_shared();
            let _ = done.send(());
        });
        waiting.recv_timeout(deadline).is_ok()
    }

    /// What the running cluster wrote about itself when it was ready.
    pub(super) fn running(&self) -> Option<Running> {
        serde_json::from_slice(&fs::read(self.running_file()).ok()?).ok()
    }

    /// Says that the cluster is ready.
    pub(super) fn announce(&self, running: &Running) -> io::Result<()> {
        write_private(&self.running_file(), &serde_json::to_vec(running)?)
    }

    /// Removes everything but, where a start failed, a log that has something to say.
    pub(super) fn clear(&self, lock: Lock, keep_log: bool) {
        let keep_log = keep_log && self.log().metadata().is_ok_and(|log| log.len() > 0);
        for entry in fs::read_dir(self.dir()).into_iter().flatten().flatten() {
            if !(keep_log && entry.path() == self.log()) {
                remove_tree(&entry.path());
            }
        }
        // Fails where the log is left.
        let _ = fs::remove_dir(self.dir());
        let _ = fs::remove_file(self.lock_file());
        drop(lock);
    }

    /// Removes what a killed cluster left; does nothing where one runs.
    pub(super) fn remove(&self) {
        if let Ok(lock) = self.lock() {
            self.clear(lock, false);
        }
    }
}

impl Lock {
    /// Keeps the lock for as long as this process lives, whatever it forgets.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

fn clusters_dir() -> Result<PathBuf, LaunchError> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map(|state| state.join("gameday/clusters")).ok_or_else(|| {
        LaunchError::new("find a place for the cluster's state: neither XDG_STATE_HOME nor HOME is an absolute path")
    })
}

/// Writes a file that only its owner can read, so that readers see all of it or nothing.
pub(super) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(content)?;
    fs::rename(partial, path)
}

/// Removes a tree that may hold directories without permissions (an overlay's work
/// directory has none).
pub(crate) fn remove_tree(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(data) = path.symlink_metadata() else { return };
    if !data.is_dir() {
        let _ = fs::remove_file(path);
        return;
    }
    if fs::remove_dir_all(path).is_ok() {
        return;
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        remove_tree(&entry.path());
    }
    let _ = fs::remove_dir(path);
}
