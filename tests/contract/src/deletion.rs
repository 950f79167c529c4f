//! Deletion: dependents, finalizers, preconditions.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::objects::{IDLE, config_map, container, deployment, pod_spec, script_pod};
use crate::place::{Not, Outcome, Place, is, refused, within};

async fn running(place: &Place, replicas: u32) -> Outcome {
    place.make::<Deployment>(deployment("one", replicas, pod_spec(container(place, IDLE)))).await?;
    let wanted = i32::try_from(replicas)?;
    place.until("one", "it is ready", |it: &Deployment| ready_replicas(it) == wanted).await.map(drop)
}

fn ready_replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

async fn count(place: &Place) -> Result<(usize, usize), kube::Error> {
    let chosen = ListParams::default().labels("app=one");
    let sets = place.api::<ReplicaSet>().list(&chosen).await?.items.len();
    Ok((sets, place.api::<Pod>().list(&chosen).await?.items.len()))
}

/// In the background the owner goes at once and its dependents follow.
pub(crate) async fn background_deletion_takes_dependents(place: Place) -> Outcome {
    running(&place, 1).await?;
    place.api::<Deployment>().delete("one", &DeleteParams::background()).await?;
    is("the owner is gone", place.api::<Deployment>().get_opt("one").await?.is_none(), true)?;
    within("dependents are gone", async || match count(&place).await? {
        (0, 0) => Ok(()),
        left => Err(Not(format!("{left:?}"))),
    })
    .await
}

/// In the foreground the owner stays, being deleted, until its dependents are gone.
pub(crate) async fn foreground_deletion_waits_for_dependents(place: Place) -> Outcome {
    let mut spec = pod_spec(container(&place, "trap '' TERM; while :; do sleep 1; done"));
    spec["terminationGracePeriodSeconds"] = json!(3);
    place.make::<Deployment>(deployment("one", 1, spec)).await?;
    place.until("one", "it is ready", |it: &Deployment| ready_replicas(it) == 1).await?;
    place.api::<Deployment>().delete("one", &DeleteParams::foreground()).await?;
    let held: Deployment = place.api().get("one").await?;
    is("it is being deleted", held.metadata.deletion_timestamp.is_some(), true)?;
    is("by its finalizer", held.finalizers().to_vec(), vec!["foregroundDeletion".to_owned()])?;
    place.gone::<Deployment>("one").await?;
    is("nothing is left", count(&place).await?, (0, 0))
}

/// Orphans stay, and a new owner with their labels adopts them.
pub(crate) async fn orphans_stay_and_are_adopted(place: Place) -> Outcome {
    running(&place, 1).await?;
    let before = place.pods("app=one").await?;
    place.api::<Deployment>().delete("one", &DeleteParams::orphan()).await?;
    place.gone::<Deployment>("one").await?;
    let sets = place.api::<ReplicaSet>().list(&ListParams::default().labels("app=one")).await?.items;
    is("the ReplicaSet stayed", sets.len(), 1)?;
    is("without an owner", sets[0].owner_references().len(), 0)?;
    running(&place, 1).await?;
    let after = place.pods("app=one").await?;
    is("the same pod", after.iter().map(ResourceExt::uid).collect::<Vec<_>>(), vec![before[0].uid()])
}

/// An object with a finalizer stays until that is taken away.
pub(crate) async fn a_finalizer_holds_its_object(place: Place) -> Outcome {
    let object = json!({ "metadata": { "name": "one", "finalizers": ["gameday.dev/held"] } });
    place.make::<ConfigMap>(object).await?;
    place.api::<ConfigMap>().delete("one", &DeleteParams::default()).await?;
    let held: ConfigMap = place.api().get("one").await?;
    is("it is being deleted", held.metadata.deletion_timestamp.is_some(), true)?;
    place.merge::<ConfigMap>("one", json!({ "metadata": { "finalizers": null } })).await?;
    place.gone::<ConfigMap>("one").await
}

/// A deletion that names another uid is refused.
pub(crate) async fn a_precondition_is_kept(place: Place) -> Outcome {
    let made: ConfigMap = place.make(config_map("one", json!({}))).await?;
    let only =
        |uid: Option<String>| DeleteParams::default().preconditions(Preconditions { resource_version: None, uid });
    let other = Some("00000000-0000-0000-0000-000000000000".to_owned());
    refused(place.api::<ConfigMap>().delete("one", &only(other)).await, 409, "Conflict")?;
    place.api::<ConfigMap>().delete("one", &only(made.uid())).await?;
    place.gone::<ConfigMap>("one").await
}

/// A collection is deleted as far as its selector reaches.
pub(crate) async fn a_collection_is_deleted_by_selector(place: Place) -> Outcome {
    for (name, label) in [("my-a", "1"), ("my-b", "1"), ("my-c", "2")] {
        place.make::<ConfigMap>(json!({ "metadata": { "name": name, "labels": { "x": label } } })).await?;
    }
    let chosen = ListParams::default().labels("x=1");
    place.api::<ConfigMap>().delete_collection(&DeleteParams::default(), &chosen).await?;
    within("the chosen are gone", async || {
        let left = place.api::<ConfigMap>().list(&ListParams::default().labels("x")).await?;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        if names == ["my-c"] { Ok(()) } else { Err(Not(format!("{names:?}"))) }
    })
    .await
}

/// A namespace goes only after everything in it.
pub(crate) async fn a_namespace_goes_with_what_is_in_it(place: Place) -> Outcome {
    let name = format!("{}-b", place.namespace);
    let other = Place { namespace: name.clone(), ..place.clone() };
    let api: Api<Namespace> = Api::all(place.client.clone());
    let object = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    api.create(&kube::api::PostParams::default(), &object).await?;
    running(&other, 1).await?;
    api.delete(&name, &DeleteParams::default()).await?;
    within("the namespace is gone", async || match api.get_opt(&name).await? {
        None => Ok(()),
        Some(left) => Err(Not(format!("{:?}", left.status))),
    })
    .await?;
    is("its objects are gone", count(&other).await?, (0, 0))
}

/// A second deletion does not give a pod more time.
pub(crate) async fn deleting_twice_does_not_prolong(place: Place) -> Outcome {
    let mut object = script_pod(&place, "one", "trap '' TERM; while :; do sleep 1; done");
    object["spec"]["terminationGracePeriodSeconds"] = json!(4);
    place.ready_pod(object).await?;
    let api = place.api::<Pod>();
    api.delete("one", &DeleteParams::default()).await?;
    let first = api.get("one").await?;
    api.delete("one", &DeleteParams::default().grace_period(600)).await?;
    let second = api.get("one").await?;
    let at = |pod: &Pod| pod.metadata.deletion_timestamp.clone();
    is("the time is set", at(&first).is_some(), true)?;
    is("its time", at(&second), at(&first))?;
    is("its grace", second.metadata.deletion_grace_period_seconds, Some(4))?;
    place.gone::<Pod>("one").await
}
