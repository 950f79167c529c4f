//! Is it an answer? The messages that follow a question, one after the other: pure.

use serde_json::{Map, Value};

use super::AnsweredBy;

/// Longer answers are not read to their end.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// How much of what was said is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// What a message means for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It goes on.
    More,
    /// It is whole and good.
    Answered,
    /// There will be no good answer.
    Wrong(String),
}

/// An answer on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    text: String,
}

impl Reading {
    /// Takes in the next text frame. What is no JSON object, or of no kind that is known
    /// here, is passed over: a service may say more than it is asked for.
    pub(crate) fn take(&mut self, by: &AnsweredBy, frame: &str) -> Told {
        let Ok(message) = serde_json::from_str::<Value>(frame) else { return Told::More };
        if includes(&message, &by.chunk) {
            let piece = message.pointer(&by.text).and_then(Value::as_str).unwrap_or_default();
            if self.text.len() + piece.len() > TEXT_BYTES_MAX {
                return Told::Wrong(format!("an answer of more than {} KiB", TEXT_BYTES_MAX / 1024));
            }
            self.text.push_str(piece);
            return Told::More;
        }
        if includes(&message, &by.end) {
            return self.judge(by);
        }
        if !by.refusal.is_empty() && includes(&message, &by.refusal) {
            return Told::Wrong(format!("refused: {}", shown(frame)));
        }
        Told::More
    }

    fn judge(&self, by: &AnsweredBy) -> Told {
        if self.text.trim().is_empty() {
            return Told::Wrong("an answer without content".to_owned());
        }
        let text = self.text.to_lowercase();
        if by.excuses.iter().any(|excuse| text.contains(&excuse.to_lowercase())) {
            return Told::Wrong(format!("an excuse in place of an answer: {}", shown(&self.text)));
        }
        Told::Answered
    }
}

/// Whether a message has every key and value of `expected`.
pub(crate) fn includes(message: &Value, expected: &Map<String, Value>) -> bool {
    expected.iter().all(|(key, value)| match (message.get(key), value) {
        (Some(found @ Value::Object(_)), Value::Object(inner)) => includes(found, inner),
        (found, value) => found == Some(value),
    })
}

fn shown(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by() -> AnsweredBy {
        serde_json::from_value(json!({
            "chunk": {"type": "answer_chunk"},
            "text": "/content",
            "end": {"type": "final_answer"},
            "refusal": {"type": "error"},
            "excuses": ["no answer could be generated"],
        }))
        .unwrap()
    }

    #[test]
    fn only_a_whole_answer_with_content_is_one() {
        let chunk = |text: &str| json!({"type": "answer_chunk", "content": text}).to_string();
        let end = || r#"{"type":"final_answer","content":""}"#.to_owned();
        let check = |frames: &[String], expect: Result<(), &str>| {
            let mut reading = Reading::default();
            let told = frames.iter().map(|frame| reading.take(&by(), frame)).find(|told| *told != Told::More);
            match (told, expect) {
                (Some(Told::Answered), Ok(())) => {}
                (Some(Told::Wrong(reason)), Err(expect)) => assert!(reason.contains(expect), "{reason}"),
                (None, Err("unfinished")) => {}
                (told, expect) => panic!("{frames:?}: {told:?}, not {expect:?}"),
            }
        };
        let status = r#"{"type":"status","msg":"Thinking..."}"#.to_owned();
        let context = r#"{"type":"context","data":{}}"#.to_owned();
        check(&[status.clone(), chunk("Hold "), chunk("it."), context.clone(), end()], Ok(()));
        check(&["not json".to_owned(), chunk("Hold it."), end()], Ok(()));
        check(&[status.clone(), chunk("Hold it."), context], Err("unfinished"));
        check(&[status, end()], Err("without content"));
        check(&[chunk("  "), chunk("\n"), end()], Err("without content"));
        check(&[r#"{"type":"answer_chunk"}"#.to_owned(), end()], Err("without content"));
        check(&[chunk("No answer could"), chunk(" be generated."), end()], Err("excuse"));
        check(&[r#"{"type":"error","message":"unknown product"}"#.to_owned()], Err("unknown product"));
        check(&[chunk(&"x".repeat(TEXT_BYTES_MAX)), chunk("x"), end()], Err("more than 256 KiB"));
    }
}
