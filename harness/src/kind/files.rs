//! What is kept about a kind cluster, in a directory that only its user can read.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::KindError;
use crate::heal;

/// Pause between two tries to take the lock.
const LOCK_LOOK: Duration = Duration::from_millis(200);
/// How long one waits for whoever else is at work on a cluster of this name: longer than making one takes.
const LOCK_WITHIN: Duration = Duration::from_secs(900);

/// A kind cluster that `cluster up` made or adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Running {
    /// Its name, as `kind get clusters` says it.
    pub name: String,
    /// The kubeconfig to reach it with, a file of our own.
    pub kubeconfig: PathBuf,
    /// The local registry, as this machine and image references name it: `localhost:PORT`.
    pub registry: String,
    /// Whether it was made by us, and goes with `cluster down`; what was adopted stays.
    pub made: bool,
}

/// The files of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Files {
    all: PathBuf,
    name: String,
}

/// Held by whoever makes or removes the cluster, and by the `kind` that it runs: as long as either
/// lives, nobody else begins.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Files {
    /// Those of this name; nothing is made yet.
    pub(super) fn of(name: &str) -> Result<Self, KindError> {
        let state = heal::state_directory().map_err(|error| KindError::State(error.to_string()))?;
        Ok(Self { all: state.join("kind"), name: name.to_owned() })
    }

    fn directory(&self) -> PathBuf {
        self.all.join(&self.name)
    }

    /// The kubeconfig that `kind` writes.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// The configuration that `kind` reads.
    pub(super) fn config(&self) -> PathBuf {
        self.directory().join("cluster.json")
    }

    /// The directory that every node of ours has mounted.
    pub(super) fn mark(&self) -> PathBuf {
        self.directory().join("mark")
    }

    fn running_file(&self) -> PathBuf {
        self.directory().join("running.json")
    }

    /// Which network we found absent, so that `kind` made it for us.
    fn network_file(&self) -> PathBuf {
        self.all.join("network")
    }

    /// Makes the directories, for their user alone.
    pub(super) fn make(&self) -> Result<(), KindError> {
        let mark = self.mark();
        DirBuilder::new().recursive(true).mode(0o700).create(&mark).map_err(|error| failed(&mark, &error))
    }

    /// What `cluster up` wrote when the cluster was ready.
    pub(super) fn running(&self) -> Option<Running> {
        serde_json::from_slice(&fs::read(self.running_file()).ok()?).ok()
    }

    /// Says that the cluster is ready.
    pub(super) fn announce(&self, running: &Running) -> Result<(), KindError> {
        let text = serde_json::to_string(running).expect("it has string keys only");
        write_private(&self.running_file(), &text)
    }

    /// Forgets an earlier cluster, and what a `kind` that was killed left: it would wait for its own lock.
    pub(super) fn forget(&self) {
        let kubeconfig = self.kubeconfig();
        for file in [self.running_file(), kubeconfig.with_extension("lock"), kubeconfig] {
            let _ = fs::remove_file(file);
        }
    }

    /// Whether there is anything of this name.
    pub(super) fn exist(&self) -> bool {
        self.directory().exists()
    }

    /// Removes everything about the cluster.
    pub(super) fn remove(&self) -> Result<(), KindError> {
        match fs::remove_dir_all(self.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.directory(), &error)),
            _ => Ok(()),
        }
    }

    /// Remembers that we are about to have this network made.
    pub(super) fn network_is_ours(&self, network: &str) -> Result<(), KindError> {
        write_private(&self.network_file(), network)
    }

    /// The network that was made for us, if there is one.
    pub(super) fn network(&self) -> Option<String> {
        fs::read_to_string(self.network_file()).ok()
    }

    /// Forgets the network.
    pub(super) fn forget_network(&self) {
        let _ = fs::remove_file(self.network_file());
    }

    /// Takes the lock; waits while another holds it.
    pub(super) async fn lock(&self, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Lock, KindError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.all).map_err(|error| failed(&self.all, &error))?;
        let path = self.all.join(format!("{}.lock", self.name));
        let looks = LOCK_WITHIN.as_millis() / LOCK_LOOK.as_millis();
        for look in 0..looks {
            let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&path);
            let file = file.map_err(|error| failed(&path, &error))?;
            match file.try_lock() {
                // Whoever held it before removes the file: it counts while the path leads to it.
                Ok(()) if path.metadata().is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino())) => {
                    return Ok(Lock { path, file });
                }
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
            }
            if look == 0 {
                tell(&format!("another process is at work on kind cluster `{}`; waiting for it", self.name));
            }
            tokio::time::sleep(LOCK_LOOK).await;
        }
        Err(KindError::Busy { name: self.name.clone(), lock: path })
    }
}

impl Lock {
    /// The file, for a child that is to hold the lock as well.
    pub(super) fn share(&self) -> Result<File, KindError> {
        self.file.try_clone().map_err(|error| failed(&self.path, &error))
    }

    /// Lets go, and leaves no file behind.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, error: &io::Error) -> KindError {
    KindError::State(format!("`{}`: {error}", path.display()))
}

/// Writes a file that only its owner can read, so that readers see all of it or nothing.
pub(super) fn write_private(path: &Path, content: &str) -> Result<(), KindError> {
    let partial = path.with_extension("partial");
    let write = || {
        let _ = fs::remove_file(&partial);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| failed(path, &error))
}
