//! A cluster in this process: the embedded API server and controllers, and a kubelet that
//! runs nothing and says so as each test wants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use embedded_cluster::api::{Server, tls};
use embedded_cluster::controllers;
use embedded_cluster::kinds;
use embedded_cluster::node::Node;
use embedded_cluster::store::Store;
use harness::cluster::{Cluster, Selection};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "test-token";
/// How often the kubelet looks at pods.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// What becomes of new pods whose image contains a text: a waiting reason. Without an entry: ready.
pub(crate) type Troubles = Arc<Mutex<BTreeMap<String, String>>>;

/// A running cluster; it ends when this is dropped.
pub(crate) struct TestCluster {
    pub(crate) cluster: Cluster,
    pub(crate) troubles: Troubles,
    kubeconfig: tempfile::TempDir,
    tasks: JoinSet<()>,
}

impl TestCluster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let certificates = tls::certificates().unwrap();
        let store = Store::new();
        // Its uid is how a cluster is told from others.
        store.create(&kinds::NAMESPACE, json!({"metadata": {"name": "kube-system"}})).unwrap();
        let server = Server {
            store: store.clone(),
            node: Node::without_pods(store.clone()),
            listener,
            tls: certificates.server,
            token: TOKEN.to_owned(),
            seed: 7,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(CancellationToken::new()));
        tasks.spawn(controllers::run(store, 7, CancellationToken::new()));

        let kubeconfig = tempfile::tempdir().unwrap();
        write_kubeconfig(kubeconfig.path(), port, &certificates.ca_pem);
        let cluster = connect(kubeconfig.path(), "kind-test").await;
        let troubles = Troubles::default();
        tasks.spawn(kubelet(cluster.clone(), Arc::clone(&troubles)));
        Self { cluster, troubles, kubeconfig, tasks }
    }

    /// The same cluster through the context of another name.
    pub(crate) async fn through(&self, context: &str) -> Cluster {
        connect(self.kubeconfig.path(), context).await
    }

    /// The cluster in the namespace of a lane, with a kubelet there.
    pub(crate) fn lane(&mut self, namespace: &str) -> Cluster {
        let lane = self.cluster.lane(namespace);
        self.tasks.spawn(kubelet(lane.clone(), Arc::clone(&self.troubles)));
        lane
    }

    /// Pods whose image contains `image` wait for this reason, if they are made from now on.
    pub(crate) fn spoil(&self, image: &str, reason: &str) {
        self.troubles.lock().unwrap().insert(image.to_owned(), reason.to_owned());
    }

    pub(crate) async fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let (base, namespace) = match plural {
            "deployments" | "statefulsets" => ("/apis/apps/v1", &self.cluster.namespace),
            _ => ("/api/v1", &self.cluster.namespace),
        };
        let path = match plural {
            "namespaces" => format!("{base}/namespaces/{name}"),
            _ => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
        };
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match self.cluster.client.request::<Value>(request).await {
            Ok(value) => Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn image(&self, plural: &str, name: &str) -> String {
        let object = self.get(plural, name).await.unwrap();
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// Name and uid of every pod, sorted.
    pub(crate) async fn pods(&self) -> Vec<(String, String)> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let pods = api.list(&ListParams::default()).await.unwrap();
        let mut pods: Vec<_> =
            pods.items.into_iter().map(|pod| (pod.metadata.name.unwrap(), pod.metadata.uid.unwrap())).collect();
        pods.sort();
        pods
    }
}

async fn connect(directory: &Path, context: &str) -> Cluster {
    let selection = Selection::Context { kubeconfig: Some(directory.join("config")), context: context.to_owned() };
    Cluster::connect(&selection, "shop").await.unwrap()
}

fn write_kubeconfig(directory: &Path, port: u16, ca_pem: &str) {
    std::fs::write(directory.join("ca.pem"), ca_pem).unwrap();
    let context = |name: &str| json!({"name": name, "context": {"cluster": "c", "user": "u"}});
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster":
            {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [context("kind-test"), context("staging")],
    });
    // JSON is YAML.
    std::fs::write(directory.join("config"), config.to_string()).unwrap();
}

async fn kubelet(cluster: Cluster, troubles: Troubles) {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let Ok(pods) = api.list(&ListParams::default()).await else { continue };
        for pod in pods.items {
            let name = pod.metadata.name.clone().unwrap();
            if pod.metadata.deletion_timestamp.is_some() {
                let at_once = DeleteParams::default().grace_period(0);
                // It may be gone since it was listed.
                let _ = api.delete(&name, &at_once).await;
                continue;
            }
            // What becomes of a pod is settled when it is first seen.
            if pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some()) {
                continue;
            }
            let container = &pod.spec.as_ref().unwrap().containers[0];
            let image = container.image.clone().unwrap_or_default();
            let trouble = {
                let troubles = troubles.lock().unwrap();
                troubles.iter().find(|(text, _)| image.contains(*text)).map(|(_, reason)| reason.clone())
            };
            let patch = Patch::Merge(json!({"status": status(&container.name, &image, trouble.as_deref())}));
            let _ = api.patch_status(&name, &PatchParams::default(), &patch).await;
        }
    }
}

fn status(container: &str, image: &str, trouble: Option<&str>) -> Value {
    let (ready, state) = match trouble {
        None => ("True", json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
        Some(reason) => ("False", json!({"waiting": {"reason": reason, "message": "as the test wants"}})),
    };
    json!({
        "phase": if trouble.is_none() { "Running" } else { "Pending" },
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "containerStatuses": [{"name": container, "image": image, "imageID": "", "ready": trouble.is_none(),
            "restartCount": 0, "state": state}],
    })
}
