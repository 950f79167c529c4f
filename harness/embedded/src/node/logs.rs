//! Containers' output in CRI log files, one for each run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest piece of a line; what is longer is cut and marked as partial.
const LINE_MAX: usize = 16 * 1024;

/// The log of one run of a container. Clones write to the same file.
#[derive(Debug, Clone)]
pub(super) struct Log {
    file: Arc<Mutex<File>>,
}

impl Log {
    /// Starts the log of this run, and removes those before the previous one.
    ///
    /// # Errors
    /// What making the file returned.
    pub(super) fn create(dir: &Path, run: u32) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for old in runs(dir).into_iter().filter(|old| old + 1 < run) {
            fs::remove_file(dir.join(file_name(old)))?;
        }
        let path = dir.join(file_name(run));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// Copies a stream into the log until it ends. A full disk loses lines, not the container.
    pub(super) async fn copy(self, mut from: impl AsyncRead + Unpin, stream: &'static str) {
        let mut lines = Lines::default();
        let mut buffer = vec![0; LINE_MAX];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let text = lines.push(&buffer[..length], stream, &now());
            self.write(&text);
        }
        self.write(&lines.finish(stream, &now()));
    }

    fn write(&self, text: &[u8]) {
        if !text.is_empty() {
            let _ = super::lock(&self.file).write_all(text);
        }
    }
}

/// The newest log in a container's directory, or the one before it.
#[must_use]
pub(super) fn find(dir: &Path, previous: bool) -> Option<PathBuf> {
    let mut runs = runs(dir);
    let newest = runs.pop()?;
    let wanted = if previous { newest.checked_sub(1).filter(|run| runs.contains(run))? } else { newest };
    Some(dir.join(file_name(wanted)))
}

fn runs(dir: &Path) -> Vec<u32> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut runs: Vec<u32> =
        files.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    runs.sort_unstable();
    runs
}

fn file_name(run: u32) -> String {
    format!("{run}.log")
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The CRI lines that these bytes complete.
    fn push(&mut self, bytes: &[u8], stream: &str, time: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.last() == Some(&b'\n') {
                self.rest.pop();
                self.write(&mut out, stream, time, 'F');
            } else if self.rest.len() >= LINE_MAX {
                self.write(&mut out, stream, time, 'P');
            }
        }
        out
    }

    fn finish(&mut self, stream: &str, time: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.rest.is_empty() {
            self.write(&mut out, stream, time, 'P');
        }
        out
    }

    fn write(&mut self, out: &mut Vec<u8>, stream: &str, time: &str, tag: char) {
        out.extend_from_slice(format!("{time} {stream} {tag} ").as_bytes());
        out.append(&mut self.rest);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expect: &str) {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(lines.push(piece.as_bytes(), "stdout", "T"));
        }
        out.extend(lines.finish("stdout", "T"));
        assert_eq!(String::from_utf8(out).unwrap(), expect, "{pieces:?}");
    }

    #[test]
    fn streams_become_lines() {
        check(&[], "");
        check(&["a\n"], "T stdout F a\n");
        check(&["a", "b\nc\n"], "T stdout F ab\nT stdout F c\n");
        check(&["\n\n"], "T stdout F \nT stdout F \n");
        check(&["a\nb"], "T stdout F a\nT stdout P b\n");
    }

    #[test]
    fn long_lines_are_cut() {
        let long = "x".repeat(LINE_MAX + 1);
        let (first, second) = long.split_at(LINE_MAX);
        check(&[first, second, "\n"], &format!("T stdout P {first}\nT stdout F x\n"));
    }

    #[test]
    fn the_last_two_runs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), false), None);
        Log::create(dir.path(), 0).unwrap();
        assert_eq!(find(dir.path(), true), None);
        for run in 1..4 {
            Log::create(dir.path(), run).unwrap();
        }
        assert_eq!(find(dir.path(), false), Some(dir.path().join("3.log")));
        assert_eq!(find(dir.path(), true), Some(dir.path().join("2.log")));
        assert_eq!(runs(dir.path()), [2, 3]);
    }
}
