//! From the first status to the last.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{Cluster, DEADLINE, container, is_ready};

/// Phase, state of the container, and the two conditions that tell most.
fn line(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = |kind: &str| {
        let one = conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
        let reason = one["reason"].as_str().map(|reason| format!("/{reason}")).unwrap_or_default();
        format!("{}{reason}", one["status"].as_str().unwrap_or("-"))
    };
    let state = container(pod)["state"].as_object().and_then(|state| state.keys().next().cloned());
    format!(
        "{} {} sandbox={} ready={}{}",
        pod["status"]["phase"].as_str().unwrap_or("-"),
        state.unwrap_or_else(|| "-".to_owned()),
        condition("PodReadyToStartContainers"),
        condition("Ready"),
        if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " terminating" },
    )
}

/// The distinct lines of a pod, in order, until it is gone.
async fn history(cluster: &Cluster, name: &str) -> Vec<String> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut lines: Vec<String> = Vec::new();
    let watch = async {
        let mut events = cluster.api::<Pod>().watch(&params, "0").await.unwrap().boxed();
        while let Some(event) = events.next().await {
            match event.unwrap() {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    let line = line(&serde_json::to_value(pod).unwrap());
                    if lines.last() != Some(&line) {
                        lines.push(line);
                    }
                }
                WatchEvent::Deleted(_) => break,
                _ => {}
            }
        }
    };
    timeout(DEADLINE, watch).await.unwrap();
    lines
}

// The order recorded in 60-pods/601.
#[tokio::test]
async fn a_pod_passes_through_the_recorded_states() {
    let cluster = Cluster::start().await;
    let readiness = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "initialDelaySeconds": 1});
    let watching = history(&cluster, "p");
    let acting = async {
        let script = "mkdir /www; touch /www/index.html; httpd -p 8080 -h /www; trap 'exit 0' TERM; while true; do sleep 0.1; done";
        cluster.pod("p", script, json!({"readinessProbe": readiness, "terminationGracePeriodSeconds": 10})).await;
        let pod = cluster.ready("p").await;
        assert!(container(&pod)["containerID"].as_str().unwrap().starts_with("gameday://"), "{pod}");
        assert!(container(&pod)["imageID"].as_str().unwrap().starts_with("demo/bb@sha256:"), "{pod}");
        assert_eq!(pod["status"]["hostIP"], "10.245.0.1");
        let mut events = cluster.events("p").await;
        events.retain(|event| !event.starts_with("Unhealthy"));
        assert_eq!(events[0], "Scheduled: Successfully assigned default/p to gameday");
        assert_eq!(events[1], "Pulling: Pulling image \"demo/bb:1\"");
        assert!(events[2].starts_with("Pulled: Successfully pulled image \"demo/bb:1\" in "), "{events:?}");
        assert_eq!(events[3..], ["Created: Container created", "Started: Container started"]);
        cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    };
    let (lines, ()) = tokio::join!(watching, acting);
    // Scheduling may be over before the watch begins.
    let from = lines.iter().position(|line| line != "Pending - sandbox=- ready=-").unwrap();
    assert_eq!(
        lines[from..],
        [
            "Pending waiting sandbox=False ready=False/ContainersNotReady",
            "Pending waiting sandbox=True ready=False/ContainersNotReady",
            "Running running sandbox=True ready=False/ContainersNotReady",
            "Running running sandbox=True ready=True",
            "Running running sandbox=True ready=True terminating",
            "Running terminated sandbox=True ready=False/PodCompleted terminating",
            "Succeeded terminated sandbox=False ready=False/PodCompleted terminating",
        ]
    );
    assert!(cluster.events("p").await.contains(&"Killing: Stopping container c".to_owned()));
}

// The order recorded in 60-pods/607: hook, signal, end.
#[tokio::test]
async fn the_hook_comes_before_the_signal() {
    let cluster = Cluster::start().await;
    let hook = json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hook begins > /proc/1/fd/1; sleep 1; echo hook ends > /proc/1/fd/1"]}}});
    let script = "trap 'echo signal; exit 0' TERM; echo up; while true; do sleep 0.1; done";
    cluster.pod("p", script, json!({"lifecycle": hook, "terminationGracePeriodSeconds": 30})).await;
    cluster.ready("p").await;
    let deleting = async { cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap() };
    let (log, _) = tokio::join!(cluster.log("p", true), deleting);
    assert_eq!(log, "up\nhook begins\nhook ends\nsignal\n");
    cluster.gone("p").await;
}

// Recorded in 60-pods/608.
#[tokio::test]
async fn who_ignores_the_signal_is_killed_at_the_end_of_the_grace() {
    let cluster = Cluster::start().await;
    cluster.pod("p", "trap '' TERM; while true; do sleep 1; done", json!({"terminationGracePeriodSeconds": 2})).await;
    cluster.ready("p").await;
    let ended = cluster.wait("p", "terminated", |pod| !container(pod)["state"]["terminated"].is_null());
    let deleting = async { cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap() };
    let (pod, _) = tokio::join!(ended, deleting);
    let terminated = &container(&pod)["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(137), &json!("Error")));
    let deadline = pod["metadata"]["deletionTimestamp"].as_str().unwrap();
    assert!(terminated["finishedAt"].as_str().unwrap() >= deadline, "killed before {deadline}: {terminated}");
    cluster.gone("p").await;
}

// Recorded in 60-pods/603 and 605.
#[tokio::test]
async fn a_restart_keeps_the_address_and_the_last_state() {
    let cluster = Cluster::start().await;
    cluster.pod("p", "while [ ! -e /end ]; do sleep 0.1; done; exit 3", json!({})).await;
    let before = cluster.ready("p").await;
    cluster.exec("p", "touch /end").await;
    let restarted = |pod: &Value| container(pod)["restartCount"] == 1 && is_ready(pod);
    let after = cluster.wait("p", "restarted", restarted).await;
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_eq!(container(&after)["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(container(&after)["lastState"]["terminated"]["containerID"], container(&before)["containerID"]);
    assert_ne!(container(&after)["containerID"], container(&before)["containerID"]);
    // A second end in a row backs off.
    cluster.exec("p", "touch /end").await;
    let backs_off = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = cluster.wait("p", "backing off", backs_off).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let expect = format!("back-off 10s restarting failed container=c pod=p_default({uid})");
    assert_eq!(container(&pod)["state"]["waiting"]["message"], expect);
}

// Recorded in 60-pods/603.
#[tokio::test]
async fn a_failed_liveness_probe_restarts_the_container() {
    let cluster = Cluster::start().await;
    let probe = json!({"exec": {"command": ["cat", "/alive"]}, "periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 30});
    let script = "touch /alive; trap 'exit 0' TERM; while true; do sleep 0.1; done";
    cluster.pod("p", script, json!({"livenessProbe": probe, "terminationGracePeriodSeconds": 20})).await;
    cluster.ready("p").await;
    cluster.exec("p", "rm /alive").await;
    let pod = cluster.wait("p", "restarted", |pod| container(pod)["restartCount"] == 1 && is_ready(pod)).await;
    assert_eq!(container(&pod)["lastState"]["terminated"]["reason"], "Completed");
    let events = cluster.events("p").await;
    for expect in [
        "Unhealthy: Liveness probe failed: cat: can't open '/alive': No such file or directory\n",
        "Killing: Container c failed liveness probe, will be restarted",
    ] {
        assert!(events.contains(&expect.to_owned()), "{expect:?} is not in {events:#?}");
    }
}

// Recorded in 60-pods/604.
#[tokio::test]
async fn readiness_waits_for_the_startup_probe() {
    let cluster = Cluster::start().await;
    let startup = json!({"exec": {"command": ["cat", "/started"]}, "periodSeconds": 1, "failureThreshold": 60});
    let readiness = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 30});
    cluster.pod("p", "sleep 1000", json!({"startupProbe": startup, "readinessProbe": readiness})).await;
    let pod = cluster.wait("p", "running", |pod| !container(pod)["state"]["running"].is_null()).await;
    assert_eq!((&container(&pod)["started"], &container(&pod)["ready"]), (&json!(false), &json!(false)));
    cluster.exec("p", "touch /started").await;
    let pod = cluster.ready("p").await;
    assert_eq!(container(&pod)["started"], true);
}

// Recorded in 60-pods/609.
#[tokio::test]
async fn too_much_memory_is_the_end() {
    let cluster = Cluster::start().await;
    let limits = json!({"limits": {"memory": "32Mi"}});
    let script = "exec dd if=/dev/zero of=/dev/null bs=200M count=100000";
    cluster.pod("p", script, json!({"resources": limits, "restartPolicy": "Never"})).await;
    let pod = cluster.wait("p", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let terminated = &container(&pod)["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(137), &json!("OOMKilled")));
}

// Recorded in 50-deployments/506, 60-pods/606, 612 and 619.
#[tokio::test]
async fn what_cannot_run_says_why() {
    let cluster = Cluster::start().await;
    let missing_key = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "k"}}}]);
    let missing_volume = json!([{"name": "v", "configMap": {"name": "nope"}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    cluster.pod("image", "true", json!({"image": "demo/none:v9"})).await;
    cluster.pod("name", "true", json!({"image": "UPPER"})).await;
    cluster.pod("config", "true", json!({"env": missing_key})).await;
    cluster.pod("mount", "true", json!({"volumes": missing_volume, "volumeMounts": mounts})).await;
    cluster.pod("words", "echo -n last words > /dev/termination-log; exit 2", json!({"restartPolicy": "Never"})).await;
    let waiting = |reason: &'static str| move |pod: &Value| container(pod)["state"]["waiting"]["reason"] == reason;

    let pod = cluster.wait("image", "backing off", waiting("ImagePullBackOff")).await;
    let message = container(&pod)["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("Back-off pulling image \"demo/none:v9\": ErrImagePull: rpc error: code = NotFound"),
        "{message}"
    );
    let pod = cluster.wait("name", "refused", waiting("InvalidImageName")).await;
    assert!(container(&pod)["state"]["waiting"]["message"].as_str().unwrap().ends_with("invalid reference format"));
    let pod = cluster.wait("config", "refused", waiting("CreateContainerConfigError")).await;
    assert_eq!(container(&pod)["state"]["waiting"]["message"], "configmap \"nope\" not found");
    cluster.wait("mount", "waiting", waiting("ContainerCreating")).await;
    let pod = cluster.wait("words", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(container(&pod)["state"]["terminated"]["message"], "last words");
    let events = cluster.events("mount").await;
    assert!(
        events.contains(
            &"FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"nope\" not found".to_owned()
        ),
        "{events:#?}"
    );
}
