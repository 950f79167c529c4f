//! Answers against expectations. Pure.

use serde_json::Value;

use crate::config::{HttpExpectation, WebsocketExpectation};

/// What stands for the released version in expectations.
const VERSION: &str = "{version}";
/// How much of a wrong answer is shown.
const SHOWN_MAX: usize = 200;

/// Whether an HTTP answer is the right one: what was right, or what was wrong.
pub(super) fn http(expectation: &HttpExpectation, status: u16, body: &str, version: &str) -> Result<String, String> {
    if status != expectation.status {
        return Err(format!("{status}, not {}: {}", expectation.status, shown(body)));
    }
    if !expectation.json.is_empty() || !expectation.at_least.is_empty() {
        let answer: Value =
            serde_json::from_str(body).map_err(|error| format!("not JSON: {error}: {}", shown(body)))?;
        check_json(expectation, &answer, version)?;
    }
    let missing: Vec<_> = expectation
        .contains
        .iter()
        .map(|text| text.replace(VERSION, version))
        .filter(|text| !body.contains(text))
        .collect();
    if missing.is_empty() { Ok(status.to_string()) } else { Err(format!("{status}, without {}", missing.join(", "))) }
}

fn check_json(expectation: &HttpExpectation, answer: &Value, version: &str) -> Result<(), String> {
    for (pointer, expected) in &expectation.json {
        let expected = filled(expected, version);
        match answer.pointer(pointer) {
            Some(found) if *found == expected => {}
            Some(found) => return Err(format!("{pointer} is {found}, not {expected}")),
            None => return Err(format!("{pointer} is absent, not {expected}")),
        }
    }
    for (pointer, least) in &expectation.at_least {
        match answer.pointer(pointer).and_then(Value::as_f64) {
            Some(found) if found >= *least => {}
            Some(found) => return Err(format!("{pointer} is {found}, not at least {least}")),
            None => return Err(format!("{pointer} is no number, not at least {least}")),
        }
    }
    Ok(())
}

/// A conversation over a WebSocket: expected messages come in order, others between them.
pub(super) struct Conversation {
    expected: Vec<Value>,
    met: usize,
    seen: usize,
}

impl Conversation {
    pub(super) fn new(expectation: &WebsocketExpectation, version: &str) -> Self {
        let expected = expectation.expect.iter().map(|message| filled(message, version)).collect();
        Self { expected, met: 0, seen: 0 }
    }

    /// The next expected message that has not come.
    pub(super) fn missing(&self) -> Option<&Value> {
        self.expected.get(self.met)
    }

    /// Takes in a message. An error message of the other side that was not expected ends it.
    pub(super) fn take(&mut self, message: &Value) -> Result<(), String> {
        self.seen += 1;
        if self.missing().is_some_and(|expected| includes(message, expected)) {
            self.met += 1;
        } else if message["type"] == "error" {
            return Err(format!("answered with {}", shown(&message.to_string())));
        }
        Ok(())
    }

    pub(super) fn summary(&self) -> String {
        format!("{} messages", self.seen)
    }
}

/// Whether `message` has every key and value of `expected`.
fn includes(message: &Value, expected: &Value) -> bool {
    match (message, expected) {
        (Value::Object(message), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| message.get(key).is_some_and(|found| includes(found, value)))
        }
        _ => message == expected,
    }
}

fn filled(value: &Value, version: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(VERSION, version)),
        Value::Array(items) => items.iter().map(|item| filled(item, version)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), filled(value, version)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn expectation(json: &[(&str, Value)], at_least: &[(&str, f64)], contains: &[&str]) -> HttpExpectation {
        HttpExpectation {
            path: "/".into(),
            status: 200,
            json: json.iter().map(|(pointer, value)| ((*pointer).to_owned(), value.clone())).collect(),
            at_least: at_least
                .iter()
                .map(|(pointer, least)| ((*pointer).to_owned(), *least))
                .collect::<BTreeMap<_, _>>(),
            contains: contains.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn http_answers() {
        let check = |expectation: &HttpExpectation, status, body: &str, expect: Result<&str, &str>| {
            let expect = expect.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(http(expectation, status, body, "v2"), expect, "{status} {body}");
        };
        let plain = expectation(&[], &[], &[]);
        check(&plain, 200, "anything", Ok("200"));
        check(&plain, 503, "not\n ready", Err("503, not 200: not ready"));
        let version = expectation(&[("/version", json!("{version}")), ("/ok", json!(true))], &[], &[]);
        check(&version, 200, r#"{"version":"v2","ok":true}"#, Ok("200"));
        check(&version, 200, r#"{"version":"v1","ok":true}"#, Err("/version is \"v1\", not \"v2\""));
        check(&version, 200, r#"{"version":"v2"}"#, Err("/ok is absent, not true"));
        check(&version, 200, "<html>", Err("not JSON: expected value at line 1 column 1: <html>"));
        let count = expectation(&[], &[("/n", 1.0)], &[]);
        check(&count, 200, r#"{"n":1}"#, Ok("200"));
        check(&count, 200, r#"{"n":0}"#, Err("/n is 0, not at least 1"));
        check(&count, 200, r#"{"n":"1"}"#, Err("/n is no number, not at least 1"));
        let names = expectation(&[], &[], &["a_total", "b_total", "app {version}"]);
        check(&names, 200, "a_total 1\nb_total 2\napp v2", Ok("200"));
        check(&names, 200, "a_total 1", Err("200, without b_total, app v2"));
    }

    #[test]
    fn conversations() {
        let expectation = WebsocketExpectation {
            path: "/ws".into(),
            send: json!({}),
            expect: vec![json!({"type": "status"}), json!({"type": "answer", "v": {"n": 1}})],
        };
        let check = |messages: &[Value], expect: Result<Option<&str>, &str>| {
            let mut conversation = Conversation::new(&expectation, "v2");
            let taken: Result<(), String> = messages.iter().try_for_each(|message| conversation.take(message));
            let missing = taken.map(|()| conversation.missing().map(Value::to_string));
            assert_eq!(missing, expect.map(|text| text.map(str::to_owned)).map_err(str::to_owned), "{messages:?}");
        };
        let (status, answer) =
            (json!({"type": "status", "msg": "x"}), json!({"type": "answer", "v": {"n": 1, "m": 2}}));
        let expected = r#"{"type":"answer","v":{"n":1}}"#;
        check(&[status.clone(), answer.clone()], Ok(None));
        check(&[status.clone(), json!({"type": "other"}), status.clone(), answer.clone()], Ok(None));
        check(&[answer.clone(), status.clone()], Ok(Some(expected)));
        check(&[status.clone(), json!({"type": "answer", "v": {"n": 2}})], Ok(Some(expected)));
        let error = json!({"type": "error", "message": "no such product"});
        check(&[status, error], Err(r#"answered with {"message":"no such product","type":"error"}"#));
    }

    #[test]
    fn long_answers_are_cut_at_a_character() {
        assert_eq!(shown(&"ü".repeat(SHOWN_MAX)), "ü".repeat(SHOWN_MAX));
        assert_eq!(shown(&"ü".repeat(SHOWN_MAX + 1)), format!("{}…", "ü".repeat(SHOWN_MAX)));
    }
}
