//! Reading a log file from where the client wants it, and its growth.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::cri::Writer;
use super::{Options, Run};

/// How much is read at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// How often a followed log is looked at while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A log that is being read.
pub(super) struct Reader {
    file: File,
    writer: Writer,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
    /// How many more bytes the client wants.
    left: Option<u64>,
    /// The run whose end ends the log; absent where it is not followed.
    run: Option<Run>,
}

impl Reader {
    pub(super) async fn open(path: &Path, options: Options, run: Option<Run>) -> std::io::Result<Self> {
        let mut file = File::open(path).await?;
        if let Some(lines) = options.tail_lines {
            let start = tail_start(&mut file, lines).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        let writer = Writer::new(options.timestamps, options.since);
        Ok(Self { file, writer, rest: Vec::new(), left: options.limit_bytes, run })
    }

    /// The next piece of text, or `None` at the end. Ends a followed log once its run is over
    /// and everything that was written has been read.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            // Asked before reading: what is written before the end is then read after it.
            let on = self.run.as_ref().is_some_and(Run::is_on);
            let mut block = vec![0; BLOCK];
            let length = self.file.read(&mut block).await?;
            if length == 0 {
                if !on {
                    return Ok(None);
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let text = self.lines(&block[..length]);
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
    }

    fn lines(&mut self, block: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(block.len());
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.ends_with(b"\n") {
                self.rest.pop();
                self.writer.write(&self.rest, &mut text);
                self.rest.clear();
            }
        }
        if let Some(left) = &mut self.left {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= u64::try_from(text.len()).unwrap_or(*left);
        }
        text.into()
    }
}

/// Where the last `lines` lines of a file begin; read from its end.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    let mut seen = 0;
    let whole = end;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block).await?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + index as u64 + 1;
            // The line feed at the very end begins no line.
            if after < whole {
                seen += 1;
            }
            if seen == lines {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::kinds;
    use crate::object::Key;

    async fn read(content: &str, options: Options) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let mut reader = Reader::open(file.path(), options, None).await.unwrap();
        let mut text = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_wanted_part_is_read() {
        let content: String = (0..5).map(|n| format!("2026-01-01T00:00:0{n}Z stdout F line {n}\n")).collect();
        let tail = |tail_lines| Options { tail_lines: Some(tail_lines), ..Options::default() };
        assert_eq!(read(&content, tail(0)).await, "");
        assert_eq!(read(&content, tail(2)).await, "line 3\nline 4\n");
        assert_eq!(read(&content, tail(5)).await.lines().count(), 5);
        assert_eq!(read(&content, tail(50)).await.lines().count(), 5);
        assert_eq!(read("", tail(3)).await, "");
        let limited = Options { limit_bytes: Some(10), ..Options::default() };
        assert_eq!(read(&content, limited).await, "line 0\nlin");
    }

    #[tokio::test]
    async fn tails_are_found_across_blocks() {
        let long = "x".repeat(1000);
        let content: String = (0..500).map(|n| format!("2026-01-01T00:00:00Z stdout F {n} {long}\n")).collect();
        let options = Options { tail_lines: Some(300), ..Options::default() };
        let text = read(&content, options).await;
        assert_eq!(text.lines().count(), 300);
        assert!(text.starts_with("200 "));
    }

    #[tokio::test]
    async fn a_followed_log_ends_with_its_run_and_misses_nothing() {
        let store = crate::store::Store::new();
        let status = |state: serde_json::Value| json!([{"name": "c", "containerID": "x://1", "state": state}]);
        let pod = json!({"metadata": {"name": "p", "namespace": "a"},
            "status": {"containerStatuses": status(json!({"running": {}}))}});
        let pod = store.create(&kinds::POD, pod).unwrap();
        let key = Key::of(&kinds::POD, &pod);
        let run = Run::of(store.clone(), key.clone(), &pod, "c".to_owned());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "2026-01-01T00:00:00Z stdout F one").unwrap();
        let mut reader = Reader::open(file.path(), Options::default(), Some(run)).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "one\n");
        // The end of the run is seen before its last line is.
        write!(file, "2026-01-01T00:00:01Z stdout F tw").unwrap();
        let ended = json!({"terminated": {"exitCode": 0}});
        writeln!(file, "o").unwrap();
        let end = |pod: &mut serde_json::Value| {
            pod["status"]["containerStatuses"] = status(ended);
            Ok(())
        };
        store.update(&key, end).unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "two\n");
        assert_eq!(reader.next().await.unwrap(), None);
    }
}
