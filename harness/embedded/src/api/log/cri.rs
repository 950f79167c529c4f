//! Lines of log files, in the form of the container runtime interface:
//! `2026-01-01T00:00:00.000000000Z stdout F text`.

/// One line of a log file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: &'a str,
    /// Whether the text ended with a line feed; a part of a longer line did not.
    pub(super) full: bool,
    pub(super) text: &'a [u8],
}

/// Reads a line without its line feed; `None` for one of another form.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let tags = parts.next()?;
    let full = tags.split(|byte| *byte == b':').next()? == b"F";
    Some(Line { time, full, text: parts.next().unwrap_or_default() })
}

/// Writes lines as a client reads them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) timestamps: bool,
    /// Earlier lines are left out.
    pub(super) since: Option<jiff::Timestamp>,
    inside_line: bool,
}

impl Writer {
    pub(super) fn new(timestamps: bool, since: Option<jiff::Timestamp>) -> Self {
        Self { timestamps, since, inside_line: false }
    }

    pub(super) fn write(&mut self, line: &[u8], to: &mut Vec<u8>) {
        let Some(line) = parse(line) else { return };
        let early = |since: jiff::Timestamp| line.time.parse::<jiff::Timestamp>().is_ok_and(|time| time < since);
        if self.since.is_some_and(early) {
            return;
        }
        if self.timestamps && !self.inside_line {
            to.extend_from_slice(line.time.as_bytes());
            to.push(b' ');
        }
        to.extend_from_slice(line.text);
        if line.full {
            to.push(b'\n');
        }
        self.inside_line = !line.full;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_written_for_the_client() {
        let lines = [
            "2026-01-01T00:00:00.000000001Z stdout F one",
            "2026-01-01T00:00:01.5Z stderr P tw",
            "2026-01-01T00:00:02Z stderr F o",
            "nonsense",
            "2026-01-01T00:00:03Z stdout F ",
            "2026-01-01T00:00:04Z stdout P end",
        ];
        let check = |timestamps: bool, since: Option<&str>, expected: &str| {
            let mut writer = Writer::new(timestamps, since.map(|time| time.parse().unwrap()));
            let mut text = Vec::new();
            for line in lines {
                writer.write(line.as_bytes(), &mut text);
            }
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        };
        check(false, None, "one\ntwo\n\nend");
        check(false, Some("2026-01-01T00:00:02Z"), "o\n\nend");
        check(false, Some("2026-01-01T01:00:00Z"), "");
        check(
            true,
            None,
            "2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:01.5Z two\n\
            2026-01-01T00:00:03Z \n2026-01-01T00:00:04Z end",
        );
    }

    proptest! {
        #[test]
        fn text_comes_through_whole(texts in proptest::collection::vec("[^\n]{0,40}", 0..8)) {
            let mut writer = Writer::new(false, None);
            let mut written = Vec::new();
            for text in &texts {
                writer.write(format!("2026-01-01T00:00:00Z stdout F {text}").as_bytes(), &mut written);
            }
            let expected: String = texts.iter().map(|text| format!("{text}\n")).collect();
            prop_assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
