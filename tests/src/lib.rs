//! End-to-end tests: the program as a user runs it, against a real embedded cluster.
//!
//! Every test has a state directory, a run directory and, where it wants one, a cluster
//! of its own, so tests run side by side and leave nothing behind.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;

pub mod context;
pub mod recorded;
pub mod state;

/// A place of its own to run `xtask` in.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Place {
    /// A new one, removed with everything in it when dropped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// `xtask` with these arguments, in the project's root, with this place's directories.
    pub fn xtask<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(project())
            .env("XDG_STATE_HOME", self.directory.path().join("state"))
            .env("GAMEDAY_RUNS", self.runs())
            .env_remove("KUBECONFIG")
            .env_remove("GITHUB_ACTIONS")
            .stdin(Stdio::null());
        command
    }

    /// Runs `xtask` to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(&mut self.xtask(arguments))
    }

    /// Where runs are kept.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.directory.path().join("runs")
    }

    /// The directory of this place.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `report.json` of the newest run.
    ///
    /// # Panics
    /// Where there is none, or it is not JSON.
    #[must_use]
    pub fn report(&self) -> Value {
        let path = self.runs().join("latest/report.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("the report is JSON")
    }

    /// Starts an embedded cluster in this place; stopped when the guard is dropped.
    #[must_use]
    pub fn cluster(&self) -> Cluster<'_> {
        self.run(["cluster", "up"]).expect_code(0);
        Cluster { place: self }
    }
}

/// An embedded cluster that runs until this is dropped.
#[derive(Debug)]
pub struct Cluster<'a> {
    place: &'a Place,
}

impl Cluster<'_> {
    /// A `kubectl` against this cluster.
    #[must_use]
    pub fn kubectl(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }

    /// Process id of its outermost process.
    ///
    /// # Panics
    /// Where it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let told = self.place.run(["cluster", "status", "--output", "json"]).expect_code(0).stdout;
        let told: Value = serde_json::from_str(&told).expect("the status is JSON");
        told["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("the status has a pid")
    }

    /// The kubeconfig to reach it with.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.place.path().join("state/gameday/clusters/gameday/kubeconfig")
    }
}

impl Cluster<'_> {
    /// A client of this cluster.
    ///
    /// # Panics
    /// Where its kubeconfig is not one.
    pub async fn client(&self) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("the kubeconfig can be read");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.expect("the kubeconfig is valid")).expect("the kubeconfig is complete")
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let ended = self.place.run(["cluster", "down"]);
        if !std::thread::panicking() {
            ended.expect_code(0);
        }
    }
}

impl Ended {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Insists on an exit code.
    ///
    /// # Panics
    /// With everything the command said, where it is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Says something that is seen also where the test passes: what it was held with, or why it was not.
/// `cargo xtask test` repeats lines that begin with `skipped: ` in the end.
pub fn tell(line: &str) {
    // The macros write into the test's own record, which is thrown away where it passes.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The project's root.
#[must_use]
pub fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The `xtask` program, built beside the tests.
///
/// # Panics
/// Where it has not been built.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let program = test.ancestors().nth(2).expect("a test lies in deps").join("xtask");
    assert!(program.exists(), "{} is missing: `cargo build -p xtask` makes it", program.display());
    program
}

/// Looks until `look` returns something, for at most `within`.
///
/// # Panics
/// With what was last seen, when the time is over.
#[track_caller]
pub fn eventually<T>(within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(last) if Instant::now() > deadline => panic!("not within {within:?}; last seen: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Held by a test for as long as nothing may run beside it: what does so disturbs a measurement.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed before says so itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The journal of the newest run in a directory, where there is one.
#[must_use]
pub fn newest_journal(runs: &Path) -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir() && !path.is_symlink());
    found.sort();
    found.pop().map(|run| run.join("journal.ndjson"))
}

/// Ends a child with SIGKILL and reaps it.
pub fn kill(child: &mut Child) {
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
}
