//! Objects of several kinds, where only their metadata matters.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};

use super::Cluster;
use crate::scenario::object::{ObjectKind, ObjectRef};

/// Where such an object is.
pub(crate) fn api(cluster: &Cluster, object: &ObjectRef) -> Api<DynamicObject> {
    let resource = match object.kind {
        ObjectKind::Deployment => ApiResource::erase::<Deployment>(&()),
        ObjectKind::Ingress => ApiResource::erase::<Ingress>(&()),
        ObjectKind::Service => ApiResource::erase::<Service>(&()),
        ObjectKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
    };
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}
