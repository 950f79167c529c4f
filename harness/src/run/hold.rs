//! How long good samples must last: longer than a crash loop can look well.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Probe};
use kube::Api;

use crate::cluster::Cluster;
use crate::scenario::plan::{Plan, WorkloadKind};

/// What Kubernetes fills in where a probe does not say.
const PERIOD: i32 = 10;
const FAILURES: i32 = 3;

/// The plan, with a `hold` of at least twice the time in which the workload's readiness probe
/// notices a failure. Where the API does not say, the plan as it is.
pub(super) async fn outlasting_restarts(plan: &Plan, cluster: &Cluster) -> Plan {
    let (client, namespace, name) = (cluster.client.clone(), &cluster.namespace, &plan.workload.name);
    let template = match plan.workload.kind {
        WorkloadKind::Deployment => {
            let found = Api::<Deployment>::namespaced(client, namespace).get(name).await.ok();
            found.and_then(|workload| workload.spec).map(|spec| spec.template)
        }
        WorkloadKind::StatefulSet => {
            let found = Api::<StatefulSet>::namespaced(client, namespace).get(name).await.ok();
            found.and_then(|workload| workload.spec).map(|spec| spec.template)
        }
    };
    let mut plan = plan.clone();
    plan.hold = plan.hold.max(template.as_ref().map_or(Duration::ZERO, least));
    plan
}

fn least(template: &PodTemplateSpec) -> Duration {
    let containers = template.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let noticed = containers.iter().filter_map(|container| container.readiness_probe.as_ref()).map(noticed_after);
    noticed.max().unwrap_or(Duration::ZERO) * 2
}

fn noticed_after(probe: &Probe) -> Duration {
    let seconds =
        i64::from(probe.period_seconds.unwrap_or(PERIOD)) * i64::from(probe.failure_threshold.unwrap_or(FAILURES));
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn hold_is_at_least_twice_what_readiness_takes_to_notice() {
        let template = |probe: Value| -> PodTemplateSpec {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "readinessProbe": probe}]}})).unwrap()
        };
        for (probe, seconds) in [
            (json!({"periodSeconds": 1, "failureThreshold": 3}), 6),
            (json!({"periodSeconds": 5}), 30),
            (json!({}), 60),
            (Value::Null, 0),
        ] {
            assert_eq!(least(&template(probe.clone())), Duration::from_secs(seconds), "{probe}");
        }
    }
}
