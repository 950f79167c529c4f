//! What is kept about a kind cluster, in a directory that only its user can read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::heal::{self, HealError};

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
    directory: PathBuf,
}

impl Files {
    /// Those of this name; nothing is made yet.
    pub(super) fn of(name: &str) -> Result<Self, HealError> {
        Ok(Self { directory: heal::state_directory()?.join("kind").join(name) })
    }

    fn running_file(&self) -> PathBuf {
        self.directory.join("running.json")
    }

    /// What `cluster up` wrote when the cluster was ready.
    pub(super) fn running(&self) -> Option<Running> {
        serde_json::from_slice(&std::fs::read(self.running_file()).ok()?).ok()
    }
}
