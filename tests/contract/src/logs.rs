//! Logs.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::json;
use tokio::time::timeout;

use crate::objects::{container, pod, pod_spec, script_pod};
use crate::place::{Not, Outcome, Place, first_container, is, refused, restarts, waits_for, within};

/// Longest wait for the end of a log.
const LOG_WITHIN: Duration = Duration::from_secs(60);

async fn log(place: &Place, parameters: LogParams) -> anyhow::Result<String> {
    Ok(place.api::<Pod>().logs("one", &parameters).await?)
}

async fn until_log(place: &Place, expected: &str) -> Outcome {
    within("the log is there", async || {
        let seen = place.api::<Pod>().logs("one", &LogParams::default()).await?;
        if seen == expected { Ok(()) } else { Err(Not(seen)) }
    })
    .await
}

/// The last lines can be asked for, and the time of each.
pub(crate) async fn logs_have_tail_and_timestamps(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", "echo a; echo b >&2; echo c; exec sleep 1000")).await?;
    // Standard output and error are two pipes: their lines may change places.
    within("all lines are there", async || {
        let seen = place.api::<Pod>().logs("one", &LogParams::default()).await?;
        let mut lines: Vec<_> = seen.lines().collect();
        lines.sort_unstable();
        if lines == ["a", "b", "c"] { Ok(()) } else { Err(Not(seen)) }
    })
    .await?;
    let tail = log(&place, LogParams { tail_lines: Some(1), ..LogParams::default() }).await?;
    is("the tail", tail.lines().count(), 1)?;
    let stamped = log(&place, LogParams { timestamps: true, ..LogParams::default() }).await?;
    for line in stamped.lines() {
        let (stamp, text) = line.split_once(' ').with_context(|| format!("no time in `{line}`"))?;
        is("an RFC 3339 time", (stamp.len() > 20, &stamp[10..11], text.len()), (true, "T", 1))?;
    }
    Ok(())
}

/// The log of the container before the restart can be read.
pub(crate) async fn logs_of_the_container_before(place: Place) -> Outcome {
    let mut main = container(
        &place,
        "test -f /state/again && echo second && exec sleep 1000; touch /state/again; echo first; exit 1",
    );
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/state" }]);
    let mut spec = pod_spec(main);
    spec["volumes"] = json!([{ "name": "state", "emptyDir": {} }]);
    place.make::<Pod>(pod("one", spec)).await?;
    let running = |pod: &Pod| {
        restarts(pod) == 1
            && first_container(pod).and_then(|it| it.state.as_ref()).is_some_and(|state| state.running.is_some())
    };
    place.until("one", "it runs again", running).await?;
    until_log(&place, "second\n").await?;
    let before = log(&place, LogParams { previous: true, ..LogParams::default() }).await?;
    is("the log before", before.as_str(), "first\n")
}

/// Following a log brings lines as they come, and ends with the container.
pub(crate) async fn logs_follow_until_the_end(place: Place) -> Outcome {
    let mut object = script_pod(&place, "one", "for i in 1 2 3; do echo $i; sleep 1; done");
    object["spec"]["restartPolicy"] = json!("Never");
    place.make::<Pod>(object).await?;
    let started =
        |pod: &Pod| first_container(pod).and_then(|it| it.state.as_ref()).is_some_and(|state| state.waiting.is_none());
    place.until("one", "it has started", started).await?;
    let parameters = LogParams { follow: true, ..LogParams::default() };
    let lines = place.api::<Pod>().log_stream("one", &parameters).await?.lines();
    let seen: Vec<String> = timeout(LOG_WITHIN, lines.try_collect()).await.context("the log did not end")??;
    is("lines", seen, ["1", "2", "3"].map(str::to_owned).to_vec())
}

/// A container that does not run has no log yet, and it is said why.
pub(crate) async fn logs_of_a_container_that_waits_are_refused(place: Place) -> Outcome {
    let mut object = script_pod(&place, "one", "true");
    object["spec"]["containers"][0]["image"] = json!("localhost:1/not/there:1");
    place.make::<Pod>(object).await?;
    place.until("one", "it waits", |pod: &Pod| waits_for(pod).is_some_and(|why| why.contains("Image"))).await?;
    let status = refused(place.api::<Pod>().logs("one", &LogParams::default()).await, 400, "BadRequest")?;
    let message = status.message;
    let names_it = message.contains("container \"main\" in pod \"one\" is waiting to start");
    is(&message, names_it, true)
}

/// `sinceSeconds` leaves out what is older.
pub(crate) async fn logs_since_seconds(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", "echo old; sleep 6; echo new; exec sleep 1000")).await?;
    until_log(&place, "old\nnew\n").await?;
    let recent = log(&place, LogParams { since_seconds: Some(4), ..LogParams::default() }).await?;
    is("what is recent", recent.as_str(), "new\n")
}
