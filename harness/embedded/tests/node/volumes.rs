//! Files that come from objects, and files that outlive containers and pods.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::support::{Cluster, DEADLINE, container, is_ready};

// Recorded in 60-pods/622, but for the delay.
#[tokio::test]
async fn config_files_follow_their_object() {
    let cluster = Cluster::start().await;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a.txt": "one"}});
    cluster.create::<ConfigMap>(config).await;
    let volumes = json!([{"name": "m", "configMap": {"name": "m"}}]);
    let mounts = json!([{"name": "m", "mountPath": "/m"}, {"name": "m", "mountPath": "/fixed", "readOnly": true}]);
    cluster.pod("p", "sleep 1000", json!({"volumes": volumes, "volumeMounts": mounts})).await;
    cluster.ready("p").await;
    assert_eq!(cluster.exec("p", "cat /m/a.txt; readlink /m/a.txt").await, "one..data/a.txt\n");
    assert!(cluster.exec("p", "echo x > /fixed/a.txt").await.contains("Read-only"), "the mount is read-only");
    let patch = json!({"data": {"a.txt": "two"}});
    cluster.api::<ConfigMap>().patch("m", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let follows = async { while cluster.exec("p", "cat /m/a.txt /fixed/a.txt").await != "twotwo" {} };
    tokio::time::timeout(DEADLINE, follows).await.expect("the files follow");
}

#[tokio::test]
async fn directories_outlive_what_they_should() {
    let cluster = Cluster::start().await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    cluster.create::<PersistentVolumeClaim>(claim).await;
    let extra = json!({
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "disk", "emptyDir": {}},
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "disk", "mountPath": "/disk"}],
    });
    let script = "while [ ! -e /end ]; do sleep 0.1; done";
    cluster.pod("p", script, extra.clone()).await;
    cluster.ready("p").await;
    cluster.exec("p", "touch /data/x /disk/x /x /end").await;
    let restarted = |pod: &Value| container(pod)["restartCount"] == 1 && is_ready(pod);
    cluster.wait("p", "restarted", restarted).await;
    let files = "ls /data /disk; ls /x";
    let kept = cluster.exec("p", files).await;
    assert_eq!(kept, "/data:\nx\n\n/disk:\nx\nls: /x: No such file or directory\n");
    cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.gone("p").await;
    cluster.pod("p", script, extra).await;
    cluster.ready("p").await;
    assert_eq!(cluster.exec("p", "ls /data /disk").await, "/data:\nx\n\n/disk:\n");
}
