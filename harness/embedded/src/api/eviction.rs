//! Evictions, and the disruption budgets that refuse them.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::body;
use crate::api::delete::{Wish, delete_key};
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::api::selector::Labels;
use crate::api::view::View;
use crate::kinds;
use crate::object;
use crate::status::Status;
use crate::store::Store;

/// `POST` to a pod's eviction.
pub(super) fn evict(
    api: &Api,
    place: &Place,
    query: &Query,
    headers: &HeaderMap,
    view: View,
    bytes: &[u8],
) -> Result<Answer, Status> {
    let eviction = body::decode("Eviction", headers, bytes)?;
    let mut wish = Wish::of_object(&eviction["deleteOptions"])?;
    wish.dry_run |= Wish::parse(query, headers, &[])?.dry_run;
    let key = place.key();
    let pod = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    if !goes_freely(&pod) {
        check_budgets(&api.store, &pod)?;
    }
    delete_key(api, &key, &wish)?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::object(201, view.encoding, &done))
}

/// Pods that do not run count for no budget.
fn goes_freely(pod: &Value) -> bool {
    object::is_terminating(pod) || matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Succeeded" | "Failed"))
}

fn check_budgets(store: &Store, pod: &Value) -> Result<(), Status> {
    let namespace = object::namespace(pod);
    let (budgets, _) = store.list(&kinds::DISRUPTION_BUDGET, Some(namespace));
    let selects = |budget: &Arc<Value>, pod: &Value| {
        Labels::of_object(&budget["spec"]["selector"]).matches(&pod["metadata"]["labels"])
    };
    let mut matching = budgets.iter().filter(|budget| selects(budget, pod));
    let Some(budget) = matching.next() else { return Ok(()) };
    if matching.next().is_some() {
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::internal(message));
    }
    let (pods, _) = store.list(&kinds::POD, Some(namespace));
    let counted: Vec<_> = pods.iter().filter(|pod| selects(budget, pod) && !goes_freely(pod)).collect();
    let healthy = counted.iter().filter(|pod| object::condition_is_true(pod, "Ready")).count();
    let needed = needed(&budget["spec"], counted.len());
    // A pod that is not healthy takes nothing away where enough others are.
    let left = if object::condition_is_true(pod, "Ready") { healthy.saturating_sub(1) } else { healthy };
    if left >= needed {
        return Ok(());
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, "TooManyRequests", message);
    let name = object::name(budget);
    let why = format!("The disruption budget {name} needs {needed} healthy pods and has {healthy} currently");
    status.details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    Err(status)
}

/// How many healthy pods a budget asks for among `expected`; percentages are rounded up.
fn needed(spec: &Value, expected: usize) -> usize {
    let count = |value: &Value| match value {
        Value::String(percent) => {
            let percent: usize = percent.trim_end_matches('%').parse().unwrap_or_default();
            (expected * percent).div_ceil(100)
        }
        value => value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default(),
    };
    if spec["maxUnavailable"].is_null() {
        return count(&spec["minAvailable"]);
    }
    expected.saturating_sub(count(&spec["maxUnavailable"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_ask_for_so_many() {
        for (spec, expected, wanted) in [
            (json!({"minAvailable": 1}), 2, 1),
            (json!({"minAvailable": "100%"}), 2, 2),
            (json!({"minAvailable": "50%"}), 3, 2),
            (json!({"maxUnavailable": 0}), 2, 2),
            (json!({"maxUnavailable": "25%"}), 3, 2),
            (json!({"maxUnavailable": 5}), 3, 0),
        ] {
            assert_eq!(needed(&spec, expected), wanted, "{spec}");
        }
    }
}
