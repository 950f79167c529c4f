//! Watching.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::stream::Stream;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, WatchParams};
use kube::core::WatchEvent;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::objects::config_map;
use crate::place::{Outcome, Place, is};

/// Longest wait for one event.
const EVENT_WITHIN: Duration = Duration::from_secs(20);

type Event = WatchEvent<ConfigMap>;

async fn next(events: &mut (impl Stream<Item = Result<Event, kube::Error>> + Unpin)) -> anyhow::Result<Event> {
    let event = timeout(EVENT_WITHIN, events.try_next()).await.context("no event came")?;
    event?.context("the watch ended")
}

fn told(event: &Event) -> String {
    match event {
        WatchEvent::Added(map) => format!("added {}", map.name_any()),
        WatchEvent::Modified(map) => format!("modified {}", map.name_any()),
        WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

async fn version(place: &Place) -> anyhow::Result<String> {
    let listed = place.api::<ConfigMap>().list(&ListParams::default()).await?;
    listed.metadata.resource_version.context("the list has no version")
}

async fn write(place: &Place) -> Outcome {
    place.make::<ConfigMap>(config_map("my-a", json!({ "a": "1" }))).await?;
    place.merge::<ConfigMap>("my-a", json!({ "data": { "a": "2" } })).await?;
    place.api::<ConfigMap>().delete("my-a", &DeleteParams::default()).await?;
    Ok(())
}

/// Additions, changes and deletions come in their order, with growing versions.
pub(crate) async fn a_watch_tells_what_happens_in_order(place: Place) -> Outcome {
    let from = version(&place).await?;
    let mine = WatchParams::default().fields("metadata.name=my-a").disable_bookmarks();
    let mut events = pin!(place.api::<ConfigMap>().watch(&mine, &from).await?);
    write(&place).await?;
    let mut versions = Vec::new();
    for expected in ["added my-a", "modified my-a", "deleted my-a"] {
        let event = next(&mut events).await?;
        is("event", told(&event).as_str(), expected)?;
        if let WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) = event {
            versions.push(map.resource_version().unwrap_or_default().parse::<u64>()?);
        }
    }
    is("versions grow", versions.is_sorted_by(|one, two| one < two), true)
}

/// A watch from an old version tells what happened since.
pub(crate) async fn a_watch_resumes_from_a_version(place: Place) -> Outcome {
    let from = version(&place).await?;
    write(&place).await?;
    let mine = WatchParams::default().fields("metadata.name=my-a").disable_bookmarks();
    let mut events = pin!(place.api::<ConfigMap>().watch(&mine, &from).await?);
    for expected in ["added my-a", "modified my-a", "deleted my-a"] {
        is("event", told(&next(&mut events).await?).as_str(), expected)?;
    }
    Ok(())
}

/// What leaves a selector is told as deleted, and what enters it as added.
pub(crate) async fn a_watch_of_a_selector_tells_who_leaves(place: Place) -> Outcome {
    place.make::<ConfigMap>(json!({ "metadata": { "name": "my-a", "labels": { "x": "1" } } })).await?;
    let from = version(&place).await?;
    let chosen = WatchParams::default().labels("x=1").disable_bookmarks();
    let mut events = pin!(place.api::<ConfigMap>().watch(&chosen, &from).await?);
    place.merge::<ConfigMap>("my-a", json!({ "metadata": { "labels": { "x": "2" } } })).await?;
    is("leaving", told(&next(&mut events).await?).as_str(), "deleted my-a")?;
    place.merge::<ConfigMap>("my-a", json!({ "metadata": { "labels": { "x": "1" } } })).await?;
    is("entering", told(&next(&mut events).await?).as_str(), "added my-a")
}

/// A streaming list sends what there is, and a bookmark that says that this was all.
pub(crate) async fn bookmarks_end_the_initial_events(place: Place) -> Outcome {
    place.make::<ConfigMap>(config_map("my-a", json!({}))).await?;
    let streaming = WatchParams::streaming_lists().fields("metadata.name=my-a");
    let mut events = pin!(place.api::<ConfigMap>().watch(&streaming, "").await?);
    is("first", told(&next(&mut events).await?).as_str(), "added my-a")?;
    match next(&mut events).await? {
        WatchEvent::Bookmark(mark) => {
            let ended = mark.metadata.annotations.get("k8s.io/initial-events-end").map(String::as_str);
            is("the mark", ended, Some("true"))
        }
        other => bail!("no bookmark but: {}", told(&other)),
    }
}

/// A watch from the first version of all tells everything since, or that it cannot: 410 inside
/// the stream. It never leaves something out.
pub(crate) async fn a_version_too_old_is_told(place: Place) -> Outcome {
    write(&place).await?;
    let mine = WatchParams::default().fields("metadata.name=my-a").disable_bookmarks();
    let mut events = pin!(place.api::<ConfigMap>().watch(&mine, "1").await?);
    match next(&mut events).await? {
        WatchEvent::Error(status) => is("error", (status.code, status.reason.as_str()), (410, "Expired")),
        first => {
            is("first", told(&first).as_str(), "added my-a")?;
            is("second", told(&next(&mut events).await?).as_str(), "modified my-a")
        }
    }
}

/// `timeoutSeconds` ends the stream without an error.
pub(crate) async fn a_watch_ends_after_its_timeout(place: Place) -> Outcome {
    let from = version(&place).await?;
    let brief = WatchParams::default().timeout(1).fields("metadata.name=none");
    let started = Instant::now();
    let events = pin!(place.api::<ConfigMap>().watch(&brief, &from).await?);
    let rest = timeout(EVENT_WITHIN, events.collect::<Vec<_>>()).await.context("the watch did not end")?;
    let bad: Vec<_> = rest.iter().filter(|event| !matches!(event, Ok(WatchEvent::Bookmark(_)))).collect();
    is("nothing but its end", bad.len(), 0)?;
    is("not before its time", started.elapsed() >= Duration::from_millis(900), true)
}
