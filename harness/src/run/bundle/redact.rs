//! Takes the values of Secrets out of any text, wherever they stand in it.

use std::ops::Range;

use k8s_openapi::ByteString;

/// What stands where a value was.
const MARK: &str = "[redacted]";
/// Shorter values occur in any text by chance: taking them out would hide nothing and garble it.
const CHARACTERS_MIN: usize = 4;
/// A line of a longer value (a certificate, a file of settings) counts as a secret from here on.
const LINE_CHARACTERS_MIN: usize = 8;

/// Knows the values that must not be seen. It has no `Debug`, so that it cannot print them.
#[derive(Default)]
pub(super) struct Redactor {
    /// Longest first, none twice.
    patterns: Vec<String>,
}

impl Redactor {
    /// Looks for each value as it is, in base64, as a JSON string writes it and, where it has
    /// several lines, line by line.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut patterns: Vec<String> = values.into_iter().flat_map(patterns).collect();
        patterns.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        patterns.dedup();
        Self { patterns }
    }

    /// The text without any of the values.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = self.replace(text, MARK);
        // A value may occur anew where the mark meets what stands around it, or in the mark
        // itself. Without a mark the text only gets shorter, so this ends.
        while self.patterns.iter().any(|pattern| text.contains(pattern)) {
            text = self.replace(&text, "");
        }
        text
    }

    /// Overlapping values are one place: what is left of the second must not stay.
    fn replace(&self, text: &str, mark: &str) -> String {
        let found = |pattern: &String| -> Vec<Range<usize>> {
            text.match_indices(pattern.as_str()).map(|(at, matched)| at..at + matched.len()).collect()
        };
        let mut places: Vec<Range<usize>> = self.patterns.iter().flat_map(found).collect();
        places.sort_by_key(|place| place.start);
        let (mut clean, mut done) = (String::with_capacity(text.len()), 0);
        for place in places {
            if place.start >= done {
                clean.push_str(&text[done..place.start]);
                clean.push_str(mark);
            }
            done = done.max(place.end);
        }
        clean.push_str(&text[done..]);
        clean
    }
}

fn patterns(value: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(value).ok();
    let mut patterns = Vec::new();
    if let Some(text) = text {
        let lines = text.lines().filter(|line| line.trim().chars().count() >= LINE_CHARACTERS_MIN);
        // Files end with a line feed; what is made of them often does not.
        for form in lines.chain([text, text.trim()]) {
            if form.chars().count() >= CHARACTERS_MIN {
                patterns.extend([form.to_owned(), in_json(form)]);
            }
        }
    }
    if text.map_or(value.len(), |text| text.chars().count()) >= CHARACTERS_MIN {
        patterns.push(in_base64(value));
    }
    patterns
}

/// As it stands between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Without its padding, which not everybody writes.
fn in_base64(value: &[u8]) -> String {
    let encoded = serde_json::to_value(ByteString(value.to_vec())).unwrap_or_default();
    encoded.as_str().unwrap_or_default().trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_go_in_every_form_and_the_rest_stays() {
        for (secrets, text, expect) in [
            (&["hunter2"][..], "password=hunter2 user=sam", "password=[redacted] user=sam"),
            (&["hunter2"], "aHVudGVyMg== aHVudGVyMg", "[redacted]== [redacted]"),
            (&["hunter2\n"], "hunter2,hunter2\n,", "[redacted],[redacted],"),
            (&["say \"so\""], r#"{"log":"say \"so\""} say "so""#, r#"{"log":"[redacted]"} [redacted]"#),
            (&["-----BEGIN-----\nMIIEpAIBAAK\n--"], "12:01 MIIEpAIBAAK\n12:02 --", "12:01 [redacted]\n12:02 --"),
            (&["abcd", "cdef"], "abcdef", "[redacted]"),
            (&["abcd", "abcdef"], "abcdef abcd", "[redacted] [redacted]"),
            (&["abcd"], "abcdabcd", "[redacted][redacted]"),
            (&["cat", ""], "cat", "cat"),
            (&[], "as it was", "as it was"),
        ] {
            let redactor = Redactor::new(secrets.iter().map(|secret| secret.as_bytes()));
            let redacted = redactor.redact(text);
            assert_eq!(redacted, expect, "{secrets:?} in {text}");
        }
    }

    #[test]
    fn values_that_the_mark_would_bring_back_go_without_one() {
        for (secrets, text) in [(["redacted", "hunter2"], "hunter2"), (["x[red", "hunter2"], "xhunter2")] {
            let redacted = Redactor::new(secrets.map(str::as_bytes)).redact(text);
            assert!(secrets.iter().all(|secret| !redacted.contains(secret)), "{text}: {redacted}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_of_four_characters_or_more_survives(
            secrets in prop::collection::vec("[a-c\"\\n\\[redé]{4,9}|\\PC{4,12}", 1..4),
            pieces in prop::collection::vec(("[a-c\"\\[redé]{0,4}", any::<prop::sample::Index>(), 0..4u8), 0..6),
        ) {
            let mut text = String::new();
            for (between, which, form) in &pieces {
                let secret = which.get(&secrets);
                text += between;
                text += &match form {
                    0 => secret.clone(),
                    1 => in_base64(secret.as_bytes()),
                    2 => in_json(secret),
                    _ => secret.chars().take(3).collect(),
                };
            }
            let redacted = Redactor::new(secrets.iter().map(String::as_bytes)).redact(&text);
            for secret in &secrets {
                for form in [secret.clone(), in_base64(secret.as_bytes()), in_json(secret)] {
                    prop_assert!(!redacted.contains(&form), "{form:?} in {redacted:?}");
                }
            }
        }

        #[test]
        fn text_without_a_secret_is_left_alone(text in "[a-z \\n]{0,80}") {
            prop_assert_eq!(Redactor::new([&b"HUNTER2"[..]]).redact(&text), text);
        }
    }
}
