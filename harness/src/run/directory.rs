//! A run's directory: `<runs>/<run-id>/`, and `<runs>/latest` that points to the newest.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::clock::RunClock;

/// How many runs may begin in the same second.
const SAME_SECOND_MAX: u32 = 100;

/// The directory of one run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    run: String,
}

impl RunDirectory {
    /// Makes a new one, named by the run's start so that names sort by time.
    ///
    /// # Errors
    /// What the file system returned.
    pub fn create(runs: &Path, clock: &RunClock) -> io::Result<Self> {
        std::fs::create_dir_all(runs)?;
        let second = clock.started().strftime("%Y%m%d-%H%M%S").to_string();
        for attempt in 0..SAME_SECOND_MAX {
            let run = if attempt == 0 { second.clone() } else { format!("{second}-{attempt}") };
            let path = runs.join(&run);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path: path.canonicalize()?, run }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{SAME_SECOND_MAX} runs began in the same second")))
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Removes it again, of a run that did not begin.
    pub fn discard(self) {
        // What cannot be removed does no harm: it is not the newest run.
        let _ = std::fs::remove_dir_all(&self.path);
    }

    /// Points `latest` to this run, atomically.
    ///
    /// # Errors
    /// What the file system returned.
    pub fn publish(&self) -> io::Result<()> {
        let runs = self.path.parent().unwrap_or(Path::new("."));
        let fresh = runs.join(format!(".latest-{}", self.run));
        symlink(&self.run, &fresh)?;
        std::fs::rename(&fresh, runs.join("latest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_second_differ_and_latest_is_the_last_published() {
        let runs = tempfile::tempdir().unwrap();
        let clock = RunClock::start();
        let first = RunDirectory::create(runs.path(), &clock).unwrap();
        let second = RunDirectory::create(runs.path(), &clock).unwrap();
        assert_ne!(first.run(), second.run());
        for directory in [&first, &second, &first] {
            directory.publish().unwrap();
            assert_eq!(std::fs::read_link(runs.path().join("latest")).unwrap(), Path::new(directory.run()));
        }
    }
}
