//! How pods end.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, LogParams};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::objects::{container, pod, pod_spec, script_pod, service};
use crate::place::{Not, Outcome, Place, first_container, is, is_ready, within};

/// Longest wait for the end of a log.
const LOG_WITHIN: Duration = Duration::from_secs(60);

/// Starts to follow a pod's log; the task ends with the log, and returns its lines.
async fn follow(place: &Place, name: &str) -> anyhow::Result<tokio::task::JoinHandle<Vec<String>>> {
    let parameters = LogParams { follow: true, ..LogParams::default() };
    let lines = place.api::<Pod>().log_stream(name, &parameters).await?.lines();
    // A log that is cut by the end of its pod has still been read so far.
    Ok(tokio::spawn(async move {
        lines.take_while(|line| std::future::ready(line.is_ok())).try_collect().await.unwrap_or_default()
    }))
}

async fn ended(lines: tokio::task::JoinHandle<Vec<String>>) -> anyhow::Result<Vec<String>> {
    Ok(timeout(LOG_WITHIN, lines).await.context("the log did not end")??)
}

/// A process gets SIGTERM, and SIGKILL when its grace is over.
pub(crate) async fn sigterm_comes_first_and_sigkill_after_the_grace(place: Place) -> Outcome {
    let script = "trap 'echo told' TERM; echo up; while :; do sleep 1 & wait $!; done";
    let mut object = script_pod(&place, "one", script);
    object["spec"]["terminationGracePeriodSeconds"] = json!(3);
    place.ready_pod(object).await?;
    let log = follow(&place, "one").await?;
    let sent = Instant::now();
    place.api::<Pod>().delete("one", &DeleteParams::default()).await?;
    place.gone::<Pod>("one").await?;
    let took = sent.elapsed();
    is("not before its grace is over", took >= Duration::from_millis(2800), true)?;
    is("log", ended(log).await?, vec!["up".to_owned(), "told".to_owned()])
}

/// The preStop hook is over before SIGTERM is sent.
pub(crate) async fn pre_stop_runs_before_sigterm(place: Place) -> Outcome {
    let script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 1 & wait $!; done";
    let mut main = container(&place, script);
    let hook = "echo hook > /proc/1/fd/1; sleep 2; echo hooked > /proc/1/fd/1";
    main["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sh", "-c", hook] } } });
    let mut spec = pod_spec(main);
    spec["terminationGracePeriodSeconds"] = json!(20);
    place.ready_pod(pod("one", spec)).await?;
    let log = follow(&place, "one").await?;
    place.api::<Pod>().delete("one", &DeleteParams::default()).await?;
    place.gone::<Pod>("one").await?;
    let expected = ["up", "hook", "hooked", "told"].map(str::to_owned).to_vec();
    is("log", ended(log).await?, expected)
}

/// A pod that is being deleted stops being a ready endpoint before its process is told.
pub(crate) async fn the_endpoint_leaves_before_the_process(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    let script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 1 & wait $!; done";
    let mut main = container(&place, script);
    main["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sleep", "4"] } } });
    let mut spec = pod_spec(main);
    spec["terminationGracePeriodSeconds"] = json!(20);
    place.ready_pod(pod("one", spec)).await?;
    let ready = async || {
        let chosen = ListParams::default().labels("kubernetes.io/service-name=one");
        let slices = place.api::<EndpointSlice>().list(&chosen).await?;
        let endpoints = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let conditions = endpoints.filter_map(|one| one.conditions.as_ref());
        Ok::<_, Not>(conditions.filter(|conditions| conditions.ready == Some(true)).count())
    };
    let counts = async |expected: usize| {
        within("ready endpoints", async || match ready().await? {
            seen if seen == expected => Ok(()),
            seen => Err(Not(format!("{seen}"))),
        })
        .await
    };
    counts(1).await?;
    place.api::<Pod>().delete("one", &DeleteParams::default()).await?;
    counts(0).await?;
    let log = place.api::<Pod>().logs("one", &LogParams::default()).await?;
    is("the process was not told yet", log.as_str(), "up\n")?;
    place.gone::<Pod>("one").await
}

/// Without grace the object goes at once.
pub(crate) async fn grace_zero_removes_at_once(place: Place) -> Outcome {
    let mut object = script_pod(&place, "one", "trap '' TERM; while :; do sleep 1; done");
    object["spec"]["terminationGracePeriodSeconds"] = json!(60);
    place.ready_pod(object).await?;
    let sent = Instant::now();
    place.api::<Pod>().delete("one", &DeleteParams::default().grace_period(0)).await?;
    place.gone::<Pod>("one").await?;
    is("long before its grace", sent.elapsed() < Duration::from_secs(30), true)
}

/// How a process ended stays to be read when its container runs again.
pub(crate) async fn the_last_state_of_a_process_is_kept(place: Place) -> Outcome {
    let script = "test -f /state/again && exec sleep 1000; touch /state/again; exit 7";
    let mut main = container(&place, script);
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/state" }]);
    let mut spec = pod_spec(main);
    spec["volumes"] = json!([{ "name": "state", "emptyDir": {} }]);
    place.make::<Pod>(pod("one", spec)).await?;
    let again = |pod: &Pod| is_ready(pod) && first_container(pod).is_some_and(|it| it.restart_count == 1);
    let seen = place.until("one", "it runs again", again).await?;
    let last = first_container(&seen).and_then(|it| it.last_state.as_ref()?.terminated.clone());
    let last = last.context("there is no last state")?;
    is("how it ended", (last.exit_code, last.reason.as_deref()), (7, Some("Error")))
}
