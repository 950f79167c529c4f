//! The mark on a revision whose release was rolled back.
//!
//! Right after a roll-back the bad revision is the newest one before the current: what
//! `kubectl rollout undo` would return to. The mark names its object, since a mark that a
//! controller or kubectl copied to another one says nothing about that one.

use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::super::api::{ApiError, ask_optional};
use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};

const MARK: &str = "gameday.dev/rolled-back";

/// Why the release of this revision was rolled back, where it was.
pub(super) fn read(object: &impl ResourceExt) -> Option<String> {
    let mark = object.annotations().get(MARK)?;
    mark.strip_prefix(&object.name_any())?.strip_prefix(": ").map(str::to_owned)
}

/// Marks a revision, or takes its mark away. One that is not kept any more is left alone.
pub(in crate::pipeline) async fn write(
    cluster: &Cluster,
    workload: &WorkloadRef,
    revision: &str,
    why: Option<&str>,
) -> Result<(), ApiError> {
    let value = why.map(|why| format!("{revision}: {why}"));
    let patch = Patch::Merge(json!({"metadata": {"annotations": {MARK: value}}}));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("mark revision {revision} of {workload}");
    match workload.kind {
        WorkloadKind::Deployment => {
            let api: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            ask_optional(&doing, || api.patch(revision, &parameters, &patch)).await.map(drop)
        }
        WorkloadKind::StatefulSet => {
            let api: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            ask_optional(&doing, || api.patch(revision, &parameters, &patch)).await.map(drop)
        }
    }
}
