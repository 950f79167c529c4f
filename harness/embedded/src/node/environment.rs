//! A container's environment and command line, as the kubelet puts them together.

use std::net::Ipv4Addr;

use k8s_openapi::ByteString;
use serde_json::Value;

use super::services::cluster_address;
use crate::kinds::{self, Kind};
use crate::object::{self, Key};
use crate::shape::quantity::Quantity;
use crate::store::Store;

/// The search path of a container whose image has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a pod's variables can refer to.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) store: &'a Store,
    pub(super) pod: &'a Value,
    pub(super) container: &'a Value,
    pub(super) pod_address: Ipv4Addr,
    pub(super) node_address: Ipv4Addr,
}

/// Variables in order; a later one replaces an earlier one of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables {
    rows: Vec<(String, String)>,
}

impl Variables {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some(row) => row.1 = value,
            None => self.rows.push((name.to_owned(), value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.rows.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of them, as the process gets them.
    pub(super) fn into_rows(self) -> Vec<(String, String)> {
        self.rows
    }
}

/// The variables that the pod defines: Services', `envFrom`'s, `env`'s.
///
/// # Errors
/// The sentence for `CreateContainerConfigError` where something referred to is missing.
pub(super) fn of_pod(context: &Context<'_>) -> Result<Variables, String> {
    let mut variables = Variables::default();
    service_variables(context, &mut variables);
    for source in context.container["envFrom"].as_array().into_iter().flatten() {
        env_from(context, source, &mut variables)?;
    }
    for row in context.container["env"].as_array().into_iter().flatten() {
        let name = row["name"].as_str().unwrap_or_default();
        let value = match &row["valueFrom"] {
            Value::Null => Some(expand(row["value"].as_str().unwrap_or_default(), &variables)),
            from => value_from(context, from)?,
        };
        if let Some(value) = value {
            variables.set(name, value);
        }
    }
    Ok(variables)
}

/// Everything the process sees: the image's variables below, the pod's above.
#[must_use]
pub(super) fn with_image(image: &[String], hostname: &str, pod: Variables) -> Variables {
    let mut all = Variables::default();
    all.set("PATH", DEFAULT_PATH);
    all.set("HOSTNAME", hostname);
    for row in image {
        let (name, value) = row.split_once('=').unwrap_or((row, ""));
        all.set(name, value);
    }
    for (name, value) in pod.rows {
        all.set(&name, value);
    }
    all
}

/// The command line: the pod's `command` and `args`, or what the image says where they are
/// absent, as Kubernetes combines them.
#[must_use]
pub(super) fn command_line(
    container: &Value,
    entrypoint: &[String],
    cmd: &[String],
    variables: &Variables,
) -> Vec<String> {
    let list = |key: &str| -> Option<Vec<String>> {
        let words = container[key].as_array().filter(|words| !words.is_empty())?;
        Some(words.iter().map(|word| expand(word.as_str().unwrap_or_default(), variables)).collect())
    };
    match (list("command"), list("args")) {
        (Some(command), args) => [command, args.unwrap_or_default()].concat(),
        (None, Some(args)) => [entrypoint.to_vec(), args].concat(),
        (None, None) => [entrypoint, cmd].concat(),
    }
}

/// Replaces `$(NAME)` by the variable's value where there is one; `$$` is a plain `$`.
#[must_use]
pub(super) fn expand(text: &str, variables: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn service_variables(context: &Context<'_>, variables: &mut Variables) {
    let namespace = object::namespace(context.pod);
    let linked = context.pod["spec"]["enableServiceLinks"] != false;
    let (services, _) = context.store.list(&kinds::SERVICE, None);
    // The API server is known everywhere, and a Service of the same name comes after it.
    let (masters, own): (Vec<_>, Vec<_>) = services
        .iter()
        .filter(|service| {
            let master = object::namespace(service) == "default" && object::name(service) == "kubernetes";
            master || (linked && object::namespace(service) == namespace)
        })
        .partition(|service| object::namespace(service) != namespace);
    for service in masters.into_iter().chain(own) {
        one_service(service, variables);
    }
}

fn one_service(service: &Value, variables: &mut Variables) {
    let Some(address) = cluster_address(service) else { return };
    let prefix = variable_name(object::name(service));
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |port: &Value| port["port"].as_u64().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    variables.set(&format!("{prefix}_SERVICE_HOST"), address.to_string());
    variables.set(&format!("{prefix}_SERVICE_PORT"), number(first).to_string());
    for port in ports {
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            variables.set(&format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), number(port).to_string());
        }
    }
    for (place, port) in ports.iter().enumerate() {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let (lower, number) = (protocol.to_lowercase(), number(port));
        let url = format!("{lower}://{address}:{number}");
        if place == 0 {
            variables.set(&format!("{prefix}_PORT"), url.clone());
        }
        let port_prefix = format!("{prefix}_PORT_{number}_{protocol}");
        variables.set(&port_prefix, url);
        variables.set(&format!("{port_prefix}_PROTO"), lower);
        variables.set(&format!("{port_prefix}_PORT"), number.to_string());
        variables.set(&format!("{port_prefix}_ADDR"), address.to_string());
    }
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn env_from(context: &Context<'_>, source: &Value, variables: &mut Variables) -> Result<(), String> {
    let prefix = source["prefix"].as_str().unwrap_or_default();
    for (field, kind) in [("configMapRef", &kinds::CONFIG_MAP), ("secretRef", &kinds::SECRET)] {
        let reference = &source[field];
        if reference.is_null() {
            continue;
        }
        match find(context, kind, reference) {
            Some(found) => {
                for key in keys(&found) {
                    let value = entry(&found, kind, &key).unwrap_or_default();
                    variables.set(&format!("{prefix}{key}"), String::from_utf8_lossy(&value));
                }
            }
            None if reference["optional"] == true => {}
            None => return Err(missing(kind, reference)),
        }
    }
    Ok(())
}

/// The value that a variable refers to; `None` where an optional one is missing.
fn value_from(context: &Context<'_>, from: &Value) -> Result<Option<String>, String> {
    for (field, kind, noun) in
        [("configMapKeyRef", &kinds::CONFIG_MAP, "ConfigMap"), ("secretKeyRef", &kinds::SECRET, "Secret")]
    {
        let reference = &from[field];
        if reference.is_null() {
            continue;
        }
        let optional = reference["optional"] == true;
        let key = reference["key"].as_str().unwrap_or_default();
        let Some(found) = find(context, kind, reference) else {
            return if optional { Ok(None) } else { Err(missing(kind, reference)) };
        };
        let namespace = object::namespace(context.pod);
        return match entry(&found, kind, key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {noun} {namespace}/{}", object::name(&found))),
        };
    }
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        return field(context, path).map(Some).ok_or_else(|| format!("unsupported fieldPath: {path}"));
    }
    if from["resourceFieldRef"].is_object() {
        return resource(context, &from["resourceFieldRef"]).map(Some);
    }
    Err("unsupported source of a variable's value".to_owned())
}

fn find(context: &Context<'_>, kind: &'static Kind, reference: &Value) -> Option<std::sync::Arc<Value>> {
    let name = reference["name"].as_str().unwrap_or_default();
    context.store.get(&Key::new(kind, object::namespace(context.pod), name))
}

fn missing(kind: &Kind, reference: &Value) -> String {
    format!("{} \"{}\" not found", kind.kind.to_lowercase(), reference["name"].as_str().unwrap_or_default())
}

/// The keys of a ConfigMap or Secret, sorted.
#[must_use]
pub(super) fn keys(found: &Value) -> Vec<String> {
    let mut keys: Vec<String> = ["data", "binaryData"]
        .into_iter()
        .filter_map(|field| found[field].as_object())
        .flat_map(|map| map.keys().cloned())
        .collect();
    keys.sort();
    keys
}

/// One entry of a ConfigMap or Secret.
#[must_use]
pub(super) fn entry(found: &Value, kind: &Kind, key: &str) -> Option<Vec<u8>> {
    // An absent value would be read as no bytes.
    let encoded = |value: &Value| {
        let text = value.as_str()?;
        serde_json::from_value::<ByteString>(text.into()).ok().map(|bytes| bytes.0)
    };
    let data = &found["data"][key];
    if kind == &kinds::SECRET {
        return encoded(data);
    }
    data.as_str().map(|text| text.as_bytes().to_vec()).or_else(|| encoded(&found["binaryData"][key]))
}

/// A field of the pod, as the downward API names it.
#[must_use]
pub(super) fn field(context: &Context<'_>, path: &str) -> Option<String> {
    let pod = context.pod;
    let text = |value: &Value| Some(value.as_str().unwrap_or_default().to_owned());
    match path {
        "metadata.name" => text(&pod["metadata"]["name"]),
        "metadata.namespace" => text(&pod["metadata"]["namespace"]),
        "metadata.uid" => text(&pod["metadata"]["uid"]),
        "metadata.labels" => Some(all_of(&pod["metadata"]["labels"])),
        "metadata.annotations" => Some(all_of(&pod["metadata"]["annotations"])),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        "status.podIP" | "status.podIPs" => Some(context.pod_address.to_string()),
        "status.hostIP" | "status.hostIPs" => Some(context.node_address.to_string()),
        _ => {
            let (map, key) = path.strip_suffix("']")?.split_once("['")?;
            let map = map.strip_prefix("metadata.").filter(|map| ["labels", "annotations"].contains(map))?;
            text(&pod["metadata"][map][key])
        }
    }
}

fn all_of(map: &Value) -> String {
    let rows = map.as_object().into_iter().flatten();
    rows.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
}

/// A limit or request of the container, divided as asked and rounded up; a limit that it does
/// not set is what the node has.
fn resource(context: &Context<'_>, reference: &Value) -> Result<String, String> {
    let resource = reference["resource"].as_str().unwrap_or_default();
    let amount = || {
        let (kind, name) = resource.split_once('.')?;
        let set = |kind: &str| context.container["resources"][kind][name].as_str().and_then(Quantity::parse);
        let of_node = || {
            let (nodes, _) = context.store.list(&kinds::NODE, None);
            nodes.first()?["status"]["allocatable"][name].as_str().and_then(Quantity::parse)
        };
        let amount = match kind {
            "requests" => set("requests").or_else(|| set("limits")).or_else(|| Quantity::parse("0"))?,
            _ => set("limits").or_else(of_node)?,
        };
        let divisor = reference["divisor"].as_str().filter(|text| !["", "0"].contains(text)).unwrap_or("1");
        amount.divided(&Quantity::parse(divisor)?)
    };
    amount().map(|amount| amount.to_string()).ok_or_else(|| format!("unsupported container resource: {resource}"))
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
