//! Tables: the columns and cells of case 216, and the pod states of the pod cases.

use std::sync::Arc;

use embedded_cluster::kinds::{self, Kind};
use embedded_cluster::shape::table::{Include, table_at};
use serde_json::{Value, json};

use crate::recorded;

const NOW: &str = "2026-11-23T19:18:20Z";
/// Four seconds before [`NOW`].
const MADE: &str = "2026-11-23T19:18:16Z";

fn cells(kind: &'static Kind, object: &Value) -> Value {
    let table = table_at(kind, &[Arc::new(object.clone())], Include::Nothing, 7, NOW.parse().unwrap());
    assert_eq!(table["rows"][0]["object"], Value::Null);
    table["rows"][0]["cells"].clone()
}

#[test]
fn columns_are_as_recorded_and_every_row_fills_them() {
    for row in recorded("216-columns.json") {
        let kind = kinds::ALL.iter().find(|kind| row["of"] == kind.plural).unwrap();
        let object = Arc::new(json!({"metadata": {"name": "x"}}));
        let table = table_at(kind, &[object], Include::Metadata, 7, NOW.parse().unwrap());
        let mut found = table["columnDefinitions"].as_array().unwrap().clone();
        for column in &mut found {
            column.as_object_mut().unwrap().remove("description").unwrap();
        }
        assert_eq!(Value::Array(found), row["columns"], "{}", kind.plural);
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
    for kind in kinds::ALL {
        let object = Arc::new(json!({"metadata": {"name": "x"}}));
        let table = table_at(kind, &[object], Include::Object, 7, NOW.parse().unwrap());
        let count = |of: &Value| of.as_array().unwrap().len();
        assert_eq!(count(&table["rows"][0]["cells"]), count(&table["columnDefinitions"]), "{}", kind.plural);
        assert_eq!(table["metadata"]["resourceVersion"], "7");
    }
}

#[test]
fn cells_are_as_recorded() {
    let template = json!({"spec": {"containers": [{"name": "web", "image": "demo/web:v1"}]}});
    let selector = json!({"matchLabels": {"app": "web"}});
    let endpoint = |ip: &str| json!({"addresses": [ip]});
    let times = json!({"firstTimestamp": MADE, "lastTimestamp": MADE});
    for (kind, fields, wanted) in [
        (
            &kinds::DEPLOYMENT,
            json!({"spec": {"replicas": 2, "selector": selector, "template": template},
                "status": {"readyReplicas": 2, "updatedReplicas": 2, "availableReplicas": 2}}),
            json!(["x", "2/2", 2, 2, "4s", "web", "demo/web:v1", "app=web"]),
        ),
        (
            &kinds::REPLICA_SET,
            json!({"spec": {"replicas": 2, "template": template,
                    "selector": {"matchLabels": {"pod-template-hash": "67d46598c8", "app": "web"}}},
                "status": {"replicas": 2, "readyReplicas": 2}}),
            json!(["x", 2, 2, 2, "4s", "web", "demo/web:v1", "app=web,pod-template-hash=67d46598c8"]),
        ),
        (
            &kinds::STATEFUL_SET,
            json!({"spec": {"replicas": 1, "template": template}, "status": {"readyReplicas": 1}}),
            json!(["x", "1/1", "4s", "web", "demo/web:v1"]),
        ),
        (
            &kinds::SERVICE,
            json!({"spec": {"type": "NodePort", "clusterIP": "10.96.241.135", "selector": {"app": "web"},
                "ports": [{"port": 80, "nodePort": 30150, "protocol": "TCP"}]}}),
            json!(["x", "NodePort", "10.96.241.135", "<none>", "80:30150/TCP", "4s", "app=web"]),
        ),
        (
            &kinds::SERVICE,
            json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": []}}),
            json!(["x", "ClusterIP", "None", "<none>", "<none>", "4s", "<none>"]),
        ),
        (
            &kinds::ENDPOINTS,
            json!({"subsets": [{"addresses": [{"ip": "10.244.0.21"}, {"ip": "10.244.0.22"}], "ports": [{"port": 8080}]}]}),
            json!(["x", "10.244.0.21:8080,10.244.0.22:8080", "4s"]),
        ),
        (&kinds::ENDPOINTS, json!({}), json!(["x", "<none>", "4s"])),
        (
            &kinds::ENDPOINT_SLICE,
            json!({"addressType": "IPv4", "ports": [{"port": 8080}],
                "endpoints": [endpoint("10.244.0.22"), endpoint("10.244.0.21")]}),
            json!(["x", "IPv4", "8080", "10.244.0.22,10.244.0.21", "4s"]),
        ),
        (
            &kinds::ENDPOINT_SLICE,
            json!({"addressType": "IPv4", "ports": null,
                "endpoints": [endpoint("a"), endpoint("b"), endpoint("c"), endpoint("d")]}),
            json!(["x", "IPv4", "<unset>", "a,b,c + 1 more...", "4s"]),
        ),
        (&kinds::CONFIG_MAP, json!({"data": {"ca.crt": ""}}), json!(["x", 1, "4s"])),
        (&kinds::SECRET, json!({"type": "Opaque", "data": {"k": "dg=="}}), json!(["x", "Opaque", 1, "4s"])),
        (&kinds::SERVICE_ACCOUNT, json!({}), json!(["x", "4s"])),
        (&kinds::NAMESPACE, json!({"status": {"phase": "Active"}}), json!(["x", "Active", "4s"])),
        (
            &kinds::DISRUPTION_BUDGET,
            json!({"spec": {"minAvailable": 1}, "status": {"disruptionsAllowed": 1}}),
            json!(["x", "1", "N/A", 1, "4s"]),
        ),
        (
            &kinds::INGRESS,
            json!({"spec": {"ingressClassName": "nginx", "tls": [{}],
                    "rules": [{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {"host": "d"}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "lb"}]}}}),
            json!(["x", "nginx", "a,b,c + 1 more...", "10.0.0.1,lb", "80, 443", "4s"]),
        ),
        (&kinds::INGRESS, json!({"spec": {"rules": [{}]}}), json!(["x", "<none>", "*", "", "80", "4s"])),
        (
            &kinds::NODE,
            json!({"metadata": {"name": "x", "creationTimestamp": MADE, "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "172.18.0.2"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Debian GNU/Linux 12 (bookworm)",
                        "kernelVersion": "6.18.44-generic", "architecture": "amd64",
                        "containerRuntimeVersion": "containerd://2.1.9+unknown"}}}),
            json!([
                "x",
                "Ready",
                "control-plane",
                "4s",
                "v1.36.2",
                "172.18.0.2",
                "<none>",
                "Debian GNU/Linux 12 (bookworm)",
                "6.18.44-generic (amd64)",
                "containerd://2.1.9+unknown"
            ]),
        ),
        (
            &kinds::EVENT,
            json!({"type": "Normal", "reason": "Pulled", "message": "already present\n", "count": 1,
                "involvedObject": {"kind": "Pod", "name": "db-0", "fieldPath": "spec.containers{c}"},
                "source": {"component": "kubelet", "host": "n"},
                "firstTimestamp": times["firstTimestamp"], "lastTimestamp": times["lastTimestamp"]}),
            json!([
                "4s",
                "Normal",
                "Pulled",
                "pod/db-0",
                "spec.containers{c}",
                "kubelet, n",
                "already present",
                "4s",
                1,
                "x"
            ]),
        ),
        (
            &kinds::EVENT,
            json!({"type": "Normal", "reason": "Scheduled", "message": "m", "reportingComponent": "default-scheduler",
                "involvedObject": {"kind": "Pod", "name": "db-0"}, "source": {}, "firstTimestamp": null,
                "lastTimestamp": null, "eventTime": "2026-11-23T19:18:16.123456Z"}),
            json!(["4s", "Normal", "Scheduled", "pod/db-0", "", "default-scheduler", "m", "4s", 1, "x"]),
        ),
        (
            &kinds::CLAIM,
            json!({"spec": {"volumeName": "v", "storageClassName": "standard", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
            json!(["x", "Bound", "v", "1Gi", "RWO", "standard", "<unset>", "4s", "Filesystem"]),
        ),
        (&kinds::LEASE, json!({"spec": {"holderIdentity": "me"}}), json!(["x", "4s"])),
    ] {
        let mut object = json!({"metadata": {"name": "x", "creationTimestamp": MADE}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(cells(kind, &object), wanted, "{}", kind.kind);
    }
}

#[test]
fn a_pods_status_column_tells_what_its_container_does() {
    let running = json!({"running": {"startedAt": MADE}});
    let ended =
        |reason: &str, code: i64| json!({"terminated": {"reason": reason, "exitCode": code, "finishedAt": MADE}});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let container = |state: &Value, ready: bool, restarts: i64, last: &Value| json!([{"name": "c", "state": state, "ready": ready, "restartCount": restarts, "lastState": last}]);
    let none = json!({});
    for (phase, containers, deleted, wanted) in [
        ("Pending", json!([]), false, ["0/1", "Pending", "0"]),
        (
            "Pending",
            container(&waiting("ContainerCreating"), false, 0, &none),
            false,
            ["0/1", "ContainerCreating", "0"],
        ),
        ("Pending", container(&waiting("ImagePullBackOff"), false, 0, &none), false, ["0/1", "ImagePullBackOff", "0"]),
        ("Running", container(&running, true, 0, &none), false, ["1/1", "Running", "0"]),
        ("Running", container(&running, false, 0, &none), false, ["0/1", "Running", "0"]),
        ("Running", container(&running, true, 2, &ended("Error", 1)), false, ["1/1", "Running", "2 (4s ago)"]),
        (
            "Running",
            container(&waiting("CrashLoopBackOff"), false, 3, &ended("Error", 1)),
            false,
            ["0/1", "CrashLoopBackOff", "3 (4s ago)"],
        ),
        ("Running", container(&ended("OOMKilled", 137), false, 1, &none), false, ["0/1", "OOMKilled", "1"]),
        ("Running", container(&ended("", 3), false, 0, &none), false, ["0/1", "ExitCode:3", "0"]),
        ("Succeeded", container(&ended("Completed", 0), false, 0, &none), false, ["0/1", "Completed", "0"]),
        ("Failed", container(&ended("Error", 1), false, 0, &none), true, ["0/1", "Error", "0"]),
        ("Running", container(&running, true, 0, &none), true, ["1/1", "Terminating", "0"]),
    ] {
        let mut pod = json!({
            "metadata": {"name": "p", "creationTimestamp": MADE}, "spec": {"containers": [{"name": "c"}], "nodeName": "n"},
            "status": {"phase": phase, "containerStatuses": containers, "podIP": "10.0.0.1"},
        });
        if deleted {
            pod["metadata"]["deletionTimestamp"] = NOW.into();
        }
        let found = cells(&kinds::POD, &pod);
        assert_eq!(found, json!(["p", wanted[0], wanted[1], wanted[2], "4s", "10.0.0.1", "n", "<none>", "<none>"]));
    }
}

#[test]
fn a_finished_pods_row_says_so_in_a_condition() {
    let pod = |phase: &str| Arc::new(json!({"metadata": {"name": "p"}, "status": {"phase": phase}}));
    let objects = ["Succeeded", "Failed", "Running"].map(pod);
    let table = table_at(&kinds::POD, &objects, Include::Metadata, 1, NOW.parse().unwrap());
    let wanted = json!([{"type": "Completed", "status": "True", "reason": "Succeeded",
        "message": "The pod has completed successfully."}]);
    assert_eq!(table["rows"][0]["conditions"], wanted);
    assert_eq!(table["rows"][1]["conditions"][0]["reason"], "Failed");
    assert!(table["rows"][2].get("conditions").is_none());
}
