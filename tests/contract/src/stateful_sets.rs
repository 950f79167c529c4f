//! StatefulSets: order, names, and the pod that is not replaced.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, container, pod_spec, ready_by_file, stateful_set};
use crate::place::{Not, Outcome, Place, is, is_ready, stays, within};

/// A process whose readiness is the file `/tmp/ready`, which it makes itself.
const READY: &str = "touch /tmp/ready; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

fn set(place: &Place, replicas: u32) -> Value {
    stateful_set("one", replicas, pod_spec(container(place, IDLE)))
}

async fn ready(place: &Place, replicas: i32) -> Outcome {
    place
        .until("one", "its pods are ready", |it: &StatefulSet| {
            let status = it.status.as_ref();
            status.and_then(|status| status.ready_replicas).unwrap_or(0) == replicas
                && status.map(|status| status.replicas) == Some(replicas)
                && status.and_then(|status| status.observed_generation) == it.metadata.generation
        })
        .await
        .map(drop)
}

async fn names(place: &Place) -> anyhow::Result<Vec<String>> {
    Ok(place.pods("app=one").await?.iter().map(ResourceExt::name_any).collect())
}

async fn uid(place: &Place, name: &str) -> anyhow::Result<Option<String>> {
    Ok(place.api::<Pod>().get_opt(name).await?.and_then(|pod| pod.uid()))
}

async fn scale(place: &Place, replicas: u32) -> Outcome {
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    place.api::<StatefulSet>().patch_scale("one", &PatchParams::default(), &patch).await?;
    Ok(())
}

fn restart(at: &str) -> Value {
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": at });
    json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } })
}

/// The next pod comes when the one before it is ready.
pub(crate) async fn pods_come_in_order(place: Place) -> Outcome {
    let main = ready_by_file(container(&place, IDLE));
    place.make::<StatefulSet>(stateful_set("one", 2, pod_spec(main))).await?;
    place
        .until("one-0", "the first runs", |pod: &Pod| crate::place::condition(pod, "ContainersReady").is_some())
        .await?;
    let alone = async || Ok(names(&place).await? == ["one-0"]);
    stays("only the first is there", Duration::from_secs(2), alone).await?;
    within("the first can be told to be ready", async || match place.sh("one-0", "touch /tmp/ready").await {
        Ok(said) if said.code == 0 => Ok(()),
        Ok(said) => Err(Not(said.stderr)),
        Err(error) => Err(Not(error.to_string())),
    })
    .await?;
    place.until("one-1", "the second is there", |_: &Pod| true).await.map(drop)
}

/// The highest goes first, one at a time.
pub(crate) async fn pods_go_in_reverse_order(place: Place) -> Outcome {
    place.make::<StatefulSet>(set(&place, 3)).await?;
    ready(&place, 3).await?;
    scale(&place, 1).await?;
    let mut seen = Vec::new();
    within("one is left", async || {
        let now = names(&place).await.map_err(|error| Not(error.to_string()))?;
        let last = now.join(" ");
        let over = now == ["one-0"];
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if over { Ok(()) } else { Err(Not(last)) }
    })
    .await?;
    let skipped =
        seen.iter().any(|now| now.iter().any(|name| name == "one-2") && !now.iter().any(|name| name == "one-1"));
    is("the second never went before the third", skipped, false)
}

/// A deleted pod comes back under its name, as another pod.
pub(crate) async fn a_deleted_pod_comes_back_by_its_name(place: Place) -> Outcome {
    place.make::<StatefulSet>(set(&place, 1)).await?;
    ready(&place, 1).await?;
    let old = uid(&place, "one-0").await?;
    place.api::<Pod>().delete("one-0", &DeleteParams::default()).await?;
    place.until("one-0", "another is ready", |pod: &Pod| pod.uid() != old && is_ready(pod)).await.map(drop)
}

/// A rollout does not replace a pod that is not ready: it waits for it, and only deleting
/// the pod helps.
pub(crate) async fn a_pod_that_is_not_ready_is_not_replaced_by_an_update(place: Place) -> Outcome {
    let main = ready_by_file(container(&place, READY));
    place.make::<StatefulSet>(stateful_set("one", 1, pod_spec(main))).await?;
    ready(&place, 1).await?;
    place.sh("one-0", "rm /tmp/ready").await?;
    let sick = place.until("one-0", "it is not ready", |pod: &Pod| !is_ready(pod)).await?;
    place.strategic::<StatefulSet>("one", restart("2026-01-01T00:00:00Z")).await?;
    let same = async || {
        let now = place.api::<Pod>().get_opt("one-0").await?;
        Ok(now.is_some_and(|pod| pod.uid() == sick.uid() && pod.metadata.deletion_timestamp.is_none()))
    };
    stays("it is the same pod", Duration::from_secs(6), same).await?;
    place.api::<Pod>().delete("one-0", &DeleteParams::default()).await?;
    let healed = place.until("one-0", "another is ready", |pod: &Pod| pod.uid() != sick.uid() && is_ready(pod)).await?;
    let annotation = healed.annotations().get("kubectl.kubernetes.io/restartedAt").map(String::as_str);
    is("it is of the new template", annotation, Some("2026-01-01T00:00:00Z"))
}

/// An update replaces the highest first, and the next when that is ready.
pub(crate) async fn an_update_goes_from_the_highest_down(place: Place) -> Outcome {
    place.make::<StatefulSet>(set(&place, 2)).await?;
    ready(&place, 2).await?;
    let old = (uid(&place, "one-0").await?, uid(&place, "one-1").await?);
    place.strategic::<StatefulSet>("one", restart("2026-01-01T00:00:00Z")).await?;
    let mut first_before_second = false;
    within("both are new", async || {
        let look = async |name| uid(&place, name).await.map_err(|error: anyhow::Error| Not(error.to_string()));
        // The second is read first: if it is old then, it was old when the first is read.
        let second = look("one-1").await?;
        let first = look("one-0").await?;
        first_before_second |= first != old.0 && second == old.1;
        let new = first.is_some() && second.is_some() && first != old.0 && second != old.1;
        if new { Ok(()) } else { Err(Not(format!("{first:?} {second:?}"))) }
    })
    .await?;
    is("the first went before the second", first_before_second, false)?;
    ready(&place, 2).await
}

/// A claim stays when its pod goes, with what was written to it.
pub(crate) async fn claims_outlive_their_pods(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let mut object = stateful_set("one", 1, pod_spec(main));
    object["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "16Mi" } } },
    }]);
    place.make::<StatefulSet>(object).await?;
    ready(&place, 1).await?;
    place.sh("one-0", "echo kept > /data/file").await?;
    let claim = place.api::<PersistentVolumeClaim>().get("data-one-0").await?;
    scale(&place, 0).await?;
    place.gone::<Pod>("one-0").await?;
    scale(&place, 1).await?;
    ready(&place, 1).await?;
    is("the claim", place.api::<PersistentVolumeClaim>().get("data-one-0").await?.uid(), claim.uid())?;
    is("what was written", place.sh("one-0", "cat /data/file").await?.stdout.as_str(), "kept\n")
}

/// With `Parallel` nobody waits for anybody.
pub(crate) async fn parallel_pods_come_together(place: Place) -> Outcome {
    let mut object = stateful_set("one", 3, pod_spec(ready_by_file(container(&place, IDLE))));
    object["spec"]["podManagementPolicy"] = json!("Parallel");
    place.make::<StatefulSet>(object).await?;
    within("all are there, none of them ready", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        if pods.len() == 3 { Ok(()) } else { Err(Not(format!("{} pods", pods.len()))) }
    })
    .await
}

/// Pods below the partition keep the old template.
pub(crate) async fn a_partition_holds_back(place: Place) -> Outcome {
    let mut object = set(&place, 2);
    object["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    place.make::<StatefulSet>(object).await?;
    ready(&place, 2).await?;
    let old = (uid(&place, "one-0").await?, uid(&place, "one-1").await?);
    place.strategic::<StatefulSet>("one", restart("2026-01-01T00:00:00Z")).await?;
    place.until("one-1", "the second is new", |pod: &Pod| pod.uid() != old.1 && is_ready(pod)).await?;
    let held = async || Ok(uid(&place, "one-0").await? == old.0);
    stays("the first is the old one", Duration::from_secs(2), held).await
}

/// Scaled to nothing and back, its pods have their names again.
pub(crate) async fn scaled_to_nothing_and_back(place: Place) -> Outcome {
    place.make::<StatefulSet>(set(&place, 1)).await?;
    ready(&place, 1).await?;
    let old = uid(&place, "one-0").await?.context("there is no pod")?;
    scale(&place, 0).await?;
    place.gone::<Pod>("one-0").await?;
    scale(&place, 1).await?;
    ready(&place, 1).await?;
    is("another pod", uid(&place, "one-0").await? != Some(old), true)
}
