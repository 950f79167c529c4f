//! What stands in every cluster from the beginning.

use serde_json::{Value, json};

use crate::kinds;
use crate::shape;
use crate::store::Store;

/// The address of `default/kubernetes`: the API server as pods see it.
pub(super) const KUBERNETES_ADDRESS: &str = "10.96.0.1";

/// Adds the namespaces and the Service of the API server where they are absent.
pub(super) fn objects(store: &Store) {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let labels = json!({"kubernetes.io/metadata.name": name});
        let namespace = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        add(store, &kinds::NAMESPACE, namespace);
    }
    let service = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": KUBERNETES_ADDRESS, "clusterIPs": [KUBERNETES_ADDRESS],
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
        },
    });
    add(store, &kinds::SERVICE, service);
}

fn add(store: &Store, kind: &'static kinds::Kind, mut object: Value) {
    shape::fill_defaults(kind, &mut object);
    // What is there already, from an earlier life of the store, stays.
    let _ = store.create(kind, object);
}
