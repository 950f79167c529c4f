//! The journal: one event a line, append-only, safe to read after a crash.
//!
//! A line counts once its newline is written. A last line without one is a write that
//! was cut off: readers leave it out and say so, and [`Journal::reopen`] removes it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, What};

/// The journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{action} journal `{path}`")]
    Io {
        /// `create`, `write`, `read`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A complete line is not an event: the file was changed by something else.
    #[error("read journal `{path}`: line {line} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Lines of JSON on disk, being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded<T> {
    /// Every complete line.
    pub entries: Vec<T>,
    /// Bytes of a last line that was cut off; 0 where none was.
    pub torn_bytes: usize,
}

impl Journal {
    /// Creates a new file and makes its name durable.
    ///
    /// # Errors
    /// [`JournalError::Io`], also where the file already exists.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let create = || {
            let file = OpenOptions::new().create_new(true).append(true).open(path)?;
            file.sync_all()?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|source| JournalError::Io { action: "create", path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Opens a file that another process left, without its torn tail.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn reopen(path: &Path) -> Result<Self, JournalError> {
        let reopen = || {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let complete = complete_bytes(&bytes);
            if complete < bytes.len() {
                file.set_len(complete as u64)?;
                file.sync_all()?;
            }
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = reopen().map_err(|source| JournalError::Io { action: "reopen", path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends one entry as a line, in a single write.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the entry then counts as not written.
    pub fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(entry).expect("entries have string keys only");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| self.failed("write", source))
    }

    /// Appends one entry and returns only when it is on the disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the entry then counts as not written.
    pub fn append_synced<T: Serialize>(&mut self, entry: &T) -> Result<(), JournalError> {
        self.append(entry)?;
        self.file.sync_data().map_err(|source| self.failed("sync", source))
    }

    /// Gives the file another name in its directory, durably.
    ///
    /// # Errors
    /// [`JournalError::Io`]; it then keeps its name.
    pub fn rename(&mut self, to: &Path) -> Result<(), JournalError> {
        let parent = to.parent().unwrap_or(Path::new("."));
        std::fs::rename(&self.path, to).map_err(|source| self.failed("rename", source))?;
        to.clone_into(&mut self.path);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| self.failed("sync", source))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { action, path: self.path.clone(), source }
    }
}

/// Whether nothing may happen before this event is on the disk.
#[must_use]
pub fn must_sync(event: &Event) -> bool {
    match &event.what {
        What::FaultPrepared { .. } | What::Healed { .. } | What::HealFailed { .. } | What::RunEnded { .. } => true,
        What::RunStarted(_)
        | What::RulesSet(_)
        | What::ReferenceGiven(_)
        | What::ClusterReady(_)
        | What::StageStarted { .. }
        | What::StageSaid { .. }
        | What::StageFinished { .. }
        | What::ChecklistTaken(_)
        | What::SoakStarted(_)
        | What::SoakLooked(_)
        | What::ScenarioStarted(_)
        | What::LaneTaken(_)
        | What::ScenarioSkipped { .. }
        | What::PhaseEntered(_)
        | What::Evidence { .. }
        | What::PodSeen(_)
        | What::PodGone { .. }
        | What::SamplingAt { .. }
        | What::Sample(_)
        | What::BaselineCompared(_)
        | What::Load(_)
        | What::Socket(_)
        | What::Rollout(_)
        | What::FaultSent
        | What::FaultDone
        | What::FaultFailed { .. }
        | What::StepSent { .. }
        | What::StepDone { .. }
        | What::StepFailed { .. }
        | What::HealSent
        | What::Logged(_)
        | What::Note { .. }
        | What::ScenarioEnded(_) => false,
    }
}

/// Reads every complete line.
///
/// # Errors
/// [`JournalError::Io`], [`JournalError::Damaged`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Recorded<T>, JournalError> {
    let mut entries = Vec::new();
    let torn_bytes = each(path, |entry| entries.push(entry))?;
    Ok(Recorded { entries, torn_bytes })
}

/// Hands over every complete line, one after the other, and keeps none: a journal may be larger
/// than memory. Returns how many bytes a last line has that was cut off, 0 where none was.
///
/// # Errors
/// [`JournalError::Io`], [`JournalError::Damaged`]; what lies before has been handed over.
pub fn each<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<usize, JournalError> {
    let failed = |source| JournalError::Io { action: "read", path: path.to_owned(), source };
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line).map_err(failed)?;
        number += 1;
        let Some(complete) = line.strip_suffix(b"\n") else { return Ok(line.len()) };
        if complete.is_empty() {
            continue;
        }
        take(serde_json::from_slice(complete).map_err(|error| JournalError::Damaged {
            path: path.to_owned(),
            line: number,
            reason: error.to_string(),
        })?);
    }
}

fn complete_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.ndjson");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_every_complete_line() {
        let whole = b"1\n22\n333\n";
        for cut in 0..=whole.len() {
            let (_directory, path) = written(&whole[..cut]);
            let expected: Vec<u32> =
                [(2, 1), (5, 22), (9, 333)].iter().filter(|(end, _)| cut >= *end).map(|e| e.1).collect();
            let recorded = read::<u32>(&path).unwrap();
            assert_eq!(recorded.entries, expected, "cut at {cut}");
            assert_eq!(recorded.torn_bytes, cut - complete_bytes(&whole[..cut]), "cut at {cut}");

            Journal::reopen(&path).unwrap().append_synced(&4).unwrap();
            let reopened = read::<u32>(&path).unwrap();
            assert_eq!(reopened.entries, [expected, vec![4]].concat(), "cut at {cut}");
            assert_eq!(reopened.torn_bytes, 0);
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let (_directory, path) = written(b"1\nx\n3\n");
        let mut before = Vec::new();
        let error = each(&path, |entry: u32| before.push(entry)).unwrap_err().to_string();
        assert!(error.contains("line 2 is damaged"), "{error}");
        assert_eq!(before, [1], "what lies before it was handed over");
    }

    #[test]
    fn an_existing_journal_is_not_overwritten() {
        let (_directory, path) = written(b"1\n");
        assert!(Journal::create(&path).is_err());
        assert_eq!(read::<u32>(&path).unwrap().entries, [1]);
    }
}
