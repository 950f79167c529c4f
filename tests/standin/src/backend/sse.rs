//! Server-sent events: bytes in, `data` of each event out.

/// Longest event; what is longer is no Gemini chunk.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Collects the lines of a stream into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// Bytes of a line that has not ended yet.
    line: Vec<u8>,
    /// `data` lines of an event that has not ended yet.
    data: Vec<String>,
}

/// A stream that is not one of server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("a line is not UTF-8")]
    NotText,
}

impl Parser {
    /// Takes the next bytes, wherever they were cut; returns the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, SseError> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let mut line = std::mem::take(&mut self.line);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                let line = String::from_utf8(line).map_err(|_| SseError::NotText)?;
                events.extend(self.end_line(&line));
            } else if self.line.len() == EVENT_BYTES_MAX {
                return Err(SseError::TooLong);
            } else {
                self.line.push(byte);
            }
        }
        Ok(events)
    }

    /// Comments and other fields than `data` are of no interest here.
    fn end_line(&mut self, line: &str) -> Option<String> {
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
        }
        (line.is_empty() && !self.data.is_empty()).then(|| std::mem::take(&mut self.data).join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn collects_events() {
        for (stream, expect) in [
            ("data: a\n\n", vec!["a"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["a", "b"]),
            ("data:a\ndata: b\n\n", vec!["a\nb"]),
            (": comment\nevent: x\nid: 1\ndata: a\n\n", vec!["a"]),
            ("\n\n\n", vec![]),
            ("data: not ended\n", vec![]),
            ("data: é\n\n", vec!["é"]),
        ] {
            assert_eq!(Parser::default().push(stream.as_bytes()).unwrap(), expect, "{stream:?}");
        }
        assert_eq!(Parser::default().push(b"data: \xff\n"), Err(SseError::NotText));
        assert_eq!(Parser::default().push(&vec![b'a'; EVENT_BYTES_MAX + 1]), Err(SseError::TooLong));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            events in prop::collection::vec("[^\r\n]{1,20}", 0..5),
            cuts in prop::collection::vec(1_usize..10, 1..5),
        ) {
            let stream: String = events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect();
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                seen.extend(parser.push(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(seen, events);
        }
    }
}
