//! Watches: changes as they happen, one JSON document a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::api::options::invalid;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::read::bad_version;
use crate::api::respond::{self, Answer};
use crate::api::selector::Filter;
use crate::api::view::View;
use crate::kinds::Kind;
use crate::object;
use crate::status::Status;
use crate::store::{Change, Store, Verb};

/// How often a watch that asks for bookmarks gets one, as in Kubernetes.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long a watch lasts that names no `timeoutSeconds`.
const WATCH_MAX: Duration = Duration::from_secs(3600);

/// `GET …?watch=1`.
pub(super) fn watch(api: &Api, place: &Place, query: &Query, view: View) -> Result<Answer, Status> {
    let start = Start::parse(query)?;
    let timeout = query.integer("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let now = Instant::now();
    let watch = Watch {
        store: api.store.clone(),
        cancel: api.cancel.clone(),
        kind: place.kind,
        namespace: place.namespace.clone(),
        filter: Filter::parse(place.kind, query)?,
        view,
        columns_sent: false,
        waiting: VecDeque::new(),
        at: 0,
        bookmarks: query.flag("allowWatchBookmarks"),
        next_bookmark: now + BOOKMARK_EVERY,
        deadline: now + timeout.map_or(WATCH_MAX, Duration::from_secs),
        ended: false,
    };
    let watch = watch.started(&start);
    let pieces = futures_util::stream::unfold(watch, |mut watch| async move {
        let piece = watch.next().await?;
        Some((Ok(piece), watch))
    });
    Ok(respond::stream("application/json", pieces))
}

/// Where a watch begins.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    /// Changes after this version; from the present where absent.
    version: Option<u64>,
    /// Whether the objects that exist come first, as additions.
    existing: bool,
    /// Whether a bookmark says where they end.
    marked: bool,
}

impl Start {
    fn parse(query: &Query) -> Result<Self, Status> {
        let given = query.get("resourceVersion");
        let version: Option<u64> =
            given.map(|text| text.parse().map_err(|_| Status::internal(bad_version(text)))).transpose()?;
        let initial = query.flag_given("sendInitialEvents");
        let forbidden = |why: &str| {
            Err(invalid("ListOptions", "FieldValueForbidden", "resourceVersionMatch", format!("Forbidden: {why}")))
        };
        match (initial, query.get("resourceVersionMatch")) {
            (Some(_), Some("NotOlderThan")) | (None, None) => {}
            (Some(_), _) => {
                return forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            (None, Some(_)) => {
                return forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
        }
        let present = version.is_none_or(|version| version == 0);
        Ok(match initial {
            // The present is not older than any version that has been.
            Some(true) => Self { version: None, existing: true, marked: true },
            Some(false) => Self { version: version.filter(|_| !present), existing: false, marked: false },
            None if present => Self { version: None, existing: true, marked: given.is_none() },
            None => Self { version, existing: false, marked: false },
        })
    }
}

struct Watch {
    store: Store,
    cancel: CancellationToken,
    kind: &'static Kind,
    namespace: Option<String>,
    filter: Filter,
    view: View,
    columns_sent: bool,
    /// Lines that are ready to be sent.
    waiting: VecDeque<Bytes>,
    /// Everything up to this version has been seen.
    at: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
}

impl Watch {
    fn started(mut self, start: &Start) -> Self {
        if !start.existing {
            self.at = start.version.unwrap_or_else(|| self.store.version());
            return self;
        }
        let (objects, version) = self.store.list(self.kind, self.namespace.as_deref());
        self.at = version;
        for object in &objects {
            if !self.filter.matches(object) {
                continue;
            }
            self.push("ADDED", object);
        }
        if start.marked && self.bookmarks {
            self.push_bookmark(true);
        }
        self
    }

    /// The next line, or `None` at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            match self.store.changes_since(self.at) {
                Err(expired) => {
                    self.ended = true;
                    let status = Status::new(410, "Expired", expired.to_string());
                    return Some(line("ERROR", &status.body()));
                }
                Ok(changes) if !changes.is_empty() => {
                    for change in &changes {
                        self.at = change.version;
                        self.see(change);
                    }
                }
                Ok(_) => self.wait().await,
            }
        }
    }

    /// Waits for whatever comes first: a change, a bookmark that is due, the end.
    async fn wait(&mut self) {
        let (store, at) = (self.store.clone(), self.at);
        tokio::select! {
            () = store.changed_after(at) => {}
            () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                self.next_bookmark += BOOKMARK_EVERY;
                self.push_bookmark(false);
            }
            () = tokio::time::sleep_until(self.deadline) => {
                self.ended = true;
                if self.bookmarks {
                    self.push_bookmark(false);
                }
            }
            () = self.cancel.cancelled() => self.ended = true,
        }
    }

    /// Queues what this change means for the selection: an object that enters is added to it,
    /// one that leaves is deleted from it.
    fn see(&mut self, change: &Change) {
        let elsewhere = |namespace: &String| namespace != object::namespace(&change.object);
        if *change.kind != *self.kind || self.namespace.as_ref().is_some_and(elsewhere) {
            return;
        }
        let previous = change.previous.as_ref();
        let was_in = previous.is_some_and(|previous| self.filter.matches(previous));
        let is_in = change.verb != Verb::Deleted && self.filter.matches(&change.object);
        match (was_in, is_in) {
            (false, true) => self.push("ADDED", &change.object),
            (true, true) => self.push("MODIFIED", &change.object),
            (true, false) => {
                // What the client last saw, at the version at which it left.
                let last = previous.expect("it was in the selection");
                let mut last = Value::clone(last);
                last["metadata"]["resourceVersion"] = change.version.to_string().into();
                self.push("DELETED", &Arc::new(last));
            }
            (false, false) => {}
        }
    }

    fn push(&mut self, verb: &str, object: &Arc<Value>) {
        let mut seen = self.view.one(self.kind, object);
        if matches!(self.view, View::Table(_)) {
            // Only the first event says what the columns are.
            if self.columns_sent {
                seen["columnDefinitions"] = Value::Null;
            }
            self.columns_sent = true;
        }
        self.waiting.push_back(line(verb, &seen));
    }

    fn push_bookmark(&mut self, initial_events_end: bool) {
        let mut metadata = json!({"resourceVersion": self.at.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let bookmark = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        self.waiting.push_back(line("BOOKMARK", &bookmark));
    }
}

fn line(verb: &str, object: &Value) -> Bytes {
    let mut line = serde_json::to_vec(&json!({"type": verb, "object": object})).expect("a JSON value has string keys");
    line.push(b'\n');
    line.into()
}
