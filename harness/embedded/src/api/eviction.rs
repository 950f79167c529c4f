//! Evictions, and the disruption budgets that refuse them.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::body;
use crate::api::delete::options_of;
use crate::api::options::dry_run;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::controllers;
use crate::kinds;
use crate::object::{self, Key};
use crate::status::Status;
use crate::store::Store;

/// `POST` to a pod's eviction.
pub(super) fn evict(
    api: &Api,
    place: &Place,
    query: &Query,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Answer, Status> {
    let eviction = body::decode("Eviction", headers, bytes)?;
    let (options, is_dry) = options_of(&eviction["deleteOptions"])?;
    let is_dry = is_dry || dry_run("CreateOptions", query.all("dryRun"))?;
    let store = if is_dry { &api.store.fork() } else { &api.store };
    let key = place.key();
    let pod = store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    if !goes_freely(&pod) {
        take_from_budget(store, &pod)?;
    }
    controllers::delete(store, &key, &options)?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::object(201, &done))
}

/// Pods that do not run count for no budget.
fn goes_freely(pod: &Value) -> bool {
    object::is_terminating(pod) || matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Succeeded" | "Failed"))
}

/// Takes one disruption from the budget that selects the pod.
fn take_from_budget(store: &Store, pod: &Value) -> Result<(), Status> {
    let (mut budgets, _) = store.list(&kinds::DISRUPTION_BUDGET, Some(object::namespace(pod)));
    budgets.retain(|budget| object::selects(&budget["spec"]["selector"], &pod["metadata"]["labels"]));
    match budgets.as_slice() {
        [] => Ok(()),
        [budget] => {
            store.update(&Key::of(&kinds::DISRUPTION_BUDGET, budget), |budget| grant(budget, pod))?;
            Ok(())
        }
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            Err(Status::internal(message))
        }
    }
}

/// Notes the eviction in the budget's status, which its controller keeps.
fn grant(budget: &mut Value, pod: &Value) -> Result<(), Status> {
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let (healthy, needed, allowed) = (count("currentHealthy"), count("desiredHealthy"), count("disruptionsAllowed"));
    let name = object::name(budget);
    if budget["status"]["observedGeneration"] != budget["metadata"]["generation"] {
        return Err(refused(&format!("The disruption budget {name} is still being processed by the server.")));
    }
    // A pod that is not healthy takes nothing away where enough others are.
    if !object::condition_is_true(pod, "Ready") && needed > 0 && healthy >= needed {
        return Ok(());
    }
    if allowed < 1 {
        let why = format!("The disruption budget {name} needs {needed} healthy pods and has {healthy} currently");
        return Err(refused(&why));
    }
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    budget["status"]["disruptedPods"][object::name(pod)] = object::timestamp().into();
    Ok(())
}

fn refused(why: &str) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, "TooManyRequests", message);
    status.details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    status
}
