//! What is refused, what is taken without effect, and what passes.

use embedded_cluster::kinds::{DEPLOYMENT, POD, SERVICE, STATEFUL_SET};
use embedded_cluster::shape;
use serde_json::{Value, json};

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    merge(&mut pod["spec"], spec);
    pod
}

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (name, value) in more {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(more)) if target.len() == more.len() => {
            target.iter_mut().zip(more).for_each(|(one, other)| merge(one, other));
        }
        (target, more) => *target = more,
    }
}

#[test]
fn what_cannot_work_here_is_refused_by_name_with_the_reason() {
    let container = |fields: Value| pod(json!({"containers": [fields]}));
    for (pod, field, reason) in [
        (pod(json!({"hostNetwork": true})), "spec.hostNetwork", "a network namespace of its own"),
        (pod(json!({"hostPID": true})), "spec.hostPID", "a process namespace of its own"),
        (pod(json!({"shareProcessNamespace": true})), "spec.shareProcessNamespace", "one container a pod"),
        (pod(json!({"initContainers": [{"name": "i", "image": "i"}]})), "spec.initContainers", "one container a pod"),
        (pod(json!({"ephemeralContainers": [{"name": "i"}]})), "spec.ephemeralContainers", "one container a pod"),
        (
            pod(json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]})),
            "spec.containers",
            "the embedded cluster runs one container a pod",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
            "spec.volumes[0].hostPath",
            "the host's files",
        ),
        (
            pod(
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            ),
            "spec.volumes[0].projected",
            "one ConfigMap or Secret",
        ),
        (pod(json!({"volumes": [{"name": "v", "nfs": {}}]})), "spec.volumes[0].nfs", "network file systems"),
        (pod(json!({"nodeSelector": {"disk": "ssd"}})), "spec.nodeSelector[disk]", "the only node has the labels"),
        (pod(json!({"schedulerName": "mine"})), "spec.schedulerName", "no other scheduler"),
        (pod(json!({"hostAliases": [{"ip": "1.1.1.1"}]})), "spec.hostAliases", "/etc/hosts"),
        (
            container(json!({"securityContext": {"privileged": true}})),
            "spec.containers[0].securityContext.privileged",
            "nothing of the host",
        ),
        (
            container(json!({"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}})),
            "spec.containers[0].lifecycle.postStart",
            "starting container",
        ),
        (
            container(json!({"readinessProbe": {"grpc": {"port": 1}}})),
            "spec.containers[0].readinessProbe.grpc",
            "checks speak HTTP",
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"port": 1, "scheme": "HTTPS"}}})),
            "spec.containers[0].livenessProbe.httpGet.scheme",
            "plain HTTP",
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "hostPort": 1}]})),
            "spec.containers[0].ports[0].hostPort",
            "its own address",
        ),
        (
            container(json!({"resources": {"limits": {"nvidia.com/gpu": 1}}})),
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
            "nothing else",
        ),
    ] {
        refused(&POD, pod, field, reason);
    }
    let service = |spec: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "type": spec}});
    for kind in ["LoadBalancer", "ExternalName"] {
        refused(&SERVICE, service(json!(kind)), "spec.type", "neither a load balancer nor a DNS server");
    }
}

fn refused(kind: &'static embedded_cluster::kinds::Kind, mut object: Value, field: &str, reason: &str) {
    shape::fill_defaults(kind, &mut object);
    let status = shape::check_create(kind, &object).expect_err(field);
    assert_eq!((status.code, status.reason), (422, "Invalid"));
    let causes = status.details["causes"].as_array().unwrap();
    let cause = causes.iter().find(|cause| cause["field"] == field).unwrap_or_else(|| panic!("{field}: {causes:?}"));
    assert_eq!(cause["reason"], "FieldValueForbidden");
    let message = cause["message"].as_str().unwrap();
    assert!(message.starts_with("Forbidden: not supported by the embedded cluster: "), "{message}");
    assert!(message.contains(reason), "{message}");
}

#[test]
fn a_field_at_its_zero_value_asks_for_nothing() {
    for spec in [
        json!({"hostNetwork": false, "shareProcessNamespace": false, "initContainers": []}),
        json!({"containers": [{"securityContext": {"privileged": false}}]}),
        json!({"nodeSelector": {"kubernetes.io/os": "linux"}}),
    ] {
        let mut pod = pod(spec);
        shape::fill_defaults(&POD, &mut pod);
        assert_eq!(shape::check_create(&POD, &pod), Ok(()));
    }
}

#[test]
fn what_has_no_effect_is_said() {
    let idle = |path: &str, why: &str| format!("{path}: accepted without effect by the embedded cluster: {why}");
    let node = "every pod runs on the only node";
    for (spec, wanted) in [
        (json!({"affinity": {"podAntiAffinity": {}}}), vec![idle("spec.affinity", node)]),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), vec![idle("spec.nodeSelector", node)]),
        (json!({"priorityClassName": "high"}), vec![idle("spec.priorityClassName", "pods are never preempted")]),
        (
            json!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}),
            vec![idle("spec.containers[0].resources.limits", "CPU time is not limited")],
        ),
        (json!({"containers": [{"resources": {"limits": {"memory": "1Gi"}}}]}), vec![]),
        (json!({"automountServiceAccountToken": false}), vec![]),
        (json!({"securityContext": {"fsGroup": 1, "runAsNonRoot": true, "runAsUser": 999}}), vec![]),
        (json!({"serviceAccountName": "mine"}), vec![]),
        (
            json!({"tolerations": [{"key": "a", "operator": "Exists"}]}),
            vec![idle("spec.tolerations", "the only node has no taints")],
        ),
    ] {
        assert_eq!(shape::warnings(&POD, &pod(spec.clone())), wanted, "{spec}");
    }
    // Tolerations that every pod gets are nobody's wish.
    let mut plain = pod(json!({}));
    shape::fill_defaults(&POD, &mut plain);
    shape::prepare_create(&POD, &mut plain);
    assert_eq!(shape::warnings(&POD, &plain), Vec::<String>::new());
}

#[test]
fn manifests_of_an_ordinary_web_service_pass() {
    let pod = json!({
        "serviceAccountName": "web", "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}],
        "containers": [{
            "name": "web", "image": "registry.example/web:1", "args": ["--port", "8000"],
            "ports": [{"name": "http", "containerPort": 8000}],
            "env": [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)"},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}}],
            "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}, "initialDelaySeconds": 30},
            "readinessProbe": {"tcpSocket": {"port": 8000}, "timeoutSeconds": 3},
            "startupProbe": {"exec": {"command": ["true"]}, "failureThreshold": 30},
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"}, {"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "config", "configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
            {"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "d"}}],
    });
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod});
    let mut deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template,
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
    assert_eq!(shape::unknown_fields(&DEPLOYMENT, &deployment), Vec::<String>::new());
    shape::fill_defaults(&DEPLOYMENT, &mut deployment);
    assert_eq!(shape::check_create(&DEPLOYMENT, &deployment), Ok(()));

    let mut template = template;
    // A claim template is a volume of its own.
    template["spec"]["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != "data");
    let mut set = json!({"metadata": {"name": "redis"}, "spec": {
        "serviceName": "redis", "selector": {"matchLabels": {"app": "web"}}, "template": template,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
    assert_eq!(shape::unknown_fields(&STATEFUL_SET, &set), Vec::<String>::new());
    shape::fill_defaults(&STATEFUL_SET, &mut set);
    assert_eq!(shape::check_create(&STATEFUL_SET, &set), Ok(()));
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!((&claim["kind"], &claim["spec"]["volumeMode"]), (&json!("PersistentVolumeClaim"), &json!("Filesystem")));
    assert_eq!(claim["status"], json!({"phase": "Pending"}));
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"memory": "1Gi"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}), "Guaranteed"),
    ] {
        let mut pod = pod(json!({"containers": [{"resources": resources}]}));
        shape::fill_defaults(&POD, &mut pod);
        shape::prepare_create(&POD, &mut pod);
        assert_eq!(pod["status"]["qosClass"], class, "{resources}");
    }
}

#[test]
fn the_openapi_document_names_the_parameters_kubectl_looks_for() {
    let document = shape::openapi_v3("apps", "v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let gvk = &patch["x-kubernetes-group-version-kind"];
    assert_eq!(*gvk, json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|one| (&one["name"], &one["in"])).collect();
    let query = json!("query");
    assert!(names.contains(&(&json!("fieldValidation"), &query)) && names.contains(&(&json!("dryRun"), &query)));
    assert!(shape::openapi_v3("", "v1")["paths"]["/api/v1/nodes/{name}"].is_object());
    assert_eq!(shape::openapi_v3("none", "v1")["paths"], json!({}));
}
