//! What stands in every cluster from the beginning.

use serde_json::{Value, json};

use crate::kinds;
use crate::shape;
use crate::store::Store;

/// The address of `default/kubernetes`. Pods find it in their environment; nothing answers there.
const KUBERNETES_ADDRESS: &str = "10.96.0.1";

/// Adds the namespaces and the Service of the API server where they are absent.
pub(super) fn objects(store: &Store) {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        add(store, &kinds::NAMESPACE, namespace);
        add(store, &kinds::SERVICE_ACCOUNT, json!({"metadata": {"name": "default", "namespace": name}}));
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
    shape::prepare_create(kind, &mut object);
    // What the launcher has put there already stays.
    let _ = store.create(kind, object);
}
