use serde_json::json;

use super::*;

fn variables(rows: &[(&str, &str)]) -> Variables {
    Variables { rows: rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
}

// Recorded in 60-pods/611.
#[test]
fn references_expand_as_recorded() {
    let known = variables(&[("A", "1"), ("F_NAME", "p"), ("EMPTY", "")]);
    let rows = [
        ("$(A)-2", "1-2"),
        ("$(LATER)-$(A)", "$(LATER)-1"),
        ("$$(A)", "$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$A ${A} $(A", "$A ${A} $(A"),
        ("$(F_NAME)", "p"),
        ("$(EMPTY)x", "x"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("a$", "a$"),
        ("$()", "$()"),
        ("", ""),
    ];
    for (text, expect) in rows {
        assert_eq!(expand(text, &known), expect, "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn text_without_a_dollar_stays(text in "[^$]{0,40}") {
        proptest::prop_assert_eq!(expand(&text, &variables(&[("A", "1")])), text);
    }

    #[test]
    fn doubled_dollars_protect_any_text(text in "\\PC{0,40}") {
        let protected = text.replace('$', "$$");
        proptest::prop_assert_eq!(expand(&protected, &variables(&[("A", "1")])), text);
    }
}

fn store() -> Store {
    let store = Store::new();
    let service = |name: &str, namespace: &str, address: &str, ports: Value| {
        let metadata = json!({"name": name, "namespace": namespace});
        store
            .create(&kinds::SERVICE, json!({"metadata": metadata, "spec": {"clusterIP": address, "ports": ports}}))
            .unwrap();
    };
    service("kubernetes", "default", "10.96.0.1", json!([{"name": "https", "port": 443}]));
    service("my-db", "n", "10.96.27.89", json!([{"name": "http", "port": 5432}]));
    service("multi", "n", "10.96.130.177", json!([{"name": "http", "port": 80}, {"name": "metrics-x", "port": 9090}]));
    service("headless", "n", "None", json!([{"name": "http", "port": 80}]));
    service("elsewhere", "m", "10.96.0.99", json!([{"port": 80}]));
    let data = json!({"KEY": "from-cm", "LOG_LEVEL": "info"});
    store.create(&kinds::CONFIG_MAP, json!({"metadata": {"name": "conf", "namespace": "n"}, "data": data})).unwrap();
    let data = json!({"PASS": "czNjcmV0"});
    store.create(&kinds::SECRET, json!({"metadata": {"name": "sec", "namespace": "n"}, "data": data})).unwrap();
    store
}

fn build(container: Value, links: bool) -> Result<Variables, String> {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "p"}},
        "spec": {"nodeName": "gameday", "serviceAccountName": "default", "enableServiceLinks": links},
    });
    of_pod(&Context {
        store: &store(),
        pod: &pod,
        container: &container,
        pod_address: Ipv4Addr::new(10, 244, 0, 167),
        node_address: Ipv4Addr::new(10, 245, 0, 1),
    })
}

// Recorded in 60-pods/611.
#[test]
fn services_become_variables() {
    let with_links = build(json!({}), true).unwrap();
    let mut rows: Vec<String> = with_links.into_rows().iter().map(|(name, value)| format!("{name}={value}")).collect();
    rows.sort();
    insta::assert_snapshot!(rows.join("\n"));
    let without = build(json!({}), false).unwrap();
    assert!(without.rows.iter().all(|(name, _)| name.starts_with("KUBERNETES_")), "{without:?}");
}

// Recorded in 60-pods/611.
#[test]
fn values_come_from_everywhere() {
    let container = json!({
        "envFrom": [{"configMapRef": {"name": "conf"}}, {"prefix": "P_", "secretRef": {"name": "sec"}},
                    {"secretRef": {"name": "gone", "optional": true}}],
        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
    });
    let rows = [
        (json!({"value": "$(MY_DB_SERVICE_HOST):$(MY_DB_SERVICE_PORT)"}), "10.96.27.89:5432"),
        (json!({"value": "$(P_PASS)/$(LOG_LEVEL)"}), "s3cret/info"),
        (json!({}), ""),
        (json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}), "p"),
        (json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['none']"}}}), ""),
        (json!({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}), "10.244.0.167"),
        (json!({"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}), "gameday"),
        (json!({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}), "250"),
        (json!({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}), "1"),
        (json!({"valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}), "64"),
        (json!({"valueFrom": {"resourceFieldRef": {"resource": "requests.memory"}}}), "67108864"),
        (json!({"valueFrom": {"configMapKeyRef": {"name": "conf", "key": "KEY"}}}), "from-cm"),
        (json!({"valueFrom": {"secretKeyRef": {"name": "sec", "key": "PASS"}}}), "s3cret"),
    ];
    for (mut row, expect) in rows {
        row["name"] = "X".into();
        let mut container = container.clone();
        container["env"] = json!([row]);
        assert_eq!(build(container, true).unwrap().get("X"), Some(expect), "{row}");
    }
}

// Recorded in 60-pods/612.
#[test]
fn what_is_missing_is_named() {
    let key = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "A", "valueFrom": {kind: {"name": name, "key": key}}}]});
    let rows = [
        (key("configMapKeyRef", "nope", "k"), "configmap \"nope\" not found"),
        (key("secretKeyRef", "nope", "k"), "secret \"nope\" not found"),
        (key("configMapKeyRef", "conf", "k"), "couldn't find key k in ConfigMap n/conf"),
        (key("secretKeyRef", "sec", "k"), "couldn't find key k in Secret n/sec"),
        (json!({"envFrom": [{"configMapRef": {"name": "nope"}}]}), "configmap \"nope\" not found"),
    ];
    for (container, expect) in rows {
        assert_eq!(build(container.clone(), true).unwrap_err(), expect, "{container}");
    }
}

#[test]
fn optional_references_may_be_missing() {
    for (name, key) in [("nope", "x"), ("conf", "x")] {
        let reference = json!({"name": name, "key": key, "optional": true});
        let variables =
            build(json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": reference}}]}), true).unwrap();
        assert_eq!(variables.get("A"), None, "{name} {key}");
    }
}

#[test]
fn command_and_args_replace_the_images() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (entrypoint, cmd) = (words(&["/entry"]), words(&["cmd"]));
    let known = variables(&[("A", "1")]);
    let rows = [
        (json!({}), &["/entry", "cmd"][..]),
        (json!({"args": ["x", "$(A)"]}), &["/entry", "x", "1"]),
        (json!({"command": ["/bin/sh"]}), &["/bin/sh"]),
        (json!({"command": ["/bin/sh", "-c"], "args": ["$$(A)"]}), &["/bin/sh", "-c", "$(A)"]),
        (json!({"command": [], "args": []}), &["/entry", "cmd"]),
    ];
    for (container, expect) in rows {
        assert_eq!(command_line(&container, &entrypoint, &cmd, &known), expect, "{container}");
    }
}

#[test]
fn the_pods_variables_stand_above_the_images() {
    let all = with_image(&["A=image".to_owned(), "PATH=/app".to_owned()], "p", variables(&[("A", "pod")]));
    assert_eq!(all.into_rows(), variables(&[("PATH", "/app"), ("HOSTNAME", "p"), ("A", "pod")]).into_rows());
}
