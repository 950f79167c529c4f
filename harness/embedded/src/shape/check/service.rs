//! Services.

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
