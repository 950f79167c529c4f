//! Watches: nothing is missed and nothing comes twice, wherever a client resumes.

use std::time::Duration;

use embedded_cluster::object::Key;
use embedded_cluster::store::Store;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Running, request};

const CONFIG_MAPS: &str = "/api/v1/namespaces/watched/configmaps";

/// How long a test waits for an event that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open watch.
struct Watch {
    body: Incoming,
    text: String,
}

impl Watch {
    async fn open(server: &mut Running, query: &str) -> Self {
        let answer = server.open(request(&format!("GET {CONFIG_MAPS}?watch=1{query}"), None)).await;
        assert_eq!(answer.status(), 200);
        Self { body: answer.into_body(), text: String::new() }
    }

    /// The next event, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event or the end");
            self.text.push_str(std::str::from_utf8(frame?.unwrap().data_ref().unwrap()).unwrap());
        }
    }

    /// The next event as `TYPE name data`.
    async fn next_text(&mut self) -> String {
        text(&self.next().await.expect("an event"))
    }
}

fn text(event: &Value) -> String {
    let (verb, object) = (event["type"].as_str().unwrap(), &event["object"]);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{verb} {name} {}", object["data"]["a"].as_str().unwrap_or_default()).trim_end().to_owned()
}

async fn started() -> Running {
    let mut server = Running::start().await;
    server.create_namespace("watched").await;
    server
}

async fn put(server: &mut Running, name: &str, data: &str, labels: Value) {
    let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"a": data}});
    let put = server.ask(&format!("PUT {CONFIG_MAPS}/{name}"), Some(&body)).await;
    if put.code == 404 {
        let post = server.ask(&format!("POST {CONFIG_MAPS}"), Some(&body)).await;
        assert_eq!(post.code, 201, "{}", post.text);
    }
}

/// The present version of the collection.
async fn version(server: &mut Running) -> u64 {
    let list = server.ask(&format!("GET {CONFIG_MAPS}"), None).await.json();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn existing_objects_come_first() {
    let mut server = started().await;
    put(&mut server, "old", "1", json!({})).await;
    let mut watch = Watch::open(&mut server, "").await;
    assert_eq!(watch.next_text().await, "ADDED old 1");
    put(&mut server, "new", "1", json!({})).await;
    assert_eq!(watch.next_text().await, "ADDED new 1");
    put(&mut server, "new", "2", json!({})).await;
    assert_eq!(watch.next_text().await, "MODIFIED new 2");
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let mut server = started().await;
    put(&mut server, "old", "1", json!({})).await;
    let query = "&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&mut server, query).await;
    assert_eq!(watch.next_text().await, "ADDED old 1");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // From the bookmark on, everything is a change.
    let from = &bookmark["object"]["metadata"]["resourceVersion"];
    assert_eq!(*from, version(&mut server).await.to_string());
}

#[tokio::test]
async fn selections_are_entered_and_left() {
    let mut server = started().await;
    let from = version(&mut server).await;
    for (data, label) in [("1", "in"), ("2", "in"), ("3", "out"), ("4", "out"), ("5", "in")] {
        put(&mut server, "m", data, json!({"where": label})).await;
    }
    let mut watch = Watch::open(&mut server, &format!("&resourceVersion={from}&labelSelector=where%3Din")).await;
    // An object that leaves is shown as it was while it was in, at a newer version.
    let mut last = from;
    for expected in ["ADDED m 1", "MODIFIED m 2", "DELETED m 2", "ADDED m 5"] {
        let event = watch.next().await.unwrap();
        assert_eq!(text(&event), expected);
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
    }
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout_without_an_error() {
    let mut server = started().await;
    let mut watch = Watch::open(&mut server, "&timeoutSeconds=1").await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_forgotten_version_is_an_error_event() {
    let mut server = started().await;
    let kind = &embedded_cluster::kinds::CONFIG_MAP;
    let object = json!({"metadata": {"name": "busy", "namespace": "watched"}, "data": {"n": "new"}});
    server.store.create(kind, object).unwrap();
    let key = Key::new(kind, "watched", "busy");
    for count in 0..=embedded_cluster::store::HISTORY_MAX {
        set(&server.store, &key, "n", &count.to_string());
    }
    let mut watch = Watch::open(&mut server, "&resourceVersion=1").await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn bad_starts_are_refused() {
    let mut server = started().await;
    for (query, code, message) in [
        (
            "resourceVersion=abc",
            500,
            "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        ("timeoutSeconds=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "sendInitialEvents=true",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
            sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "resourceVersionMatch=NotOlderThan",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: \
            Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
    ] {
        let answer = server.ask(&format!("GET {CONFIG_MAPS}?watch=1&{query}"), None).await;
        assert_eq!((answer.code, answer.json()["message"].as_str()), (code, Some(message)), "{query}");
    }
}

fn set(store: &Store, key: &Key, field: &str, data: &str) {
    let change = |object: &mut Value| {
        object["data"][field] = data.into();
        Ok(())
    };
    store.update(key, change).unwrap();
}

/// What a test does to one of three objects.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![3 => (0..3u8).prop_map(Step::Write), 1 => (0..3u8).prop_map(Step::Remove)];
    proptest::collection::vec(step, 1..24)
}

/// Plays the steps on the store; the events that a watch from the beginning must show.
fn play(store: &Store, steps: &[Step]) -> Vec<(u64, String)> {
    let kind = &embedded_cluster::kinds::CONFIG_MAP;
    let mut events = Vec::new();
    for step in steps {
        let (Step::Write(index) | Step::Remove(index)) = *step;
        let name = format!("m{index}");
        let key = Key::new(kind, "watched", &name);
        // Never what was there before: a write without a change is no event.
        let data = store.version().to_string();
        let event = match (step, store.get(&key)) {
            (Step::Write(_), None) => {
                let object = json!({"metadata": {"name": name, "namespace": "watched"}, "data": {"a": data}});
                store.create(kind, object).unwrap();
                format!("ADDED {name} {data}")
            }
            (Step::Write(_), Some(_)) => {
                set(store, &key, "a", &data);
                format!("MODIFIED {name} {data}")
            }
            (Step::Remove(_), Some(last)) => {
                store.remove(&key).unwrap();
                format!("DELETED {name} {}", last["data"]["a"].as_str().unwrap())
            }
            (Step::Remove(_), None) => continue,
        };
        events.push((store.version(), event));
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whichever version a client last saw, it gets every later change once and in order, also
    /// those that happen while it watches.
    #[test]
    fn resumed_watches_see_every_change_once(before in steps(), after in steps(), cut in 0..24usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = started().await;
            let start = server.store.version();
            let mut events = play(&server.store, &before);
            let from = events.get(cut.min(events.len().saturating_sub(1))).map_or(start, |event| event.0);
            let mut watch = Watch::open(&mut server, &format!("&resourceVersion={from}")).await;
            events.extend(play(&server.store, &after));
            let expected: Vec<_> = events.into_iter().filter(|event| event.0 > from).collect();
            for (version, expected) in expected {
                let event = watch.next().await.expect("an event");
                assert_eq!(text(&event), expected);
                assert_eq!(event["object"]["metadata"]["resourceVersion"], version.to_string());
            }
        });
    }
}
