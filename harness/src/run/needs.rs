//! What scenarios need of their surroundings, and which of them have it.

use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::ListParams;

use super::RunError;
use super::recorder::Shared;
use crate::cluster::Cluster;
use crate::docker::Engine;
use crate::double;
use crate::event::{ClusterKind, What};
use crate::fault::{chaos, leak, registry};
use crate::scenario::needs::Need;
use crate::scenario::plan::Plan;
use crate::system::SystemError;

/// How often an API server that does not answer is asked.
const LOOKS_MAX: u32 = 40;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The plans as they can be rehearsed here; those that cannot are recorded as skipped, by name.
///
/// # Errors
/// [`RunError::Needs`] where the cluster does not say what it has.
pub(super) async fn met(plans: &[Plan], cluster: &Cluster, recorder: &Shared) -> Result<Vec<Plan>, RunError> {
    let mut met = plans.to_vec();
    for need in Need::ALL {
        let Some(needy) = met.iter().find(|plan| plan.without(need).as_ref() != Some(plan)) else { continue };
        if has(cluster, need, needy).await.map_err(RunError::Needs)? {
            continue;
        }
        let mut left = Vec::new();
        for plan in met {
            match plan.without(need) {
                Some(plan) => left.push(plan),
                None => {
                    let why = if need.is_of_namespace() {
                        format!("namespace `{}` has no {need}", cluster.namespace)
                    } else {
                        format!("cluster `{}` has no {need}", cluster.facts.name)
                    };
                    recorder.emit(What::ScenarioSkipped { plan: Box::new(plan), why })?;
                }
            }
        }
        met = left;
    }
    Ok(met)
}

/// Whether it is there; weather is waited out.
async fn has(cluster: &Cluster, need: Need, plan: &Plan) -> Result<bool, SystemError> {
    let mut looks = 1;
    loop {
        let looked = match need {
            Need::LlmDouble => double::is_there(cluster).await,
            Need::Debug => leak::has_switches(cluster, &plan.workload, plan.port).await,
            Need::Nodes => Ok(has_nodes(cluster).await),
            Need::Registry if has_nodes(cluster).await => registry::address(cluster).await.map(|told| told.is_some()),
            Need::Registry => Ok(false),
            Need::NetworkPolicy => serves_policies(cluster).await,
            Need::ChaosMesh => chaos::is_installed(cluster).await,
        };
        match looked {
            Err(error) if error.transient && looks < LOOKS_MAX => looks += 1,
            looked => return looked,
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Nodes are ours to break only where they are containers of an engine that answers.
async fn has_nodes(cluster: &Cluster) -> bool {
    match cluster.facts.kind {
        ClusterKind::Kind => Engine::connect().await.is_ok(),
        ClusterKind::Embedded | ClusterKind::Context => false,
    }
}

/// An API that does not know the kind says so with 404.
async fn serves_policies(cluster: &Cluster) -> Result<bool, SystemError> {
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match policies.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(SystemError::from_api("list networkpolicies", &error)),
    }
}
