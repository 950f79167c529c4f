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
        "PersistentVolume" => volume(object, name, age),
        "ControllerRevision" => {
            let controller = crate::object::controller_of(object).map(|owner| {
                let (group, _) = text(&owner["apiVersion"]).rsplit_once('/').unwrap_or_default();
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", text(&owner["kind"]).to_lowercase(), text(&owner["name"]))
            });
            vec![name, json!(or_none(&controller.unwrap_or_default())), json!(number(&object["revision"])), age]
        }
        "PodDisruptionBudget" => {
            let bound = |value: &Value| if value.is_null() { "N/A".to_owned() } else { plain(value) };
            let (least, most) = (bound(&spec["minAvailable"]), bound(&spec["maxUnavailable"]));
            vec![name, json!(least), json!(most), json!(number(&status["disruptionsAllowed"])), age]
        }
        "Lease" => vec![name, json!(text(&spec["holderIdentity"])), age],
        "ServiceAccount" => vec![name, age],
        _ => vec![name, metadata["creationTimestamp"].clone()],
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
    let happened = |time: &Value, other: &Value| since(if time.is_null() { other } else { time }, now);
    let first = happened(&event["firstTimestamp"], &event["eventTime"]);
    let (series, about) = (&event["series"], &event["involvedObject"]);
    let (last, count) = if series.is_object() {
        (since(&series["lastObservedTime"], now), number(&series["count"]))
    } else if event["lastTimestamp"].is_null() {
        (first.clone(), number(&event["count"]).max(1))
    } else {
        (since(&event["lastTimestamp"], now), number(&event["count"]).max(1))
    };
    let source = &event["source"];
    let component =
        if text(&source["component"]).is_empty() { &event["reportingComponent"] } else { &source["component"] };
    let source: Vec<&str> =
        [text(component), text(&source["host"])].into_iter().filter(|one| !one.is_empty()).collect();
    vec![
        json!(last),
        event["type"].clone(),
        event["reason"].clone(),
        json!(format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]))),
        json!(text(&about["fieldPath"])),
        json!(source.join(", ")),
        json!(text(&event["message"]).trim()),
        json!(first),
        json!(count),
        event["metadata"]["name"].clone(),
    ]
}

fn node(node: &Value, name: Value, age: Value) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let has_condition = items(&node["status"]["conditions"]).iter().any(|one| one["type"] == "Ready");
    let mut status = match (has_condition, crate::object::condition_is_true(node, "Ready")) {
        (false, _) => "Unknown",
        (true, true) => "Ready",
        (true, false) => "NotReady",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = node["metadata"]["labels"].as_object();
    let roles: Vec<&str> =
        labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    let address = |of: &str| {
        let one = items(&node["status"]["addresses"]).iter().find(|one| one["type"] == of);
        json!(or_none(one.map_or("", |one| text(&one["address"]))))
    };
    let unknown = |value: &str| json!(if value.is_empty() { "<unknown>" } else { value });
    let kernel = match (text(&info["kernelVersion"]), text(&info["architecture"])) {
        ("", _) => String::new(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        name,
        json!(status),
        json!(or_none(&roles.join(","))),
        age,
        json!(text(&info["kubeletVersion"])),
        address("InternalIP"),
        address("ExternalIP"),
        unknown(text(&info["osImage"])),
        unknown(&kernel),
        unknown(text(&info["containerRuntimeVersion"])),
    ]
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

fn volume(volume: &Value, name: Value, age: Value) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let phase = if crate::object::is_terminating(volume) { "Terminating" } else { text(&status["phase"]) };
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
    } else {
        String::new()
    };
    vec![
        name,
        json!(plain(&spec["capacity"]["storage"])),
        json!(joined(&spec["accessModes"], access_mode)),
        json!(text(&spec["persistentVolumeReclaimPolicy"])),
        json!(phase),
        json!(claim),
        json!(text(&spec["storageClassName"])),
        json!("<unset>"),
        json!(text(&status["reason"])),
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
    let mut parts = pairs(selector["matchLabels"].as_object());
    for one in items(&selector["matchExpressions"]) {
        let (key, values) = (text(&one["key"]), joined(&one["values"], plain));
        parts.push(match text(&one["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    json!(or_none(&parts.join(",")))
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
