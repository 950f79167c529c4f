//! The kinds this cluster serves: one row each, read by discovery, routing and tables.

/// One served kind.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version inside the group.
    pub version: &'static str,
    /// `Deployment`.
    pub kind: &'static str,
    /// `deployments`, as it stands in paths.
    pub plural: &'static str,
    /// `deploy`, as people type it.
    pub short_names: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Subresources beside the object itself.
    pub subresources: &'static [&'static str],
    /// Whether `kubectl get all` lists it.
    pub in_all: bool,
    /// Whether the server counts `metadata.generation`.
    pub has_generation: bool,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, or `pods` for the core group: the form error messages use.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

macro_rules! kinds {
    ($($name:ident = $group:literal $version:literal $kind:literal $plural:literal $short:expr, namespaced $namespaced:literal, generation $generation:literal, all $all:literal, $sub:expr;)*) => {
        $(
            #[doc = concat!("`", $kind, "`.")]
            pub static $name: Kind = Kind {
                group: $group, version: $version, kind: $kind, plural: $plural, short_names: &$short,
                namespaced: $namespaced, has_generation: $generation, in_all: $all, subresources: &$sub,
            };
        )*
        /// Every served kind.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    NAMESPACE = "" "v1" "Namespace" "namespaces" ["ns"], namespaced false, generation false, all false, ["status", "finalize"];
    NODE = "" "v1" "Node" "nodes" ["no"], namespaced false, generation false, all false, ["status"];
    POD = "" "v1" "Pod" "pods" ["po"], namespaced true, generation true, all true, ["status", "log", "exec", "proxy", "portforward", "eviction"];
    SERVICE = "" "v1" "Service" "services" ["svc"], namespaced true, generation false, all true, ["status", "proxy"];
    ENDPOINTS = "" "v1" "Endpoints" "endpoints" ["ep"], namespaced true, generation false, all false, [];
    CONFIG_MAP = "" "v1" "ConfigMap" "configmaps" ["cm"], namespaced true, generation false, all false, [];
    SECRET = "" "v1" "Secret" "secrets" [], namespaced true, generation false, all false, [];
    EVENT = "" "v1" "Event" "events" ["ev"], namespaced true, generation false, all false, [];
    CLAIM = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims" ["pvc"], namespaced true, generation false, all false, ["status"];
    SERVICE_ACCOUNT = "" "v1" "ServiceAccount" "serviceaccounts" ["sa"], namespaced true, generation false, all false, [];
    DEPLOYMENT = "apps" "v1" "Deployment" "deployments" ["deploy"], namespaced true, generation true, all true, ["status", "scale"];
    REPLICA_SET = "apps" "v1" "ReplicaSet" "replicasets" ["rs"], namespaced true, generation true, all true, ["status", "scale"];
    STATEFUL_SET = "apps" "v1" "StatefulSet" "statefulsets" ["sts"], namespaced true, generation true, all true, ["status", "scale"];
    CONTROLLER_REVISION = "apps" "v1" "ControllerRevision" "controllerrevisions" [], namespaced true, generation false, all false, [];
    ENDPOINT_SLICE = "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices" [], namespaced true, generation true, all false, [];
    DISRUPTION_BUDGET = "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" ["pdb"], namespaced true, generation true, all false, ["status"];
    INGRESS = "networking.k8s.io" "v1" "Ingress" "ingresses" ["ing"], namespaced true, generation true, all false, ["status"];
    LEASE = "coordination.k8s.io" "v1" "Lease" "leases" [], namespaced true, generation false, all false, [];
}

/// The kind at this place in a path, if it is served.
#[must_use]
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The kind of a manifest's `apiVersion` and `kind`, if it is served.
#[must_use]
pub fn by_kind(api_version: &str, name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.kind == name && kind.api_version() == api_version)
}
