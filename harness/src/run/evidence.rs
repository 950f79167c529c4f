//! Evidence for the pre-deployment checklist, as files beside what cargo builds: it belongs to
//! a state of the source, and goes with it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checklist::evidence::{Read, SmokeEvidence, Source, TestEvidence};
use crate::clock::wall_clock;
use crate::config::{Config, Release};
use crate::event::{ClusterFacts, ClusterKind};
use crate::pipeline::{SmokeError, SmokeResult};

/// Evidence could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("keep evidence in `{path}`")]
pub struct EvidenceError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Where the evidence of a test run is.
#[must_use]
pub fn tests(directory: &Path) -> PathBuf {
    directory.join("tests.json")
}

/// Where the evidence of a smoke test is.
#[must_use]
pub fn smoke(directory: &Path) -> PathBuf {
    directory.join("smoke.json")
}

/// Where the evidence of a verified backup is.
#[must_use]
pub fn backup(directory: &Path) -> PathBuf {
    directory.join("backup.json")
}

/// The state of the source, as git tells it.
///
/// # Errors
/// A sentence where git does not know.
pub fn source(root: &Path) -> Result<Source, String> {
    let commit = git(root, &["rev-parse", "HEAD"])?.trim().to_owned();
    // What is there and not committed, and not ignored, may have been built as well.
    let clean = git(root, &["status", "--porcelain"])?.trim().is_empty();
    Ok(Source { commit, clean })
}

/// Reads one piece of evidence.
#[must_use]
pub fn read<T: DeserializeOwned>(path: &Path) -> Read<T> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(evidence) => Read::There(evidence),
            Err(error) => Read::Unreadable(format!("`{shown}` is no such evidence: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Read::Absent(shown.to_string()),
        Err(error) => Read::Unreadable(format!("`{shown}` cannot be read: {error}")),
    }
}

/// Keeps how a whole test run ended. `before` is the source when it began.
///
/// # Errors
/// [`EvidenceError`].
pub fn keep_tests(
    config: &Config,
    before: Source,
    passed: u64,
    failed: u64,
    skipped: u64,
) -> Result<(), EvidenceError> {
    let Some(source) = unchanged(config, before) else { return Ok(()) };
    let evidence = TestEvidence { source, passed, failed, skipped, finished: wall_clock() };
    keep(&tests(&config.checklist.evidence), &evidence)
}

/// Keeps how a smoke test ended, if it came to ask anything. `before` is the source when it began.
///
/// # Errors
/// [`EvidenceError`].
pub fn keep_smoke(
    config: &Config,
    before: Source,
    cluster: &ClusterFacts,
    quick: bool,
    asked: &Result<Vec<SmokeResult>, SmokeError>,
) -> Result<(), EvidenceError> {
    let results = match asked {
        Ok(results) | Err(SmokeError::Failed { results }) => results,
        Err(SmokeError::Cluster(_) | SmokeError::Nothing(_) | SmokeError::Cancelled) => return Ok(()),
    };
    let Some(source) = unchanged(config, before) else { return Ok(()) };
    let passed = results.iter().filter(|result| result.passed).count() as u64;
    let evidence = SmokeEvidence {
        source,
        cluster: name_of(config, cluster),
        version: config.release_version(Release::Current).to_owned(),
        quick,
        passed,
        failed: results.len() as u64 - passed,
        finished: wall_clock(),
    };
    keep(&smoke(&config.checklist.evidence), &evidence)
}

/// The name by which `gate.toml` knows a cluster.
#[must_use]
pub fn name_of(config: &Config, cluster: &ClusterFacts) -> String {
    match cluster.kind {
        ClusterKind::Embedded => "embedded".to_owned(),
        ClusterKind::Kind | ClusterKind::Context => {
            let is_it = |pin: &crate::config::PinnedCluster| pin.context == cluster.name && pin.uid == cluster.uid;
            let known = config.clusters.iter().find(|(_, pin)| is_it(pin));
            known.map_or_else(|| format!("context {}", cluster.name), |(name, _)| name.clone())
        }
    }
}

/// Nothing where git no longer tells: evidence of an unknown source is none.
fn unchanged(config: &Config, before: Source) -> Option<Source> {
    source(&config.root).ok().map(|now| before.throughout(&now))
}

fn keep(path: &Path, evidence: &impl Serialize) -> Result<(), EvidenceError> {
    let failed = |source| EvidenceError { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let text = serde_json::to_string_pretty(evidence).map_err(|error| failed(error.into()))?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let said = Command::new("git").arg("-C").arg(root).args(arguments).output();
    let said = said.map_err(|error| format!("git does not start: {error}"))?;
    if said.status.success() {
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    } else {
        let error = String::from_utf8_lossy(&said.stderr);
        Err(format!("git {}: {}", arguments.join(" "), error.lines().next().unwrap_or("it failed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_not_evidence_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = tests(&directory.path().join("evidence"));
        assert!(matches!(read::<TestEvidence>(&path), Read::Absent(_)));
        let source = Source { commit: "a".repeat(40), clean: true };
        let evidence = TestEvidence { source, passed: 1, failed: 0, skipped: 0, finished: wall_clock() };
        keep(&path, &evidence).unwrap();
        assert_eq!(read(&path), Read::There(evidence));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read::<TestEvidence>(&path), Read::Unreadable(why) if why.contains("is no such evidence")));
    }

    #[test]
    fn a_directory_without_a_commit_has_no_source() {
        let directory = tempfile::tempdir().unwrap();
        let why = super::source(directory.path()).unwrap_err();
        assert!(why.contains("git"), "{why}");
    }
}
