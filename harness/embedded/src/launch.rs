//! Starting, finding and stopping an embedded cluster from outside.

use std::path::PathBuf;

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
#[derive(Debug, Clone)]
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

/// Entry of the hidden subcommand: what follows `embedded-cluster` on the command line.
pub fn main(_arguments: &[std::ffi::OsString]) -> std::process::ExitCode {
    std::process::ExitCode::from(70)
}

/// The running cluster of this name.
#[must_use]
pub fn find(_name: &str) -> Option<Running> {
    None
}
