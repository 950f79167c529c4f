//! Pods: rules over several fields, and what one container on one node cannot do.

use serde_json::Value;

use super::Found;
use crate::shape::fields;
use crate::shape::quantity::Quantity;

/// Checks a pod's spec that stands at this path.
pub(super) fn spec(spec: &Value, path: &str, found: &mut Found) {
    let containers = list(spec, "containers");
    if containers.len() > 1 {
        found.refused(&format!("{path}.containers"), "the embedded cluster runs one container a pod");
    }
    for key in spec["nodeSelector"].as_object().into_iter().flat_map(|map| map.keys()) {
        if !key.starts_with("kubernetes.io/") {
            let place = format!("{path}.nodeSelector[{key}]");
            found.refused(&place, "the only node has the labels kubernetes.io/… and no others");
        }
    }
    for (index, one) in list(spec, "volumes").iter().enumerate() {
        volume(one, &format!("{path}.volumes[{index}]"), found);
    }
    for (index, one) in containers.iter().enumerate() {
        container(one, spec, &format!("{path}.containers[{index}]"), found);
    }
}

fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object[name].as_array().map_or(&[], Vec::as_slice)
}

fn volume(volume: &Value, path: &str, found: &mut Found) {
    let sources = fields::of("Volume").fields.iter().map(|field| field.name);
    let given: Vec<_> = sources.filter(|name| *name != "name" && !volume[*name].is_null()).collect();
    match given.as_slice() {
        [] => found.required(path, "must specify a volume type"),
        [_] => {}
        [_, others @ ..] => {
            for name in others {
                found.forbidden(&format!("{path}.{name}"), "may not specify more than 1 volume type");
            }
        }
    }
}

fn container(container: &Value, spec: &Value, path: &str, found: &mut Found) {
    for (index, one) in list(container, "env").iter().enumerate() {
        variable(one, &format!("{path}.env[{index}]"), found);
    }
    for (index, one) in list(container, "envFrom").iter().enumerate() {
        if one["configMapRef"].is_null() && one["secretRef"].is_null() {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            found.invalid(&format!("{path}.envFrom[{index}]"), "\"\"", why);
        }
    }
    mounts(container, spec, path, found);
    resources(&container["resources"], &format!("{path}.resources"), found);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, path) = (&container[name], format!("{path}.{name}"));
        if probe.is_null() {
            continue;
        }
        handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], &path, found);
        if name != "readinessProbe" && probe["successThreshold"].as_i64().is_some_and(|times| times != 1) {
            found.invalid(&format!("{path}.successThreshold"), &probe["successThreshold"], "must be 1");
        }
    }
    let pre_stop = &container["lifecycle"]["preStop"];
    if !pre_stop.is_null() {
        let path = format!("{path}.lifecycle.preStop");
        handler(pre_stop, &["exec", "httpGet", "tcpSocket", "sleep"], &path, found);
    }
}

fn handler(object: &Value, kinds: &[&str], path: &str, found: &mut Found) {
    let mut given = kinds.iter().filter(|name| !object[**name].is_null());
    if given.next().is_none() {
        found.required(path, "must specify a handler type");
    }
    for name in given {
        found.forbidden(&format!("{path}.{name}"), "may not specify more than 1 handler type");
    }
}

fn variable(variable: &Value, path: &str, found: &mut Found) {
    let Some(source) = variable["valueFrom"].as_object() else { return };
    let path = format!("{path}.valueFrom");
    let given = source.values().filter(|value| !value.is_null()).count();
    let has_value = variable["value"].as_str().is_some_and(|text| !text.is_empty());
    if given == 0 {
        let names = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        found.invalid(&path, "\"\"", &format!("must specify one of: {names}"));
    } else if has_value {
        found.invalid(&path, "\"\"", "may not be specified when `value` is not empty");
    } else if given > 1 {
        found.invalid(&path, "\"\"", "may not have more than one field specified at a time");
    }
}

fn mounts(container: &Value, spec: &Value, path: &str, found: &mut Found) {
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        if !list(spec, "volumes").iter().any(|volume| volume["name"] == mount["name"]) {
            found.add("FieldValueNotFound", &format!("{path}.name"), format!("Not found: {}", mount["name"]));
        }
    }
}

fn resources(resources: &Value, path: &str, found: &mut Found) {
    for of in ["limits", "requests"] {
        for (name, amount) in resources[of].as_object().into_iter().flatten() {
            let place = format!("{path}.{of}[{name}]");
            if !["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) {
                found.refused(&place, "the only node has CPU time, memory and disk space and nothing else");
            } else if amount.as_str().and_then(Quantity::parse).is_some_and(|amount| amount.is_negative()) {
                found.invalid(&place, amount, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let parsed = |amount: &Value| amount.as_str().and_then(Quantity::parse);
        if let (Some(wanted), Some(most)) = (parsed(request), parsed(limit))
            && wanted > most
        {
            let why = format!("must be less than or equal to {name} limit of {}", most.canonical());
            found.invalid(&format!("{path}.requests"), request, &why);
        }
    }
}
