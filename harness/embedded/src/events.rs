//! Events, worded and counted as Kubernetes words and counts them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kinds::{EVENT, Kind, NAMESPACE};
use crate::object::{self, Key};
use crate::store::Store;

/// How long an event is kept after it was last seen.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How many events the cluster keeps; beyond it the oldest go.
pub const EVENTS_MAX: usize = 1_000;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// What happened to an object, and who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// `source.component`: `deployment-controller`, `kubelet`.
    pub component: &'a str,
    /// `source.host`: the node's name, for what a node reports.
    pub host: Option<&'a str>,
    /// `involvedObject.fieldPath`: `spec.containers{web}`.
    pub field_path: Option<&'a str>,
    /// How bad it is.
    pub severity: Severity,
    /// One word: `Scheduled`.
    pub reason: &'a str,
    /// The sentence people read.
    pub message: &'a str,
}

/// Records an event about an object, or a part of it; a repeat counts up the one that exists.
///
/// Nothing is recorded in a namespace that is being deleted, and at most
/// [`EVENTS_MAX`] events are kept.
pub fn record_at(store: &Store, kind: &'static Kind, about: &Value, occurrence: &Occurrence<'_>, now: Timestamp) {
    let namespace = Some(object::namespace(about)).filter(|name| !name.is_empty()).unwrap_or("default");
    let (events, _) = store.list(&EVENT, Some(namespace));
    if let Some(same) = events.iter().find(|event| is_repeat(event, about, occurrence)) {
        // Gone in between means it has expired; the next occurrence makes a new one.
        let _ = store.update(&Key::of(&EVENT, same), |event| {
            event["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
            event["lastTimestamp"] = object::format_timestamp(now).into();
            Ok(())
        });
        return;
    }
    if store.get(&Key::new(&NAMESPACE, "", namespace)).is_some_and(|namespace| object::is_terminating(&namespace)) {
        return;
    }
    let mut nanoseconds = now.as_nanosecond();
    // Two events about one object in the same nanosecond: only where time stands still.
    while store.create(&EVENT, new_event(namespace, nanoseconds, kind, about, occurrence, now)).is_err() {
        nanoseconds += 1;
    }
    drop_oldest(store);
}

/// Removes the events that have not been seen for [`KEPT_FOR`].
pub fn expire(store: &Store, now: Timestamp) {
    let (events, _) = store.list(&EVENT, None);
    for event in events.iter().filter(|event| last_seen(event).is_some_and(|seen| now.duration_since(seen) > KEPT_FOR))
    {
        store.remove(&Key::of(&EVENT, event));
    }
}

fn drop_oldest(store: &Store) {
    let (mut events, _) = store.list(&EVENT, None);
    let surplus = events.len().saturating_sub(EVENTS_MAX);
    if surplus == 0 {
        return;
    }
    events.sort_by_key(last_seen);
    for event in &events[..surplus] {
        store.remove(&Key::of(&EVENT, event));
    }
}

fn last_seen(event: &Arc<Value>) -> Option<Timestamp> {
    let seen = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    seen.iter().find_map(|time| time.as_str()?.parse().ok())
}

fn is_repeat(event: &Value, about: &Value, occurrence: &Occurrence<'_>) -> bool {
    event["involvedObject"]["uid"] == about["metadata"]["uid"]
        && event["involvedObject"]["fieldPath"].as_str() == occurrence.field_path
        && event["source"]["component"] == occurrence.component
        && event["type"] == severity_word(occurrence.severity)
        && event["reason"] == occurrence.reason
        && event["message"] == occurrence.message
}

fn new_event(
    namespace: &str,
    nanoseconds: i128,
    kind: &Kind,
    about: &Value,
    occurrence: &Occurrence<'_>,
    now: Timestamp,
) -> Value {
    let seen = object::format_timestamp(now);
    let mut event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "name": format!("{}.{nanoseconds:x}", object::name(about)), "namespace": namespace, "creationTimestamp": seen,
        },
        "involvedObject": {
            "apiVersion": kind.api_version(), "kind": kind.kind, "name": object::name(about),
            "uid": about["metadata"]["uid"], "resourceVersion": about["metadata"]["resourceVersion"],
        },
        "type": severity_word(occurrence.severity), "reason": occurrence.reason, "message": occurrence.message,
        "source": {"component": occurrence.component}, "count": 1, "firstTimestamp": seen, "lastTimestamp": seen,
        "eventTime": null, "reportingComponent": occurrence.component,
        "reportingInstance": occurrence.host.unwrap_or_default(),
    });
    if kind.namespaced {
        event["involvedObject"]["namespace"] = namespace.into();
    }
    if let Some(field_path) = occurrence.field_path {
        event["involvedObject"]["fieldPath"] = field_path.into();
    }
    if let Some(host) = occurrence.host {
        event["source"]["host"] = host.into();
    }
    event
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::POD;

    const NOON: &str = "2026-01-01T12:00:00Z";

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7"}})
    }

    fn scheduled(message: &str) -> Occurrence<'_> {
        let severity = Severity::Normal;
        Occurrence {
            component: "default-scheduler",
            host: None,
            field_path: None,
            severity,
            reason: "Scheduled",
            message,
        }
    }

    fn events(store: &Store) -> Vec<Value> {
        store.list(&EVENT, Some("n")).0.iter().map(|event| Value::clone(event)).collect()
    }

    /// 60-pods/620: the first event about a pod, as it is stored.
    #[test]
    fn an_event_as_it_is_stored() {
        let store = Store::new();
        record_at(&store, &POD, &pod(), &scheduled("Successfully assigned n/p to node"), NOON.parse().unwrap());
        let mut event = events(&store).remove(0);
        let metadata = event.as_object_mut().unwrap().remove("metadata").unwrap();
        assert_eq!(metadata["name"], format!("p.{:x}", NOON.parse::<Timestamp>().unwrap().as_nanosecond()));
        let expect = json!({
            "apiVersion": "v1", "kind": "Event",
            "involvedObject": {"kind": "Pod", "namespace": "n", "name": "p", "uid": "u", "apiVersion": "v1", "resourceVersion": "7"},
            "reason": "Scheduled", "message": "Successfully assigned n/p to node", "source": {"component": "default-scheduler"},
            "firstTimestamp": NOON, "lastTimestamp": NOON, "count": 1, "type": "Normal", "eventTime": null,
            "reportingComponent": "default-scheduler", "reportingInstance": "",
        });
        assert_eq!(event, expect);
    }

    #[test]
    fn a_repeat_counts_up_and_another_message_does_not() {
        let store = Store::new();
        let noon: Timestamp = NOON.parse().unwrap();
        record_at(&store, &POD, &pod(), &scheduled("a"), noon);
        record_at(&store, &POD, &pod(), &scheduled("a"), noon + SignedDuration::from_secs(5));
        record_at(&store, &POD, &pod(), &scheduled("b"), noon);
        let part = Occurrence { field_path: Some("spec.containers{c}"), host: Some("node"), ..scheduled("a") };
        record_at(&store, &POD, &pod(), &part, noon);
        let mut seen: Vec<_> = events(&store)
            .iter()
            .map(|event| {
                let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (
                    field(&event["message"]),
                    field(&event["reportingInstance"]),
                    event["count"].as_i64(),
                    field(&event["lastTimestamp"]),
                )
            })
            .collect();
        seen.sort();
        let row = |message: &str, host: &str, count, last: &str| {
            (message.to_owned(), host.to_owned(), Some(count), last.to_owned())
        };
        assert_eq!(seen, [row("a", "", 2, "2026-01-01T12:00:05Z"), row("a", "node", 1, NOON), row("b", "", 1, NOON)]);
    }

    #[test]
    fn events_expire_and_are_bounded() {
        let store = Store::new();
        let noon: Timestamp = NOON.parse().unwrap();
        record_at(&store, &POD, &pod(), &scheduled("old"), noon);
        record_at(&store, &POD, &pod(), &scheduled("new"), noon + SignedDuration::from_mins(30));
        expire(&store, noon + SignedDuration::from_mins(61));
        assert_eq!(events(&store).len(), 1);
        assert_eq!(events(&store)[0]["message"], "new");
        for number in 0..EVENTS_MAX {
            record_at(&store, &POD, &pod(), &scheduled(&number.to_string()), noon + SignedDuration::from_mins(40));
        }
        assert_eq!(events(&store).len(), EVENTS_MAX);
        assert!(events(&store).iter().all(|event| event["message"] != "new"));
    }

    #[test]
    fn nothing_is_recorded_in_a_namespace_that_is_being_deleted() {
        let store = Store::new();
        let namespace = json!({"metadata": {"name": "n", "deletionTimestamp": NOON}});
        store.create(&NAMESPACE, namespace).unwrap();
        record_at(&store, &POD, &pod(), &scheduled("a"), NOON.parse().unwrap());
        assert!(events(&store).is_empty());
    }
}
