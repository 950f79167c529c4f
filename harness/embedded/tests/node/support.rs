//! A cluster for one test, and images made of the machine's static busybox.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use embedded_cluster::launch::{self, Lifetime, Options, Running};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{AttachParams, ListParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// The image that every test has.
pub const IMAGE: &str = "demo/bb:1";

/// How long anything may take; the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test uses.
pub fn name() -> String {
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The program whose processes a cluster is; a copy of it where ordinary users run it.
pub fn program() -> PathBuf {
    let elsewhere = std::env::var_os("TEST_PROGRAM");
    elsewhere.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_embedded-cluster")), PathBuf::from)
}

/// A running cluster; dropping it stops it.
pub struct Cluster {
    pub running: Running,
    pub client: Client,
    _images: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        let images = images();
        let options = Options {
            program: program(),
            name: name(),
            images: images.path().to_owned(),
            port: None,
            seed: 7,
            lifetime: Lifetime::Caller,
        };
        let running = tokio::task::spawn_blocking(move || launch::start(&options)).await.unwrap().unwrap();
        let client = client(&running.kubeconfig).await;
        Self { running, client, _images: images }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates a pod of one container `c` that runs a line of shell.
    pub async fn pod(&self, name: &str, script: &str, extra: Value) -> Pod {
        let mut container = json!({"name": "c", "image": IMAGE, "command": ["/bin/sh", "-c", script]});
        let mut spec = json!({"terminationGracePeriodSeconds": 1});
        for (key, value) in extra.as_object().into_iter().flatten() {
            let of_container = ["env", "envFrom", "resources", "volumeMounts", "lifecycle", "terminationMessagePolicy"];
            if of_container.contains(&key.as_str()) || key.ends_with("Probe") || key == "image" {
                container[key] = value.clone();
            } else {
                spec[key] = value.clone();
            }
        }
        spec["containers"] = json!([container]);
        let metadata = json!({"name": name, "labels": {"app": name}});
        self.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await
    }

    /// Waits until the pod is as wanted; says what was last seen where it never is.
    pub async fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let last = Mutex::new(Value::Null);
        let condition = |pod: Option<&Pod>| {
            let pod = serde_json::to_value(pod).unwrap();
            let done = !pod.is_null() && wanted(&pod);
            *last.lock().unwrap() = pod;
            done
        };
        let waited = timeout(DEADLINE, await_condition(self.api::<Pod>(), name, condition)).await;
        let pod = waited.map(|result| result.unwrap());
        match pod {
            Ok(pod) => serde_json::to_value(pod).unwrap(),
            Err(_) => panic!("pod {name} was not {what} in time; last seen: {:#}", last.lock().unwrap()["status"]),
        }
    }

    pub async fn ready(&self, name: &str) -> Value {
        self.wait(name, "ready", is_ready).await
    }

    pub async fn gone(&self, name: &str) {
        let gone = await_condition(self.api::<Pod>(), name, |pod: Option<&Pod>| pod.is_none());
        timeout(DEADLINE, gone).await.unwrap_or_else(|_| panic!("pod {name} is still there")).unwrap();
    }

    pub async fn log(&self, name: &str, follow: bool) -> String {
        let params = LogParams { follow, ..LogParams::default() };
        if !follow {
            return self.api::<Pod>().logs(name, &params).await.unwrap();
        }
        use futures_util::AsyncReadExt as _;
        let mut stream = std::pin::pin!(self.api::<Pod>().log_stream(name, &params).await.unwrap());
        let mut text = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("the log ends").unwrap();
        text
    }

    /// What a line of shell prints in the pod's container, errors included.
    pub async fn exec(&self, name: &str, script: &str) -> String {
        let script = format!("{{ {script}; }} 2>&1");
        let params = AttachParams::default().stderr(false);
        let run = async {
            let mut attached = self.api::<Pod>().exec(name, ["/bin/sh", "-c", &script], &params).await.unwrap();
            let mut text = String::new();
            attached.stdout().unwrap().read_to_string(&mut text).await.unwrap();
            attached.join().await.unwrap();
            text
        };
        timeout(DEADLINE, run).await.unwrap_or_else(|_| panic!("`{script}` did not end in pod {name}"))
    }

    /// Reasons and messages of a pod's events, with their count where it is not one.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let params = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = self.api::<Event>().list(&params).await.unwrap();
        let row = |event: Event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        events.items.into_iter().map(row).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = launch::stop(&self.running.name);
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

pub fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

pub async fn client(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// An OCI layout with one image: busybox and its names.
pub fn images() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let layer = put(&layer());
    let config = put(&bytes(json!({"config": {"Cmd": ["/bin/sh", "-c", "sleep 1000"], "Env": ["FROM_IMAGE=yes"]}})));
    let manifest = put(&bytes(json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.0, "size": layer.1}],
    })));
    let name = BTreeMap::from([("org.opencontainers.image.ref.name", IMAGE)]);
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest.0, "size": manifest.1,
        "annotations": name,
    }]});
    fs::write(dir.path().join("index.json"), bytes(index)).unwrap();
    dir
}

fn bytes(value: Value) -> Vec<u8> {
    serde_json::to_vec(&value).unwrap()
}

fn layer() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("the package busybox-static is needed");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    builder.append_data(&mut header, "bin/busybox", &busybox[..]).unwrap();
    for name in ["sh", "cat", "date", "dd", "echo", "env", "false", "grep", "hostname", "httpd", "id", "ip", "kill"]
        .into_iter()
        .chain(["ls", "mkdir", "mount", "nc", "ps", "rm", "sleep", "sort", "stat", "touch", "true", "wget", "readlink"])
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    builder.into_inner().unwrap()
}
