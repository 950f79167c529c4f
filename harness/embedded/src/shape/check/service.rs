//! Services, and Ingresses before them.

use serde_json::{Value, json};

use super::Found;

/// Checks the spec of a Service.
pub(super) fn spec(spec: &Value, found: &mut Found) {
    let none = Vec::new();
    let ports = spec["ports"].as_array().unwrap_or(&none);
    let is_headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !is_headless && spec["type"] != "ExternalName" {
        found.required("spec.ports", "");
    }
    let mut seen = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            found.required(&format!("{path}.name"), "");
        }
        let identity = (&port["protocol"], &port["port"]);
        if seen.contains(&identity) {
            found.duplicate(&path, json!({"Port": port["port"], "Protocol": port["protocol"]}));
        }
        seen.push(identity);
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 && spec["type"] != "NodePort" {
            found.forbidden(&format!("{path}.nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    if is_headless && spec["type"] == "NodePort" {
        let why = "may not be set to 'None' for NodePort services";
        found.invalid("spec.clusterIPs[0]", &spec["clusterIP"], why);
    }
}

/// Checks the spec of an Ingress.
pub(super) fn ingress(spec: &Value, found: &mut Found) {
    let none = Vec::new();
    let rules = spec["rules"].as_array().unwrap_or(&none);
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        found.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified");
    }
    for (route, path) in rules.iter().enumerate().flat_map(|(index, rule)| {
        let paths = rule["http"]["paths"].as_array().into_iter().flatten().enumerate();
        paths.map(move |(place, path)| (path, format!("spec.rules[{index}].http.paths[{place}]")))
    }) {
        let is_absolute = route["path"].as_str().is_some_and(|text| text.starts_with('/'));
        if !is_absolute && route["pathType"] != "ImplementationSpecific" {
            found.invalid(&format!("{path}.path"), &route["path"], "must be an absolute path");
        }
        if route["backend"]["service"].is_null() && route["backend"]["resource"].is_null() {
            found.required(&format!("{path}.backend"), "");
        }
    }
}
