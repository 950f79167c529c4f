//! Namespaces that a run makes for its lanes: marked as its own, and removed whole.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};

use super::receipts::RUN_LABEL;
use crate::cluster::Cluster;
use crate::system::SystemError;

/// Label on a namespace that a run made; its value is the lane's number.
pub const LANE_LABEL: &str = "gameday.dev/lane";
/// Field manager of what makes the namespace: another one than that of releases, whose next
/// apply would take the labels away again.
const MAKER: &str = "gameday-lanes";
/// How long a namespace may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the namespace of a lane. One of an earlier run is removed first.
///
/// # Errors
/// [`SystemError`] where the API refuses, and where there is such a namespace that no run made.
pub async fn make(cluster: &Cluster, name: &str, run: &str, lane: u32) -> Result<(), SystemError> {
    remove(cluster, name, None).await?;
    let labels = [(RUN_LABEL, run.to_owned()), (LANE_LABEL, lane.to_string())];
    let labels = labels.map(|(key, value)| (key.to_owned(), value));
    let metadata =
        ObjectMeta { name: Some(name.to_owned()), labels: Some(BTreeMap::from(labels)), ..ObjectMeta::default() };
    let parameters = PostParams { field_manager: Some(MAKER.to_owned()), ..PostParams::default() };
    let made = api(cluster).create(&parameters, &Namespace { metadata, ..Namespace::default() }).await;
    made.map(drop).map_err(|error| SystemError::from_api(&format!("make namespace `{name}`"), &error))
}

/// Removes a lane's namespace with everything in it, and returns when it is gone: whether there
/// was one. With `run`, any but that of this run is left alone. Its pods get no time to end well.
///
/// # Errors
/// [`SystemError`] where the API refuses, where it is not gone within a minute, and, without
/// `run`, where no run made this namespace.
pub async fn remove(cluster: &Cluster, name: &str, run: Option<&str>) -> Result<bool, SystemError> {
    let mut was_there = false;
    let mut last = String::from("nothing");
    let removing = async {
        loop {
            match step(cluster, name, run).await {
                Ok(None) => return Ok(was_there),
                Ok(Some(seen)) => {
                    was_there = true;
                    last = seen;
                }
                Err(error) if error.transient => last = error.to_string(),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(GONE_WITHIN, removing).await {
        Ok(result) => result,
        Err(_) => Err(SystemError {
            message: format!("see namespace `{name}` gone within {} s; last seen: {last}", GONE_WITHIN.as_secs()),
            transient: false,
        }),
    }
}

/// One step towards a namespace that is gone; `None` where it is.
async fn step(cluster: &Cluster, name: &str, run: Option<&str>) -> Result<Option<String>, SystemError> {
    let failed = |error: kube::Error| SystemError::from_api(&format!("remove namespace `{name}`"), &error);
    let Some(found) = api(cluster).get_opt(name).await.map_err(failed)? else { return Ok(None) };
    let label = |key: &str| found.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    if run.is_some_and(|run| label(RUN_LABEL).is_none_or(|of| of != run)) {
        return Ok(None);
    }
    if label(LANE_LABEL).is_none() {
        let message = format!("remove namespace `{name}`: no run made it, it has no label {LANE_LABEL}");
        return Err(SystemError { message, transient: false });
    }
    if found.metadata.deletion_timestamp.is_none() {
        let preconditions = Preconditions { uid: found.metadata.uid.clone(), ..Preconditions::default() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match api(cluster).delete(name, &parameters).await {
            Ok(_) => {}
            // Somebody else was faster; the next look tells.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    // Nothing new can start in it by now.
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), name);
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&at_once, &ListParams::default()).await.map_err(failed)?;
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let held = conditions.into_iter().filter_map(|condition| condition.message).collect::<Vec<_>>();
    Ok(Some(if held.is_empty() { "it is there".to_owned() } else { held.join("; ") }))
}

fn api(cluster: &Cluster) -> Api<Namespace> {
    Api::all(cluster.client.clone())
}
