//! An embedded cluster as somebody else's: through a context that a `gate.toml` of its own pins,
//! and a relay that can cut it off.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::{Cluster, project};

/// The context of [`Rented`].
pub const CONTEXT: &str = "rented";

/// Files with which an embedded cluster is reached as a context of somebody else's cluster.
#[derive(Debug)]
pub struct Rented {
    /// A `gate.toml` beside links to everything else of the project.
    pub config: PathBuf,
    /// Leads to the API server through the relay.
    pub kubeconfig: PathBuf,
    /// What all requests to the API server go through.
    pub relay: Relay,
}

impl Rented {
    /// Makes them below a directory: pins the context and the cluster's uid, and labels the namespace.
    ///
    /// # Panics
    /// Where the cluster does not answer, or has no such namespace.
    pub async fn new(cluster: &Cluster<'_>, directory: &Path, namespace: &str) -> Self {
        let kubeconfig = kubeconfig(cluster);
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().expect("it names its server");
        let port = server.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the API listens on loopback");
        Self::through(cluster, directory, namespace, kubeconfig, port).await
    }

    /// The same through something that records every request.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub async fn recorded(cluster: &Cluster<'_>, directory: &Path, namespace: &str, recorded: &Recorded) -> Self {
        let mut kubeconfig = kubeconfig(cluster);
        let trusted = directory.join("recorded.pem");
        std::fs::write(&trusted, &recorded.certificate_pem).expect("the directory is ours");
        let entry = kubeconfig["clusters"][0]["cluster"].as_object_mut().expect("it names its cluster");
        entry.remove("certificate-authority-data");
        entry.insert("certificate-authority".to_owned(), trusted.to_str().expect("paths of tests are text").into());
        Self::through(cluster, directory, namespace, kubeconfig, recorded.port).await
    }

    async fn through(
        cluster: &Cluster<'_>,
        directory: &Path,
        namespace: &str,
        mut kubeconfig: Value,
        port: u16,
    ) -> Self {
        let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], port))).expect("a free port");
        let server = format!("https://127.0.0.1:{}", relay.address.port());
        kubeconfig["clusters"][0]["cluster"]["server"] = server.into();
        let (config, kubeconfig) = pinned(&cluster.client().await, directory, namespace, kubeconfig).await;
        Self { config, kubeconfig, relay }
    }

    /// The arguments that make a command use it.
    ///
    /// # Panics
    /// Where a path is no text.
    #[must_use]
    pub fn arguments(&self) -> [&str; 6] {
        let (config, kubeconfig) = (self.config.to_str(), self.kubeconfig.to_str());
        let config = config.expect("paths of tests are text");
        let kubeconfig = kubeconfig.expect("paths of tests are text");
        ["--config", config, "--context", CONTEXT, "--kubeconfig", kubeconfig]
    }
}

/// A `gate.toml` that pins the cluster as [`CONTEXT`], and the kubeconfig with its context under that
/// name; labels the namespace.
///
/// # Panics
/// Where the cluster does not answer, or has no such namespace.
pub async fn pinned(
    client: &kube::Client,
    directory: &Path,
    namespace: &str,
    mut kubeconfig: Value,
) -> (PathBuf, PathBuf) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces.get("kube-system").await.expect("every cluster has it");
    let label = json!({"metadata": {"labels": {"gameday.dev/allow-rehearsal": "true"}}});
    let labelled = namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(label)).await;
    labelled.expect("the namespace is there");

    kubeconfig["contexts"][0]["name"] = CONTEXT.into();
    kubeconfig["current-context"] = CONTEXT.into();
    let file = directory.join("rented.kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).expect("the directory is ours");

    let root = directory.join("rented");
    link_project(&root).expect("the directory is ours");
    let uid = system.metadata.uid.unwrap_or_default();
    let gate = std::fs::read_to_string(project().join("gate.toml")).expect("the project has one");
    let config = root.join("gate.toml");
    let pinned = format!("{gate}\n[clusters.{CONTEXT}]\ncontext = \"{CONTEXT}\"\nuid = \"{uid}\"\n");
    std::fs::write(&config, pinned).expect("the directory is ours");
    (config, file)
}

fn kubeconfig(cluster: &Cluster<'_>) -> Value {
    let text = std::fs::read_to_string(cluster.kubeconfig()).expect("the cluster has a kubeconfig");
    serde_json::from_str(&text).expect("it is written as JSON")
}

/// Links to everything of the project but its `gate.toml`.
fn link_project(root: &Path) -> io::Result<()> {
    std::fs::create_dir(root)?;
    let project = project().canonicalize()?;
    for entry in std::fs::read_dir(&project)? {
        let name = entry?.file_name();
        if name != "gate.toml" {
            std::os::unix::fs::symlink(project.join(&name), root.join(&name))?;
        }
    }
    Ok(())
}

/// Passes connections on, until it is told to cut them.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_cut: AtomicBool,
    /// Both ends of every connection that may still be open.
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where there is no connection on, the client's ends here as well.
                let _ = serving.pass_on(client, to);
            }
        });
        Ok(Self { address, shared })
    }

    /// Cuts every connection, and refuses new ones until [`Self::mend`].
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // What has ended already needs no cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes connections on again.
    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn pass_on(&self, client: TcpStream, to: SocketAddr) -> io::Result<()> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let server = TcpStream::connect(to)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
        }
        for (from, into) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
            std::thread::spawn(move || {
                let _ = io::copy(&mut &from, &mut &into);
                let _ = into.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    }
}
