//! A copy of the system beside the system: the same manifests in another namespace.

use serde_json::Value;

use super::Manifests;

impl Manifests {
    /// The objects as a lane has them: where they name the system's namespace they name the
    /// lane's, and what only one of both can have (node ports, cluster addresses) is left to the
    /// cluster's choice. Where both are the same, nothing changes.
    #[must_use]
    pub fn for_lane(mut self, home: &str, lane: &str) -> Self {
        if home != lane {
            for object in &mut self.objects {
                if object.kind() == "Service" {
                    leave_choice(&mut object.value);
                }
                rename(&mut object.value, home, lane);
            }
        }
        self
    }
}

fn leave_choice(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    // `None` is no address but the wish to have none.
    if spec.get("clusterIP").is_some_and(|address| address != "None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    spec.remove("healthCheckNodePort");
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
}

/// Renames the namespace in every field `namespace`, and in every name of a Service.
fn rename(value: &mut Value, home: &str, lane: &str) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(text) if key == "namespace" && text == home => lane.clone_into(text),
                    field => rename(field, home, lane),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, home, lane)),
        Value::String(text) => {
            let of_home = format!(".{home}.svc");
            if text.contains(&of_home) {
                *text = text.replace(&of_home, &format!(".{lane}.svc"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Manifest;
    use super::*;

    #[test]
    fn a_lane_touches_nothing_of_its_neighbours() {
        let check = |object: Value, expect: Value| {
            let manifest = Manifest { value: object.clone(), file: "a.yaml".to_owned(), line: 1 };
            let manifests = Manifests { objects: vec![manifest], profile_changes: Vec::new() };
            assert_eq!(manifests.clone().for_lane("shop", "shop-lane-2").objects[0].value, expect, "{object}");
            assert_eq!(manifests.for_lane("shop", "shop").objects[0].value, object, "at home");
        };
        check(
            json!({"kind": "Service", "metadata": {"namespace": "shop"}, "spec": {
                "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 81}],
            }}),
            json!({"kind": "Service", "metadata": {"namespace": "shop-lane-2"}, "spec": {
                "ports": [{"port": 80}, {"port": 81}],
            }}),
        );
        check(
            json!({"kind": "Service", "spec": {"clusterIP": "None"}}),
            json!({"kind": "Service", "spec": {"clusterIP": "None"}}),
        );
        check(
            json!({"kind": "ConfigMap", "data": {
                "URL": "redis://redis.shop.svc.cluster.local:6379", "OTHER": "x.workshop.svc", "namespace": "other",
            }}),
            json!({"kind": "ConfigMap", "data": {
                "URL": "redis://redis.shop-lane-2.svc.cluster.local:6379", "OTHER": "x.workshop.svc", "namespace": "other",
            }}),
        );
        check(
            json!({"kind": "RoleBinding", "subjects": [{"name": "a", "namespace": "shop"}]}),
            json!({"kind": "RoleBinding", "subjects": [{"name": "a", "namespace": "shop-lane-2"}]}),
        );
    }
}
