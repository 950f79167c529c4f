//! Readiness, liveness and startup.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::objects::{IDLE, WEB, container, pod, pod_spec, ready_by_file};
use crate::place::{Outcome, Place, first_container, is, is_ready, restarts, stays};

/// A pod that fails its readiness check is not ready, and is not restarted for it.
pub(crate) async fn readiness_decides_about_ready(place: Place) -> Outcome {
    place.make::<Pod>(pod("one", pod_spec(ready_by_file(container(&place, IDLE))))).await?;
    place.until("one", "it runs", |pod: &Pod| first_container(pod).is_some_and(|it| it.started == Some(true))).await?;
    let not_ready = async || Ok(!is_ready(&place.api::<Pod>().get("one").await?));
    stays("it is not ready", Duration::from_secs(2), not_ready).await?;
    place.sh("one", "touch /tmp/ready").await?;
    place.until("one", "it is ready", is_ready).await?;
    place.sh("one", "rm /tmp/ready").await?;
    let sick = place.until("one", "it is not ready", |pod: &Pod| !is_ready(pod)).await?;
    is("restarts", restarts(&sick), 0)
}

/// A failed liveness check restarts the container in the same pod.
pub(crate) async fn liveness_restarts_in_place(place: Place) -> Outcome {
    let mut main = container(&place, "touch /tmp/alive; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done");
    main["livenessProbe"] =
        json!({ "exec": { "command": ["test", "-f", "/tmp/alive"] }, "periodSeconds": 1, "failureThreshold": 2 });
    let made = place.ready_pod(pod("one", pod_spec(main))).await?;
    let before = first_container(&made).and_then(|it| it.container_id.clone());
    place.sh("one", "rm /tmp/alive").await?;
    let after = place.until("one", "it is restarted", |pod: &Pod| restarts(pod) == 1 && is_ready(pod)).await?;
    is("the pod", after.uid(), made.uid())?;
    is("another container", first_container(&after).and_then(|it| it.container_id.clone()) != before, true)
}

/// Until the startup check has passed, no other check is asked.
pub(crate) async fn startup_holds_the_others_back(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["startupProbe"] =
        json!({ "exec": { "command": ["test", "-f", "/tmp/started"] }, "periodSeconds": 1, "failureThreshold": 60 });
    main["livenessProbe"] =
        json!({ "exec": { "command": ["test", "-f", "/tmp/started"] }, "periodSeconds": 1, "failureThreshold": 1 });
    place.make::<Pod>(pod("one", pod_spec(main))).await?;
    let running =
        |pod: &Pod| first_container(pod).and_then(|it| it.state.as_ref()).is_some_and(|state| state.running.is_some());
    place.until("one", "it runs", running).await?;
    let held = async || {
        let pod = place.api::<Pod>().get("one").await?;
        Ok(restarts(&pod) == 0 && first_container(&pod).and_then(|it| it.started) == Some(false))
    };
    stays("it is starting and not restarted", Duration::from_secs(4), held).await?;
    place.sh("one", "touch /tmp/started").await?;
    place
        .until("one", "it has started", |pod: &Pod| first_container(pod).and_then(|it| it.started) == Some(true))
        .await?;
    place.until("one", "it is ready", is_ready).await.map(drop)
}

/// Checks over HTTP and TCP ask the pod's own address.
pub(crate) async fn http_and_tcp_probes_ask_the_pod(place: Place) -> Outcome {
    let mut main = container(&place, WEB);
    main["ports"] = json!([{ "name": "web", "containerPort": 8080 }]);
    main["readinessProbe"] = json!({ "httpGet": { "path": "/", "port": "web" }, "periodSeconds": 1 });
    main["livenessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    place.ready_pod(pod("one", pod_spec(main))).await?;
    place.sh("one", "rm /tmp/www/index.html").await?;
    let sick = place.until("one", "a 404 is not ready", |pod: &Pod| !is_ready(pod)).await?;
    is("restarts", restarts(&sick), 0)
}

/// A check that takes longer than its timeout has failed.
pub(crate) async fn a_slow_probe_fails_by_its_timeout(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["readinessProbe"] = json!({ "exec": { "command": ["sh", "-c", "test -f /tmp/fast || sleep 5"] }, "timeoutSeconds": 1, "periodSeconds": 2 });
    place.make::<Pod>(pod("one", pod_spec(main))).await?;
    place.until("one", "it runs", |pod: &Pod| first_container(pod).is_some_and(|it| it.started == Some(true))).await?;
    let not_ready = async || Ok(!is_ready(&place.api::<Pod>().get("one").await?));
    stays("it is not ready", Duration::from_secs(7), not_ready).await?;
    place.sh("one", "touch /tmp/fast").await?;
    place.until("one", "it is ready", is_ready).await.map(drop)
}
