//! Deployments: rollouts, revisions, arithmetic.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, container, deployment, pod_spec, ready_by_file};
use crate::place::{Not, Outcome, Place, first_container, is, is_ready, stays, within};

/// A container whose template differs by a variable.
fn version(place: &Place, number: &str) -> Value {
    let mut main = container(place, IDLE);
    main["env"] = json!([{ "name": "VERSION", "value": number }]);
    main
}

fn to_version(number: &str) -> Value {
    let env = json!([{ "name": "VERSION", "value": number }]);
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "env": env }] } } } })
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object["spec"][field] = value;
    object
}

fn surge(surge: u32, unavailable: u32) -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } })
}

/// Whether the pod's container runs.
fn runs(pod: &Pod) -> bool {
    first_container(pod).and_then(|it| it.state.as_ref()).is_some_and(|state| state.running.is_some())
}

/// Whether the pod's containers have ended for good.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Everything it wants is there, of its newest template, and nothing else counts.
fn is_rolled_out(it: &Deployment) -> bool {
    let Some(status) = &it.status else { return false };
    let wanted = it.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    status.observed_generation == it.metadata.generation
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
}

async fn rolled_out(place: &Place) -> anyhow::Result<Deployment> {
    place.until("one", "it is rolled out", is_rolled_out).await
}

fn condition(it: &Deployment, kind: &str) -> Option<(String, String)> {
    let conditions = it.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|one| one.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone().unwrap_or_default()))
}

fn revision(object: &impl ResourceExt) -> Option<&str> {
    object.annotations().get("deployment.kubernetes.io/revision").map(String::as_str)
}

async fn replica_sets(place: &Place) -> anyhow::Result<Vec<ReplicaSet>> {
    let mut sets = place.api::<ReplicaSet>().list(&ListParams::default().labels("app=one")).await?.items;
    sets.sort_by_key(|set| revision(set).and_then(|text| text.parse::<u64>().ok()));
    Ok(sets)
}

fn uids(pods: &[Pod]) -> Vec<Option<String>> {
    pods.iter().map(ResourceExt::uid).collect()
}

/// A Deployment makes a ReplicaSet, that makes pods, and it says when it is complete.
pub(crate) async fn a_deployment_gets_ready(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 2, pod_spec(version(&place, "1")))).await?;
    let done = rolled_out(&place).await?;
    is("available", condition(&done, "Available"), Some(("True".into(), "MinimumReplicasAvailable".into())))?;
    let progressing = place
        .until("one", "its progress is complete", |it: &Deployment| {
            condition(it, "Progressing") == Some(("True".into(), "NewReplicaSetAvailable".into()))
        })
        .await?;
    is("revision", revision(&progressing), Some("1"))?;
    is("pods", place.pods("app=one").await?.len(), 2)
}

/// With a surge of one and none unavailable there are never fewer ready pods than wanted,
/// and never more than one above.
pub(crate) async fn a_rolling_update_keeps_its_promised_pods(place: Place) -> Outcome {
    let object = with(deployment("one", 3, pod_spec(version(&place, "1"))), "strategy", surge(1, 0));
    place.make::<Deployment>(object).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    place.strategic::<Deployment>("one", to_version("2")).await?;
    let (mut fewest, mut most) = (usize::MAX, 0);
    within("every pod is new", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        fewest = fewest.min(pods.iter().filter(|pod| is_ready(pod)).count());
        most = most.max(pods.len());
        let old = pods.iter().filter(|pod| before.contains(&pod.uid())).count();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if old == 0 && ready == 3 { Ok(()) } else { Err(Not(format!("{old} old, {ready} ready"))) }
    })
    .await?;
    is("fewest ready pods", fewest, 3)?;
    is("most pods", most, 4)
}

/// Each change of the template is the next revision, in a ReplicaSet of its own.
pub(crate) async fn each_template_is_a_revision(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    for (number, expected) in [("2", "2"), ("3", "3")] {
        place.strategic::<Deployment>("one", to_version(number)).await?;
        is("revision", revision(&rolled_out(&place).await?), Some(expected))?;
    }
    let sets = replica_sets(&place).await?;
    let seen: Vec<_> = sets.iter().map(|set| (revision(set), set.spec.as_ref().and_then(|it| it.replicas))).collect();
    is("ReplicaSets", seen, vec![(Some("1"), Some(0)), (Some("2"), Some(0)), (Some("3"), Some(1))])
}

/// Going back to an old template takes its ReplicaSet up again, as the newest revision.
pub(crate) async fn undo_brings_an_old_revision_back(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    let first = replica_sets(&place).await?.first().map(ResourceExt::name_any);
    place.strategic::<Deployment>("one", to_version("2")).await?;
    rolled_out(&place).await?;
    place.strategic::<Deployment>("one", to_version("1")).await?;
    is("revision", revision(&rolled_out(&place).await?), Some("3"))?;
    let sets = replica_sets(&place).await?;
    is("ReplicaSets", sets.len(), 2)?;
    is("the old one is the newest", sets.last().map(ResourceExt::name_any), first)
}

/// The annotation that `kubectl rollout restart` sets replaces every pod.
pub(crate) async fn restart_replaces_every_pod(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 2, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    place.strategic::<Deployment>("one", patch).await?;
    rolled_out(&place).await?;
    let after = uids(&place.pods("app=one").await?);
    is("pods", after.len(), 2)?;
    is("old ones", after.iter().filter(|uid| before.contains(uid)).count(), 0)
}

/// Scaling keeps the revision and the pods that stay.
pub(crate) async fn scaling_is_no_revision(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 2, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    for replicas in [3, 0] {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        place.api::<Deployment>().patch_scale("one", &PatchParams::default(), &patch).await?;
        let done = rolled_out(&place).await?;
        is("revision", revision(&done), Some("1"))?;
        let pods = uids(&place.pods("app=one").await?);
        is("pods", pods.len(), replicas)?;
        is("pods that stayed", pods.iter().filter(|uid| before.contains(uid)).count(), replicas.min(2))?;
    }
    Ok(())
}

/// A deleted pod is replaced by one with another name and uid.
pub(crate) async fn a_deleted_pod_is_replaced_by_another(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    let old = place.pods("app=one").await?.pop().context("there is no pod")?;
    place.api::<Pod>().delete(&old.name_any(), &DeleteParams::default()).await?;
    let new = within("another pod is ready", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        let other = pods.into_iter().find(|pod| pod.uid() != old.uid() && is_ready(pod));
        other.ok_or_else(|| Not("none".to_owned()))
    })
    .await?;
    is("another name", new.name_any() != old.name_any(), true)
}

/// While it is paused a new template changes nothing, and resuming rolls it out.
pub(crate) async fn a_paused_deployment_waits(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    rolled_out(&place).await?;
    place.merge::<Deployment>("one", json!({ "spec": { "paused": true } })).await?;
    let changed: Deployment = place.strategic("one", to_version("2")).await?;
    let generation = changed.metadata.generation;
    place
        .until("one", "the change is observed", |it: &Deployment| {
            it.status.as_ref().and_then(|status| status.observed_generation) == generation
        })
        .await?;
    let one_set = async || Ok(replica_sets(&place).await?.len() == 1);
    stays("there is one ReplicaSet", Duration::from_secs(2), one_set).await?;
    place.merge::<Deployment>("one", json!({ "spec": { "paused": null } })).await?;
    rolled_out(&place).await?;
    is("ReplicaSets", replica_sets(&place).await?.len(), 2)
}

/// Without progress for the deadline it says so, and keeps trying.
pub(crate) async fn no_progress_is_told_after_the_deadline(place: Place) -> Outcome {
    let never = ready_by_file(container(&place, IDLE));
    let object = with(deployment("one", 1, pod_spec(never)), "progressDeadlineSeconds", json!(3));
    place.make::<Deployment>(object).await?;
    place
        .until("one", "the deadline is told", |it: &Deployment| {
            condition(it, "Progressing") == Some(("False".into(), "ProgressDeadlineExceeded".into()))
        })
        .await?;
    let pod = place.pods("app=one").await?.pop().context("there is no pod")?.name_any();
    // On a busy node the deadline may be over before the container runs.
    place.until(&pod, "its container runs", runs).await?;
    place.sh(&pod, "touch /tmp/ready").await?;
    rolled_out(&place).await.map(drop)
}

/// `Recreate` ends the processes of every old pod before it makes a new one. The object of a pod that has
/// ended may stay a little longer.
pub(crate) async fn recreate_ends_the_old_first(place: Place) -> Outcome {
    let strategy = json!({ "type": "Recreate" });
    let object = with(deployment("one", 2, pod_spec(version(&place, "1"))), "strategy", strategy);
    place.make::<Deployment>(object).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    place.strategic::<Deployment>("one", to_version("2")).await?;
    let mut mixed = false;
    within("every pod is new", async || {
        let all = place.api::<Pod>().list(&ListParams::default().labels("app=one")).await?.items;
        let (old, new): (Vec<_>, Vec<_>) = all.iter().partition(|pod| before.contains(&pod.uid()));
        mixed |= !new.is_empty() && old.iter().any(|pod| !has_ended(pod));
        let ready = all.iter().filter(|pod| is_ready(pod)).count();
        if old.is_empty() && ready == 2 { Ok(()) } else { Err(Not(format!("{} old, {ready} ready", old.len()))) }
    })
    .await?;
    is("old and new at a time", mixed, false)
}

/// A pod counts as available only after `minReadySeconds`.
pub(crate) async fn minimum_ready_time_delays(place: Place) -> Outcome {
    let object = with(deployment("one", 1, pod_spec(version(&place, "1"))), "minReadySeconds", json!(4));
    place.make::<Deployment>(object).await?;
    let ready = place
        .until("one", "its pod is ready", |it: &Deployment| {
            it.status.as_ref().and_then(|status| status.ready_replicas) == Some(1)
        })
        .await?;
    is("available", ready.status.and_then(|status| status.available_replicas).unwrap_or(0), 0)?;
    rolled_out(&place).await.map(drop)
}

/// The status says which generation it is about.
pub(crate) async fn observed_generation_follows(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    let before = rolled_out(&place).await?;
    let patched: Deployment = place.strategic("one", to_version("2")).await?;
    let counted = patched.metadata.generation > before.metadata.generation;
    is("the generation counts up", counted, true)?;
    let after = rolled_out(&place).await?;
    is("observed", after.status.and_then(|status| status.observed_generation), patched.metadata.generation)
}

/// An image that cannot be had leaves the old pods as they are.
pub(crate) async fn a_bad_image_keeps_the_old_pods(place: Place) -> Outcome {
    let object = with(deployment("one", 2, pod_spec(version(&place, "1"))), "strategy", surge(1, 0));
    place.make::<Deployment>(object).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    let image = json!([{ "name": "main", "image": missing_image(&place), "imagePullPolicy": "IfNotPresent" }]);
    let patch = json!({ "spec": { "template": { "spec": { "containers": image } } } });
    place.strategic::<Deployment>("one", patch).await?;
    within("the new pod cannot have its image", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        let waits = pods.iter().filter_map(crate::place::waits_for).any(|why| why.contains("Image"));
        if waits { Ok(()) } else { Err(Not(format!("{} pods", pods.len()))) }
    })
    .await?;
    let pods = place.pods("app=one").await?;
    let kept = pods.iter().filter(|pod| before.contains(&pod.uid()) && is_ready(pod)).count();
    is("old pods, ready", kept, 2)
}

/// Without a surge one pod goes before its successor comes.
pub(crate) async fn unavailable_one_without_surge(place: Place) -> Outcome {
    let object = with(deployment("one", 2, pod_spec(version(&place, "1"))), "strategy", surge(0, 1));
    place.make::<Deployment>(object).await?;
    rolled_out(&place).await?;
    let before = uids(&place.pods("app=one").await?);
    place.strategic::<Deployment>("one", to_version("2")).await?;
    let mut most = 0;
    within("every pod is new", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        most = most.max(pods.len());
        let old = pods.iter().filter(|pod| before.contains(&pod.uid())).count();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if old == 0 && ready == 2 { Ok(()) } else { Err(Not(format!("{old} old, {ready} ready"))) }
    })
    .await?;
    is("most pods", most, 2)
}

/// A pod carries its template's hash, and leads to its Deployment by its owners.
pub(crate) async fn pods_carry_the_template_hash_and_their_owner(place: Place) -> Outcome {
    place.make::<Deployment>(deployment("one", 1, pod_spec(version(&place, "1")))).await?;
    let done = rolled_out(&place).await?;
    let pod = place.pods("app=one").await?.pop().context("there is no pod")?;
    let set = replica_sets(&place).await?.pop().context("there is no ReplicaSet")?;
    let hash = pod.labels().get("pod-template-hash").cloned().unwrap_or_default();
    is("the ReplicaSet's name", set.name_any(), format!("one-{hash}"))?;
    is("the pod's name", pod.name_any().starts_with(&format!("one-{hash}-")), true)?;
    let owner = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
    };
    is("the pod's owner", owner(pod.owner_references()), set.uid())?;
    is("the ReplicaSet's owner", owner(set.owner_references()), done.uid())
}

/// An image next to the one that is there, which nobody made.
fn missing_image(place: &Place) -> String {
    let name = place.image.split('@').next().unwrap_or_default();
    // The last colon is a tag's only behind the last slash; before it, it is a port's.
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let end = name[slash..].find(':').map_or(name.len(), |at| slash + at);
    format!("{}:not-there", &name[..end])
}
