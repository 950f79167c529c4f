//! Pods that do not run, and what is said of them.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{EvictParams, ListParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, container, deployment, pod, pod_spec, script_pod};
use crate::place::{Not, Outcome, Place, first_container, is, is_ready, refused, restarts, waits_for, within};

/// How often a kill for memory may be told late before it counts as never told.
const KILLS: usize = 4;

async fn events(place: &Place, name: &str) -> Result<Vec<Event>, kube::Error> {
    let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
    Ok(place.api::<Event>().list(&about).await?.items)
}

async fn told(place: &Place, name: &str, reason: &str, part: &str) -> Outcome {
    within(&format!("an event `{reason}` tells `{part}`"), async || {
        let events = events(place, name).await?;
        let says = |event: &&Event| {
            event.reason.as_deref() == Some(reason) && event.message.as_deref().is_some_and(|text| text.contains(part))
        };
        let seen: Vec<_> = events.iter().map(|event| (&event.reason, &event.message)).collect();
        events.iter().find(says).map(drop).ok_or_else(|| Not(format!("{seen:?}")))
    })
    .await
}

/// A process that always fails is restarted at once, and then after longer and longer waits.
pub(crate) async fn a_crash_loop_backs_off(place: Place) -> Outcome {
    place.make::<Pod>(script_pod(&place, "one", "exit 3")).await?;
    let waits = |pod: &Pod| waits_for(pod) == Some("CrashLoopBackOff");
    let seen = place.until("one", "it backs off", waits).await?;
    is("its phase", seen.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Running"))?;
    let last = first_container(&seen).and_then(|it| it.last_state.as_ref()?.terminated.as_ref());
    is("its last exit", last.map(|ended| ended.exit_code), Some(3))?;
    told(&place, "one", "BackOff", "Back-off restarting failed container").await
}

fn with_image(place: &Place, image: &str) -> Value {
    let mut object = script_pod(place, "one", IDLE);
    object["spec"]["containers"][0]["image"] = json!(image);
    object
}

/// An image that is not there is told as such, and again while backing off.
pub(crate) async fn a_missing_image_is_told(place: Place) -> Outcome {
    place.make::<Pod>(with_image(&place, "localhost:1/not/there:1")).await?;
    let waits = |pod: &Pod| matches!(waits_for(pod), Some("ErrImagePull" | "ImagePullBackOff"));
    let seen = place.until("one", "its image is missing", waits).await?;
    is("its phase", seen.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Pending"))?;
    told(&place, "one", "Failed", "not/there:1").await
}

/// A name that no image can have is told as such.
pub(crate) async fn an_invalid_image_name_is_told(place: Place) -> Outcome {
    place.make::<Pod>(with_image(&place, "not a name")).await?;
    place.until("one", "its image's name is invalid", |pod: &Pod| waits_for(pod) == Some("InvalidImageName")).await?;
    told(&place, "one", "InspectFailed", "not a name").await
}

/// A setting that is not there keeps the container from being made, until it is.
pub(crate) async fn a_missing_setting_is_told(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["env"] = json!([{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "a" } } }]);
    place.make::<Pod>(pod("one", pod_spec(main))).await?;
    let waits = |pod: &Pod| waits_for(pod) == Some("CreateContainerConfigError");
    place.until("one", "its setting is missing", waits).await?;
    told(&place, "one", "Failed", "configmap \"settings\" not found").await?;
    let settings = crate::objects::config_map("settings", json!({ "a": "1" }));
    place.make::<k8s_openapi::api::core::v1::ConfigMap>(settings).await?;
    place.until("one", "it is ready", is_ready).await.map(drop)
}

/// With `Never` a failure is the end, and its code stays.
pub(crate) async fn never_restart_keeps_the_exit_code(place: Place) -> Outcome {
    let mut object = script_pod(&place, "one", "exit 9");
    object["spec"]["restartPolicy"] = json!("Never");
    place.make::<Pod>(object).await?;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let seen = place.until("one", "it has failed", |pod: &Pod| phase(pod).as_deref() == Some("Failed")).await?;
    let ended = first_container(&seen).and_then(|it| it.state.as_ref()?.terminated.as_ref());
    is("its code", ended.map(|ended| ended.exit_code), Some(9))?;
    is("restarts", restarts(&seen), 0)
}

/// With `OnFailure` a failure is tried again, and a success is the end.
pub(crate) async fn on_failure_restarts_only_failures(place: Place) -> Outcome {
    let mut main = container(&place, "test -f /state/again && exit 0; touch /state/again; exit 1");
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/state" }]);
    let mut spec = pod_spec(main);
    spec["volumes"] = json!([{ "name": "state", "emptyDir": {} }]);
    spec["restartPolicy"] = json!("OnFailure");
    place.make::<Pod>(pod("one", spec)).await?;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let seen = place.until("one", "it has succeeded", |pod: &Pod| phase(pod).as_deref() == Some("Succeeded")).await?;
    is("restarts", restarts(&seen), 1)
}

/// A container that takes more memory than its limit is killed, and it is said why. A runtime hears of the
/// reason by another way than of the end; where it is late, the reason is only `Error`.
pub(crate) async fn too_much_memory_is_a_kill(place: Place) -> Outcome {
    let mut seen = Vec::new();
    for attempt in 1..=KILLS {
        let how = killed_for_memory(&place, &format!("greedy-{attempt}")).await?;
        is("how", (how.0 == "OOMKilled" || how.0 == "Error", how.1), (true, 137))?;
        if how.0 == "OOMKilled" {
            return Ok(());
        }
        seen.push(how);
    }
    bail!("{KILLS} kills, and none is told as one for memory: {seen:?}")
}

/// The reason and the code with which a container without measure ends.
async fn killed_for_memory(place: &Place, name: &str) -> anyhow::Result<(String, i32)> {
    // The shell keeps what it reads in one string that doubles: by itself, not in a child.
    let script = "sleep 1; s=xxxxxxxxxxxxxxxx; while :; do s=$s$s; done";
    let mut main = container(place, script);
    main["resources"] = json!({ "limits": { "memory": "48Mi" }, "requests": { "memory": "16Mi" } });
    let mut spec = pod_spec(main);
    spec["restartPolicy"] = json!("Never");
    place.make::<Pod>(pod(name, spec)).await?;
    let ended = |pod: &Pod| first_container(pod).and_then(|it| it.state.as_ref()?.terminated.clone());
    let seen = place.until(name, "it was ended", |pod: &Pod| ended(pod).is_some()).await?;
    let ended = ended(&seen).context("it was there a moment ago")?;
    Ok((ended.reason.unwrap_or_default(), ended.exit_code))
}

/// An eviction is refused with 429 while a disruption budget has nothing to give.
pub(crate) async fn eviction_honours_the_budget(place: Place) -> Outcome {
    let object = deployment("one", 1, pod_spec(container(&place, IDLE)));
    place.make::<k8s_openapi::api::apps::v1::Deployment>(object).await?;
    let budget = json!({
        "metadata": { "name": "one" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "one" } } },
    });
    place.make::<PodDisruptionBudget>(budget).await?;
    let allowed = |budget: &PodDisruptionBudget| budget.status.as_ref().and_then(|status| status.disruptions_allowed);
    let healthy = |budget: &PodDisruptionBudget| budget.status.as_ref().is_some_and(|it| it.current_healthy == Some(1));
    let seen = place.until("one", "the budget counts its pod", healthy).await?;
    is("allowed", allowed(&seen), Some(0))?;
    let pod = place.pods("app=one").await?.pop().context("there is no pod")?.name_any();
    let evicted = place.api::<Pod>().evict(&pod, &EvictParams::default()).await;
    refused(evicted, 429, "TooManyRequests")?;
    place.merge::<k8s_openapi::api::apps::v1::Deployment>("one", json!({ "spec": { "replicas": 2 } })).await?;
    place.until("one", "one may go", |budget: &PodDisruptionBudget| allowed(budget) == Some(1)).await?;
    place.api::<Pod>().evict(&pod, &EvictParams::default()).await?;
    place.gone::<Pod>(&pod).await
}

/// Scheduling, pulling, creating and starting stand in the pod's Events.
pub(crate) async fn events_tell_a_pods_story(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    let wanted = ["Scheduled", "Pulled", "Created", "Started"];
    within("the Events are there", async || {
        let seen: Vec<_> = events(&place, "one").await?.into_iter().filter_map(|event| event.reason).collect();
        if wanted.iter().all(|reason| seen.iter().any(|it| it == reason)) {
            Ok(())
        } else {
            Err(Not(format!("{seen:?}")))
        }
    })
    .await
}

/// A process that is killed is started again in the same pod.
pub(crate) async fn a_killed_process_is_restarted(place: Place) -> Outcome {
    let made = place.ready_pod(script_pod(&place, "one", "sleep 1000 & wait $!; exit 5")).await?;
    place.sh("one", "kill -9 $(pidof sleep)").await?;
    let after = place.until("one", "it is restarted", |pod: &Pod| restarts(pod) == 1 && is_ready(pod)).await?;
    is("the pod", after.uid(), made.uid())?;
    let last = first_container(&after).and_then(|it| it.last_state.as_ref()?.terminated.as_ref());
    is("its last exit", last.map(|ended| ended.exit_code), Some(5))
}
