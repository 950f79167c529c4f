//! Warnings and errors that pods logged after a fault, for the report's timeline.

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::redact::Redactor;
use super::{COLLECT_TIMEOUT, LOGS_AT_ONCE, Source, redactor, wanted_logs};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::event::{LogLine, Offset};

/// The first so many of each log: what follows mostly says the same again.
const LINES_OF_LOG_MAX: usize = 8;
/// And so many of all.
const LINES_MAX: usize = 40;
/// The longest line.
const CHARACTERS_MAX: usize = 400;
/// Levels that are worth a line.
const LEVELS: [&str; 6] = ["warn", "warning", "error", "critical", "fatal", "panic"];

/// What the namespace's pods logged since the fault, in order of time, without values of Secrets.
///
/// # Errors
/// Why nothing could be read, in words. A log that cannot be read by itself is left out.
pub(in crate::run) async fn logged(
    cluster: &Cluster,
    fault: Offset,
    clock: &RunClock,
    cancel: &CancellationToken,
) -> Result<Vec<LogLine>, String> {
    let source = Source { cluster, clock, cancel, deadline: clock.instant(clock.now() + COLLECT_TIMEOUT) };
    let redactor = redactor(&source.secrets().await?);
    let seconds = i64::try_from(clock.now().since(fault).as_secs()).unwrap_or(i64::MAX).saturating_add(1);
    let source = &source;
    let pods = source.pods().await?;
    let reading = pods.iter().flat_map(wanted_logs).map(async |wanted| {
        let log = source.log(&wanted, Some(seconds)).await.unwrap_or_default();
        (wanted.pod, log)
    });
    let logs: Vec<(String, String)> = futures_util::stream::iter(reading).buffered(LOGS_AT_ONCE).collect().await;
    let mut lines: Vec<LogLine> = logs.iter().flat_map(|(pod, log)| worth_a_line(pod, log, clock, &redactor)).collect();
    lines.retain(|line| line.written >= fault);
    lines.sort_by_key(|line| line.written);
    lines.truncate(LINES_MAX);
    Ok(lines)
}

/// The lines of one log that warn or complain.
fn worth_a_line(pod: &str, log: &str, clock: &RunClock, redactor: &Redactor) -> Vec<LogLine> {
    let lines = log.lines().filter_map(|line| {
        let (time, text) = line.split_once(' ')?;
        let time: Timestamp = time.parse().ok()?;
        // Redacted before it is cut: half a value would not be found any more.
        let kept = || redactor.redact(text).chars().take(CHARACTERS_MAX).collect();
        is_trouble(text).then(|| LogLine { pod: pod.to_owned(), written: clock.offset_of(time), line: kept() })
    });
    lines.take(LINES_OF_LOG_MAX).collect()
}

/// By its level where the line is JSON with one, else by its words.
fn is_trouble(text: &str) -> bool {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    match parsed.as_ref().and_then(|line| line.get("level")?.as_str()) {
        Some(level) => LEVELS.contains(&level.to_ascii_lowercase().as_str()),
        None => {
            let words = text.split(|one: char| !one.is_alphanumeric()).map(str::to_ascii_lowercase);
            words.into_iter().any(|word| LEVELS.contains(&word.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_worth_it_by_its_level_or_its_words() {
        for (line, expect) in [
            (r#"{"level":"ERROR","message":"redis away"}"#, true),
            (r#"{"level":"WARNING","message":"again"}"#, true),
            (r#"{"level":"INFO","message":"no error here"}"#, false),
            ("1:M 24 Nov 2026 # WARNING overcommit", true),
            ("1:M 24 Nov 2026 * Ready to accept connections", false),
            ("terror and swarning", false),
            ("", false),
        ] {
            assert_eq!(is_trouble(line), expect, "{line}");
        }
    }

    #[test]
    fn lines_have_times_are_bounded_and_tell_no_secret() {
        let clock = RunClock::start();
        let log: String = (0..20)
            .map(|second| format!("2027-01-01T00:00:{second:02}.5Z error: s3cr3t-value {}\n", "x".repeat(500)))
            .collect();
        let redactor = Redactor::new([b"s3cr3t-value".as_slice()]);
        let lines = worth_a_line("backend-1", &format!("no time error\n{log}"), &clock, &redactor);
        assert_eq!(lines.len(), LINES_OF_LOG_MAX);
        assert_eq!(lines[1].written.since(lines[0].written), std::time::Duration::from_secs(1));
        for line in lines {
            assert!(line.line.starts_with("error: [redacted] x") && line.line.chars().count() == CHARACTERS_MAX);
        }
    }
}
