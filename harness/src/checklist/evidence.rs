//! What other commands leave behind for the checklist, as files of one form each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A state of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Source {
    /// The commit.
    pub commit: String,
    /// Whether nothing besides it was there.
    pub clean: bool,
}

impl Source {
    /// The commit as people name it.
    #[must_use]
    pub fn short(&self) -> String {
        self.commit.chars().take(12).collect()
    }

    /// The state of a time between two looks: it may only count as clean if it never changed.
    #[must_use]
    pub fn throughout(self, until: &Self) -> Self {
        Self { clean: self.clean && self == *until, ..self }
    }
}

/// What `cargo xtask test` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TestEvidence {
    /// Of which source.
    pub source: Source,
    /// How many tests passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were skipped.
    pub skipped: u64,
    /// When it ended.
    pub finished: Timestamp,
}

/// What `cargo xtask smoke` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SmokeEvidence {
    /// Of which source.
    pub source: Source,
    /// On which cluster: its name in `gate.toml`, or `embedded`.
    pub cluster: String,
    /// Of which version.
    pub version: String,
    /// Whether only the quick checks were asked.
    pub quick: bool,
    /// How many checks passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// When it ended.
    pub finished: Timestamp,
}

/// A backup that somebody restored, or otherwise showed to be whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BackupEvidence {
    /// Which backup.
    pub artefact: String,
    /// When it was verified.
    pub verified: Timestamp,
}

/// What reading a piece of evidence came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// It is there.
    There(T),
    /// There is no such file.
    Absent(String),
    /// It cannot be read, or is of another form.
    Unreadable(String),
}
