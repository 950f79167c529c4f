//! The cells of each kind's row, in the order of its columns.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::age::since;
use super::pod;
use crate::kinds::Kind;

/// How many items a cell lists before it says how many more there are.
const LISTED_MAX: usize = 3;

/// The cells of one object.
pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status, metadata) = (&object["spec"], &object["status"], &object["metadata"]);
    let name = json!(text(&metadata["name"]));
    let age = json!(since(&metadata["creationTimestamp"], now));
    match kind.kind {
        "Pod" => pod::cells(object, now),
        "Deployment" => {
            let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
            let (updated, available) = (number(&status["updatedReplicas"]), number(&status["availableReplicas"]));
            let start = [name, json!(ready), json!(updated), json!(available), age];
            start.into_iter().chain(template(spec)).chain([selector(&spec["selector"])]).collect()
        }
        "ReplicaSet" => {
            let counts = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]].map(|n| json!(number(n)));
            let start = [name].into_iter().chain(counts).chain([age]);
            start.chain(template(spec)).chain([selector(&spec["selector"])]).collect()
        }
        "StatefulSet" => {
            let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
            [name, json!(ready), age].into_iter().chain(template(spec)).collect()
        }
        "Service" => vec![
            name,
            spec["type"].clone(),
            json!(or_none(text(&spec["clusterIP"]))),
            json!(or_none(&joined(&spec["externalIPs"], plain))),
            json!(or_none(&joined(&spec["ports"], service_port))),
            age,
            json!(or_none(&pairs(spec["selector"].as_object()).join(","))),
        ],
        "Endpoints" => vec![name, json!(endpoints(&object["subsets"])), age],
        "EndpointSlice" => {
            let ports = items(&object["ports"]).iter().map(|port| match &port["port"] {
                Value::Null => text(&port["name"]).to_owned(),
                number => number.to_string(),
            });
            let addresses = items(&object["endpoints"]).iter().flat_map(|one| items(&one["addresses"]));
            let (ports, addresses) = (shortened(ports.collect()), shortened(addresses.map(plain).collect()));
            let or_unset = |list: String| if list.is_empty() { "<unset>".to_owned() } else { list };
            vec![name, object["addressType"].clone(), json!(or_unset(ports)), json!(or_unset(addresses)), age]
        }
        "ConfigMap" => vec![name, json!(size(&object["data"]) + size(&object["binaryData"])), age],
        "Secret" => vec![name, object["type"].clone(), json!(size(&object["data"])), age],
        "Event" => event(object, now),
        "Namespace" => vec![name, status["phase"].clone(), age],
        "Node" => node(object, name, age),
        "PersistentVolumeClaim" => claim(object, name, age),
        "PodDisruptionBudget" => {
            let bound = |value: &Value| if value.is_null() { "N/A".to_owned() } else { plain(value) };
            let (least, most) = (bound(&spec["minAvailable"]), bound(&spec["maxUnavailable"]));
            vec![name, json!(least), json!(most), json!(number(&status["disruptionsAllowed"])), age]
        }
        "Ingress" => ingress(object, name, age),
        _ => vec![name, age],
    }
}

/// The text of a value, empty where it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text, or `<none>` for an empty one.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let happened = |time: &Value| since(if time.is_null() { &event["eventTime"] } else { time }, now);
    let (source, about) = (&event["source"], &event["involvedObject"]);
    let component = source["component"].as_str().unwrap_or(text(&event["reportingComponent"]));
    let source: Vec<&str> = [component, text(&source["host"])].into_iter().filter(|one| !one.is_empty()).collect();
    vec![
        json!(happened(&event["lastTimestamp"])),
        event["type"].clone(),
        event["reason"].clone(),
        json!(format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]))),
        json!(text(&about["fieldPath"])),
        json!(source.join(", ")),
        json!(text(&event["message"]).trim()),
        json!(happened(&event["firstTimestamp"])),
        json!(number(&event["count"]).max(1)),
        event["metadata"]["name"].clone(),
    ]
}

fn node(node: &Value, name: Value, age: Value) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let mut status = if crate::object::condition_is_true(node, "Ready") { "Ready" } else { "NotReady" }.to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    let mut addresses = items(&node["status"]["addresses"]).iter().filter(|one| one["type"] == "InternalIP");
    let address = addresses.next().map_or("", |one| text(&one["address"]));
    let shown =
        [or_none(&roles.join(",")), text(&info["kubeletVersion"]), or_none(address), "<none>"].map(|t| json!(t));
    let [roles, version, internal, external] = shown;
    let kernel = format!("{} ({})", text(&info["kernelVersion"]), text(&info["architecture"]));
    let machine = [text(&info["osImage"]), &kernel, text(&info["containerRuntimeVersion"])].map(|t| json!(t));
    [name, json!(status), roles, age, version, internal, external].into_iter().chain(machine).collect()
}

fn claim(claim: &Value, name: Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let is_bound = !text(&spec["volumeName"]).is_empty();
    let when_bound = |shown: String| json!(if is_bound { shown } else { String::new() });
    let phase = if crate::object::is_terminating(claim) { "Terminating" } else { text(&status["phase"]) };
    vec![
        name,
        json!(phase),
        json!(text(&spec["volumeName"])),
        when_bound(plain(&status["capacity"]["storage"])),
        when_bound(joined(&status["accessModes"], access_mode)),
        json!(text(&spec["storageClassName"])),
        json!("<unset>"),
        age,
        json!(text(&spec["volumeMode"])),
    ]
}

/// Names and images of a template's containers.
fn template(spec: &Value) -> [Value; 2] {
    let containers = &spec["template"]["spec"]["containers"];
    [joined(containers, |one| plain(&one["name"])), joined(containers, |one| plain(&one["image"]))].map(Value::String)
}

fn selector(selector: &Value) -> Value {
    json!(or_none(&crate::object::selector_text(selector)))
}

fn endpoints(subsets: &Value) -> String {
    let subsets = items(subsets);
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut listed = Vec::new();
    for subset in subsets {
        let addresses: Vec<&str> = items(&subset["addresses"]).iter().map(|one| text(&one["ip"])).collect();
        let ports = items(&subset["ports"]);
        if ports.is_empty() {
            listed.extend(addresses.iter().map(|&ip| ip.to_owned()));
        }
        for port in ports {
            listed.extend(addresses.iter().map(|ip| format!("{ip}:{}", port["port"])));
        }
    }
    shortened(listed)
}

fn shortened(list: Vec<String>) -> String {
    let more = list.len().saturating_sub(LISTED_MAX);
    let shown = list.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn ingress(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let hosts = items(&spec["rules"]).iter().map(|rule| text(&rule["host"]).to_owned());
    let hosts = shortened(hosts.filter(|host| !host.is_empty()).collect());
    let hosts = if hosts.is_empty() { "*".to_owned() } else { hosts };
    let addresses = joined(&status["loadBalancer"]["ingress"], |one| {
        let ip = text(&one["ip"]);
        if ip.is_empty() { text(&one["hostname"]).to_owned() } else { ip.to_owned() }
    });
    let ports = if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    let class = or_none(text(&spec["ingressClassName"]));
    vec![name, json!(class), json!(hosts), json!(addresses), json!(ports), age]
}

fn service_port(port: &Value) -> String {
    let node_port = match number(&port["nodePort"]) {
        0 => String::new(),
        number => format!(":{number}"),
    };
    format!("{}{node_port}/{}", port["port"], text(&port["protocol"]))
}

fn access_mode(mode: &Value) -> String {
    match text(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    }
    .to_owned()
}

fn pairs(map: Option<&Map<String, Value>>) -> Vec<String> {
    let mut pairs: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    pairs
}

fn joined(list: &Value, show: impl Fn(&Value) -> String) -> String {
    items(list).iter().map(show).collect::<Vec<_>>().join(",")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, Map::len)
}
