//! Requests that were sent to a real Kubernetes 1.36, sent here: the answers must say the same.
//!
//! A fixture has one line a step. `answer` lists what must be in the answer; versions and uids
//! are those of the recording, and are matched with ours as they first turn up.

use std::collections::BTreeMap;

use http::header::HeaderValue;
use http::{HeaderName, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::support::{Answer, Running, request};

macro_rules! recordings {
    ($($name:ident = $file:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            replay(include_str!(concat!("../recordings/", $file, ".json"))).await;
        })*
    };
}

recordings! {
    health = "106-health";
    configmap = "201-create-configmap";
    resource_versions = "204-resource-version";
    label_selectors = "205-label-selectors";
    field_selectors = "206-field-selectors";
    not_found_and_conflicts = "207-errors-404-409";
    immutable_fields = "209-immutable-fields";
    field_validation = "210-field-validation";
    dry_run = "212-dry-run";
    bad_bodies = "213-bad-bodies";
    unauthorized = "214-auth-401-403";
    delete_collection = "215-delete-collection";
    merge_patch = "301-merge-patch";
    json_patch = "302-json-patch";
    apply = "304-apply-create-update";
    apply_conflicts = "305-apply-conflict";
    scale = "308-scale-subresource";
    log_options = "614-logs";
    services = "751-types";
    finalizers = "902-finalizers";
}

/// Replays a fixture and lists every step that was answered otherwise.
async fn replay(fixture: &str) {
    let fixture = fixture.replace("NS", "recorded");
    let fixture: Value = serde_json::from_str(&fixture).unwrap();
    let mut server = Running::start().await;
    server.create_namespace("recorded").await;
    for object in fixture["setup"].as_array().unwrap() {
        let answer = server.ask(&format!("POST {}", object["path"].as_str().unwrap()), Some(&object["body"])).await;
        assert_eq!(answer.code, 201, "{object}: {}", answer.text);
    }
    let mut ours = Ours::default();
    let mut differences = Vec::new();
    for step in fixture["steps"].as_array().unwrap() {
        let answer = server.send(ours.request(step)).await;
        if let Err(why) = ours.compare(step, &answer) {
            let note = step["note"].as_str().unwrap_or_default();
            differences.push(format!("{} {note}\n  {why}\n  got {} {}", step["ask"], answer.code, answer.text));
        }
    }
    let steps = fixture["steps"].as_array().unwrap().len();
    assert!(differences.is_empty(), "{} of {steps} steps:\n{}", differences.len(), differences.join("\n"));
}

/// Our values for versions and uids of the recording.
#[derive(Default)]
struct Ours(BTreeMap<String, String>);

impl Ours {
    fn request(&self, step: &Value) -> Request<Full<bytes::Bytes>> {
        let mut ask = step["ask"].as_str().unwrap().to_owned();
        for (recorded, ours) in &self.0 {
            let (recorded, ours) = (format!("resourceVersion={recorded}"), format!("resourceVersion={ours}"));
            ask = ask.replace(&format!("{recorded}&"), &format!("{ours}&"));
            if let Some(start) = ask.strip_suffix(&recorded) {
                ask = format!("{start}{ours}");
            }
        }
        let body = step.get("body").map(|body| self.translated(body));
        let mut request = request(&ask, body.as_ref());
        if let Some(text) = step["text"].as_str() {
            *request.body_mut() = Full::new(text.to_owned().into());
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        }
        for (name, value) in step["headers"].as_object().into_iter().flatten() {
            let name: HeaderName = name.parse().unwrap();
            match value.as_str().unwrap() {
                "" => _ = request.headers_mut().remove(name),
                value => _ = request.headers_mut().insert(name, value.parse().unwrap()),
            }
        }
        request
    }

    fn translated(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.translated(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.translated(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// A version stands alone or in brackets, a uid or an address anywhere.
    fn text(&self, text: &str) -> String {
        if let Some(ours) = self.0.get(text) {
            return ours.clone();
        }
        self.0.iter().fold(text.to_owned(), |text, (recorded, ours)| {
            let text = text.replace(&format!("({recorded})"), &format!("({ours})"));
            if recorded.len() == 36 || recorded.contains('.') { text.replace(recorded, ours) } else { text }
        })
    }

    fn compare(&mut self, step: &Value, answer: &Answer) -> Result<(), String> {
        if step["code"] != answer.code {
            return Err(format!("expected {} {}", step["code"], step["answer"]));
        }
        if let Some(says) = step["says"].as_str()
            && says.trim() != answer.text.trim()
        {
            return Err(format!("expected the text {says:?}"));
        }
        let warnings: Vec<_> = answer.headers.get_all("warning").iter().map(|one| one.to_str().unwrap()).collect();
        if let Some(expected) = step["warnings"].as_array()
            && *expected != warnings
        {
            return Err(format!("expected the warnings {expected:?}, got {warnings:?}"));
        }
        let found = answer.json();
        if let Some(names) = step["names"].as_array() {
            let items = found["items"].as_array().into_iter().flatten();
            let found: Vec<_> = items.map(|item| item["metadata"]["name"].clone()).collect();
            return if found == *names { Ok(()) } else { Err(format!("expected the names {names:?}, got {found:?}")) };
        }
        let Some(expected) = step["answer"].as_object() else { return Ok(()) };
        self.learn(&step["answer"], &found);
        for (name, expected) in expected {
            if name == "message_ends" {
                let (message, end) = (found["message"].as_str().unwrap_or_default(), expected.as_str().unwrap());
                if !message.ends_with(end) {
                    return Err(format!("expected a message that ends with {end}"));
                }
                continue;
            }
            self.contained(name, &self.translated(expected), &found[name])?;
        }
        Ok(())
    }

    /// Notes our values where the recording shows new ones.
    fn learn(&mut self, expected: &Value, found: &Value) {
        if expected["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            return;
        }
        for pointer in ["/metadata/uid", "/metadata/resourceVersion", "/details/uid", "/spec/clusterIP"] {
            let recorded = expected.pointer(pointer).and_then(Value::as_str);
            if let (Some(recorded), Some(ours)) = (recorded, found.pointer(pointer).and_then(Value::as_str)) {
                self.0.entry(recorded.to_owned()).or_insert_with(|| ours.to_owned());
            }
        }
    }

    /// Whether everything expected is in what was found; lists must be equal item by item.
    fn contained(&self, path: &str, expected: &Value, found: &Value) -> Result<(), String> {
        match (expected, found) {
            (Value::Object(expected), Value::Object(_)) => {
                let one = |(name, value): (&String, &Value)| {
                    let volatile = name == "resourceVersion" && !self.0.values().any(|ours| *value == **ours);
                    if volatile { Ok(()) } else { self.contained(&format!("{path}.{name}"), value, &found[name]) }
                };
                expected.iter().try_for_each(one)
            }
            (Value::Array(expected), Value::Array(items)) if expected.len() == items.len() => {
                let one = |(index, (expected, found)): (usize, (&Value, &Value))| {
                    self.contained(&format!("{path}[{index}]"), expected, found)
                };
                expected.iter().zip(items).enumerate().try_for_each(one)
            }
            _ if expected == found => Ok(()),
            _ => Err(format!("{path}: expected {expected}, got {found}")),
        }
    }
}
