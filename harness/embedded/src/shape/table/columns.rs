//! The columns of each kind's table.

use serde_json::{Value, json};

use crate::kinds::Kind;

/// Name, type, what it shows. A `+` before the name marks a column of `-o wide`.
type Column = (&'static str, &'static str, &'static str);

const NAME: Column = ("Name", "string", "The object's name.");
const AGE: Column = ("Age", "string", "Time since the object was created.");
const CONTAINERS: Column = ("+Containers", "string", "Names of the template's containers.");
const IMAGES: Column = ("+Images", "string", "Images of the template's containers.");
const SELECTOR: Column = ("+Selector", "string", "The labels that make a pod belong here.");

/// `columnDefinitions` of a kind's table.
pub(super) fn definitions(kind: &Kind) -> Vec<Value> {
    columns(kind.kind)
        .iter()
        .map(|(name, of, description)| {
            let (name, priority) = name.strip_prefix('+').map_or((*name, 0), |name| (name, 1));
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": of, "format": format, "description": description, "priority": priority})
        })
        .collect()
}

fn columns(kind: &str) -> Vec<Column> {
    match kind {
        "Pod" => vec![
            NAME,
            ("Ready", "string", "Ready containers, of all."),
            ("Status", "string", "What the pod's containers are doing."),
            ("Restarts", "string", "How often containers were restarted, and when last."),
            AGE,
            ("+IP", "string", "The pod's address."),
            ("+Node", "string", "The node the pod runs on."),
            ("+Nominated Node", "string", "The node that is being cleared for the pod."),
            ("+Readiness Gates", "string", "Conditions that must hold beside the containers' readiness."),
        ],
        "Deployment" => vec![
            NAME,
            ("Ready", "string", "Ready pods, of those wanted."),
            ("Up-to-date", "string", "Pods of the newest template."),
            ("Available", "string", "Pods that have been ready for long enough."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "ReplicaSet" => vec![
            NAME,
            ("Desired", "integer", "Pods wanted."),
            ("Current", "integer", "Pods that exist."),
            ("Ready", "integer", "Pods that are ready."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "StatefulSet" => {
            vec![NAME, ("Ready", "string", "Ready pods, of those wanted."), AGE, CONTAINERS, IMAGES]
        }
        "Service" => vec![
            NAME,
            ("Type", "string", "How the Service is reached."),
            ("Cluster-IP", "string", "Its address inside the cluster."),
            ("External-IP", "string", "Its addresses outside the cluster."),
            ("Port(s)", "string", "Its ports, with node ports where it has them."),
            AGE,
            SELECTOR,
        ],
        "Endpoints" => vec![NAME, ("Endpoints", "string", "Addresses and ports of ready pods."), AGE],
        "EndpointSlice" => vec![
            NAME,
            ("AddressType", "string", "The family of the addresses."),
            ("Ports", "string", "Ports that every endpoint serves."),
            ("Endpoints", "string", "Addresses of the endpoints, ready or not."),
            AGE,
        ],
        "ConfigMap" => vec![NAME, ("Data", "string", "Number of entries."), AGE],
        "Secret" => {
            vec![NAME, ("Type", "string", "What the Secret is for."), ("Data", "string", "Number of entries."), AGE]
        }
        "Event" => vec![
            ("Last Seen", "string", "Time since it last happened."),
            ("Type", "string", "Normal or Warning."),
            ("Reason", "string", "Why it was recorded, in one word."),
            ("Object", "string", "What it is about."),
            ("+Subobject", "string", "The part of the object it is about."),
            ("+Source", "string", "Who recorded it."),
            ("Message", "string", "What happened."),
            ("+First Seen", "string", "Time since it first happened."),
            ("+Count", "string", "How often it happened."),
            ("+Name", "string", "The event's name."),
        ],
        "Namespace" => vec![NAME, ("Status", "string", "Whether the namespace is being deleted."), AGE],
        "Node" => vec![
            NAME,
            ("Status", "string", "Whether the node is ready for pods."),
            ("Roles", "string", "What the node is for."),
            AGE,
            ("Version", "string", "The version of the node."),
            ("+Internal-IP", "string", "The node's address inside the cluster."),
            ("+External-IP", "string", "The node's address outside the cluster."),
            ("+OS-Image", "string", "The operating system."),
            ("+Kernel-Version", "string", "The kernel."),
            ("+Container-Runtime", "string", "What runs the containers."),
        ],
        "PersistentVolumeClaim" => vec![
            NAME,
            ("Status", "string", "Whether the claim has a volume."),
            ("Volume", "string", "The volume."),
            ("Capacity", "string", "The volume's size."),
            ("Access Modes", "string", "How the volume may be mounted."),
            ("StorageClass", "string", "The class the claim asks for."),
            ("VolumeAttributesClass", "string", "The attributes class of the volume."),
            AGE,
            ("+VolumeMode", "string", "Whether the volume is a file system."),
        ],
        "PersistentVolume" => vec![
            NAME,
            ("Capacity", "string", "The volume's size."),
            ("Access Modes", "string", "How the volume may be mounted."),
            ("Reclaim Policy", "string", "What happens to it when its claim is gone."),
            ("Status", "string", "Whether a claim has it."),
            ("Claim", "string", "The claim."),
            ("StorageClass", "string", "The class it belongs to."),
            ("VolumeAttributesClass", "string", "The attributes class of the volume."),
            ("Reason", "string", "Why the volume is in this state."),
            AGE,
            ("+VolumeMode", "string", "Whether the volume is a file system."),
        ],
        "ControllerRevision" => vec![
            NAME,
            ("Controller", "string", "The workload it is a revision of."),
            ("Revision", "string", "Its number."),
            AGE,
        ],
        "PodDisruptionBudget" => vec![
            NAME,
            ("Min Available", "string", "Pods that must stay."),
            ("Max Unavailable", "string", "Pods that may be away."),
            ("Allowed Disruptions", "integer", "Pods that may be evicted now."),
            AGE,
        ],
        "Lease" => vec![NAME, ("Holder", "string", "Who holds the lease."), AGE],
        "ServiceAccount" => vec![NAME, AGE],
        _ => vec![NAME, ("Created At", "date", "When the object was created.")],
    }
}
