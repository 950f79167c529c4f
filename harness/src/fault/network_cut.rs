//! The network cut between two workloads, by a NetworkPolicy: where the cluster's network enforces
//! it. Where it does not, nothing happens, and the scenario's proof is never seen.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Receipt;
use crate::cluster::Cluster;
use crate::heal::receipts::FIELD_MANAGER;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Marks what a fault made; its value is the fault's name.
const LABEL: &str = "gameday.dev/fault";
const LABEL_VALUE: &str = "network-cut";
/// How long a policy that was deleted may still be there.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Cuts the way from one workload's pods to another's; healed by deleting the policy that does it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkCut {
    /// Whose pods no longer get through.
    pub from: WorkloadRef,
    /// To whose pods.
    pub to: WorkloadRef,
    /// How long it is cut at least before somebody makes it whole.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub lasts: Duration,
}

/// What cutting and healing need to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkCutReceipt {
    /// Namespace of both.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// Whose pods no longer get through.
    pub from: WorkloadRef,
    /// Their labels.
    pub from_labels: BTreeMap<String, String>,
    /// To whose pods.
    pub to: WorkloadRef,
    /// Their labels.
    pub to_labels: BTreeMap<String, String>,
}

impl NetworkCut {
    /// Reads by which labels both are known. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where one is not there, or a policy of that name is.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let policy = format!("gameday-cut-{}-{}", self.from.name, self.to.name);
        let there = policies(cluster, &cluster.namespace).get_opt(&policy).await;
        let there = there.map_err(|error| SystemError::from_api(&format!("read networkpolicy `{policy}`"), &error))?;
        if there.is_some_and(|there| !is_ours(&there)) {
            let message = format!("make networkpolicy `{policy}`: there is one, and no fault made it");
            return Err(SystemError { message, transient: false });
        }
        Ok(Receipt::NetworkCut(NetworkCutReceipt {
            namespace: cluster.namespace.clone(),
            policy,
            from: self.from.clone(),
            from_labels: labels(cluster, &self.from).await?,
            to: self.to.clone(),
            to_labels: labels(cluster, &self.to).await?,
        }))
    }
}

/// The labels by which a workload knows its pods.
async fn labels(cluster: &Cluster, workload: &WorkloadRef) -> Result<BTreeMap<String, String>, SystemError> {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &workload.name);
    let selector: Result<Option<LabelSelector>, kube::Error> = match workload.kind {
        WorkloadKind::Deployment => {
            let found = Api::<Deployment>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.selector))
        }
        WorkloadKind::StatefulSet => {
            let found = Api::<StatefulSet>::namespaced(client, namespace).get(name).await;
            found.map(|found| found.spec.map(|spec| spec.selector))
        }
    };
    let selector = selector.map_err(|error| SystemError::from_api(&format!("read {workload}"), &error))?;
    let labels = selector.and_then(|selector| selector.match_labels).unwrap_or_default();
    if labels.is_empty() {
        let message = format!("cut the network of {workload}: it does not know its pods by labels alone");
        return Err(SystemError { message, transient: false });
    }
    Ok(labels)
}

impl NetworkCutReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied =
            policies(cluster, &self.namespace).patch(&self.policy, &parameters, &Patch::Apply(self.object())).await;
        applied
            .map(drop)
            .map_err(|error| SystemError::from_api(&format!("make networkpolicy `{}`", self.policy), &error))
    }

    /// A policy only ever allows, so this one allows whoever is none of those that are cut off:
    /// one rule a label, since lacking one of several is enough not to be one of them.
    fn object(&self) -> Value {
        let others = self.from_labels.iter().map(|(key, value)| {
            json!({
                "namespaceSelector": {},
                "podSelector": { "matchExpressions": [{ "key": key, "operator": "NotIn", "values": [value] }] },
            })
        });
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": self.policy, "labels": { LABEL: LABEL_VALUE } },
            "spec": {
                "podSelector": { "matchLabels": self.to_labels },
                "policyTypes": ["Ingress"],
                "ingress": [{ "from": others.collect::<Vec<_>>() }],
            },
        })
    }

    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        let api = policies(cluster, &self.namespace);
        let failed =
            |error: &kube::Error| SystemError::from_api(&format!("delete networkpolicy `{}`", self.policy), error);
        let mut undone = Vec::new();
        let deleting = async {
            loop {
                let found = api.get_opt(&self.policy).await.map_err(|error| failed(&error))?;
                let Some(found) = found.filter(is_ours) else { return Ok(()) };
                if found.metadata.deletion_timestamp.is_none() {
                    match api.delete(&self.policy, &DeleteParams::default()).await {
                        Ok(_) => undone = vec![format!("networkpolicy {} deleted", self.policy)],
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        Err(error) => return Err(failed(&error)),
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let deleted = tokio::time::timeout(GONE_WITHIN, deleting).await.unwrap_or_else(|_| {
            let message = format!("see networkpolicy `{}` gone within {} s", self.policy, GONE_WITHIN.as_secs());
            Err(SystemError { message, transient: true })
        });
        deleted.map(|()| undone)
    }
}

/// Deletes every policy that a fault made in the namespace: what somebody does about a network that
/// is cut.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub(crate) async fn is_whole_again(cluster: &Cluster) -> Result<(), SystemError> {
    let ours = ListParams::default().labels(&format!("{LABEL}={LABEL_VALUE}"));
    let deleted = policies(cluster, &cluster.namespace).delete_collection(&DeleteParams::default(), &ours).await;
    deleted.map(drop).map_err(|error| SystemError::from_api("delete the networkpolicies of faults", &error))
}

fn is_ours(policy: &NetworkPolicy) -> bool {
    let labels = policy.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(LABEL)).is_some_and(|value| value == LABEL_VALUE)
}

fn policies(cluster: &Cluster, namespace: &str) -> Api<NetworkPolicy> {
    Api::namespaced(cluster.client.clone(), namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_whoever_lacks_one_of_the_labels() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let receipt = NetworkCutReceipt {
            namespace: "n".to_owned(),
            policy: "gameday-cut-backend-redis".to_owned(),
            from: "deployment/backend".parse().unwrap(),
            from_labels: labels(&[("app", "backend"), ("tier", "web")]),
            to: "statefulset/redis".parse().unwrap(),
            to_labels: labels(&[("app", "redis")]),
        };
        let object: NetworkPolicy = serde_json::from_value(receipt.object()).unwrap();
        assert!(is_ours(&object));
        let spec = object.spec.unwrap();
        assert_eq!(spec.pod_selector.unwrap().match_labels, Some(labels(&[("app", "redis")])));
        let from = spec.ingress.unwrap().remove(0).from.unwrap();
        let lacking: Vec<_> = from
            .iter()
            .map(|peer| {
                assert_eq!(peer.namespace_selector, Some(LabelSelector::default()), "of any namespace");
                let expression = &peer.pod_selector.as_ref().unwrap().match_expressions.as_ref().unwrap()[0];
                (expression.key.as_str(), expression.operator.as_str(), expression.values.as_deref().unwrap())
            })
            .collect();
        assert_eq!(
            lacking,
            [("app", "NotIn", &["backend".to_owned()][..]), ("tier", "NotIn", &["web".to_owned()][..])]
        );
    }
}
