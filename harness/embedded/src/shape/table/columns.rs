//! The columns of each kind's table.

use serde_json::{Value, json};

use crate::kinds::Kind;

/// `columnDefinitions` of a kind's table.
pub(super) fn definitions(kind: &Kind) -> Vec<Value> {
    let of_kind = columns(kind.kind).split(", ").map(|column| {
        let (column, priority) = column.strip_prefix('+').map_or((column, 0), |column| (column, 1));
        let (name, of) = column.strip_prefix('#').map_or((column, "string"), |column| (column, "integer"));
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": of, "format": format, "description": "", "priority": priority})
    });
    of_kind.collect()
}

/// `+` marks a column of `-o wide`, `#` a number.
fn columns(kind: &str) -> &'static str {
    match kind {
        "Pod" => "Name, Ready, Status, Restarts, Age, +IP, +Node, +Nominated Node, +Readiness Gates",
        "Deployment" => "Name, Ready, Up-to-date, Available, Age, +Containers, +Images, +Selector",
        "ReplicaSet" => "Name, #Desired, #Current, #Ready, Age, +Containers, +Images, +Selector",
        "StatefulSet" => "Name, Ready, Age, +Containers, +Images",
        "Service" => "Name, Type, Cluster-IP, External-IP, Port(s), Age, +Selector",
        "Endpoints" => "Name, Endpoints, Age",
        "EndpointSlice" => "Name, AddressType, Ports, Endpoints, Age",
        "ConfigMap" => "Name, Data, Age",
        "Secret" => "Name, Type, Data, Age",
        "Event" => "Last Seen, Type, Reason, Object, +Subobject, +Source, Message, +First Seen, +Count, +Name",
        "Namespace" => "Name, Status, Age",
        "Node" => {
            "Name, Status, Roles, Age, Version, +Internal-IP, +External-IP, +OS-Image, +Kernel-Version, \
             +Container-Runtime"
        }
        "PersistentVolumeClaim" => {
            "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, +VolumeMode"
        }
        "PodDisruptionBudget" => "Name, Min Available, Max Unavailable, #Allowed Disruptions, Age",
        "Ingress" => "Name, Class, Hosts, Address, Ports, Age",
        _ => "Name, Age",
    }
}
