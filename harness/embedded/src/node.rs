//! The node agent: runs pods as namespace sandboxes, probes them, ends them.
//!
//! A pod is a *sandbox* (a process that holds its network, hostname and IPC namespaces, so
//! that its address outlives restarts) and one container at a time in mount and PID
//! namespaces of its own. All pod-to-pod traffic is routed through the cluster's network
//! namespace, where nftables rules stand for Services.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::launch::{LaunchError, Portal};
use crate::status::Status;
use crate::store::Store;

mod agent;
mod container;
mod container_init;
mod environment;
mod files;
mod image;
mod image_layout;
mod join;
mod logs;
mod memory;
mod names;
mod network;
mod node_port;
mod probe;
mod prober;
mod proxy;
mod recorder;
mod sandbox;
mod services;
mod state;
mod status;
mod termination;
mod volumes;
mod worker;

pub(crate) use container_init::{inner as container_init_inner, outer as container_init};
pub(crate) use join::{inner as join_inner, outer as join};
pub(crate) use sandbox::pause;
pub(crate) use services::endpoints_of;

/// How long a connection from the node to a pod may take to open.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// What a node agent is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Directory of the cluster: pods, volumes.
    pub(crate) dir: PathBuf,
    /// OCI layout that images come from.
    pub(crate) images: PathBuf,
    /// Where unpacked layers are kept.
    pub(crate) layers: PathBuf,
    /// The program to run as a pod's own processes.
    pub(crate) program: PathBuf,
    /// Seed of its delays.
    pub(crate) seed: u64,
    /// Name of the node.
    pub(crate) name: String,
    /// Its address inside the cluster.
    pub(crate) address: Ipv4Addr,
}

/// The node agent as the API server and the controllers see it. Clones share it.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

/// A running container to exec in, or to signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

/// What every part of the node agent shares.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    store: Store,
    portal: Portal,
    images: image::Images,
    limits: memory::Limits,
    addresses: Mutex<network::Addresses>,
    containers: Mutex<BTreeMap<(String, String), Live>>,
    /// Sockets of reserved node ports until a Service uses them.
    reserved: Mutex<BTreeMap<u16, OwnedFd>>,
    /// Counts changes of ConfigMaps and Secrets.
    configs: watch::Sender<u64>,
    /// Whether pods' own files go to memory, because the disk's file system cannot carry an overlay.
    scratch_in_memory: bool,
}

/// A container that runs.
#[derive(Debug, Clone)]
struct Live {
    container: String,
    pid: Pid,
    environment: Vec<(String, String)>,
    directory: String,
}

impl Node {
    /// Prepares the network of this namespace and starts the agent's tasks.
    ///
    /// # Errors
    /// A program is missing or the kernel refuses something; the message says what.
    pub(crate) async fn start(
        settings: Settings,
        store: Store,
        portal: Portal,
        tasks: &mut JoinSet<()>,
        cancel: &CancellationToken,
    ) -> Result<Self, LaunchError> {
        network::set_up(settings.address).await?;
        proxy::check().await?;
        let scratch_in_memory = !files::carries_overlay(&settings.dir);
        let node = Self::new(settings, store, portal, scratch_in_memory);
        tasks.spawn(agent::run(node.clone(), cancel.clone()));
        tasks.spawn(proxy::run(node.clone(), cancel.clone()));
        tasks.spawn(memory::run(node.clone(), cancel.clone()));
        Ok(node)
    }

    /// A node agent that runs nothing: logs, exec and node ports answer as for pods that
    /// never started.
    #[must_use]
    pub fn without_pods(store: Store) -> Self {
        let nowhere = PathBuf::from("/nonexistent");
        let settings = Settings {
            dir: nowhere.clone(),
            images: nowhere.clone(),
            layers: nowhere.clone(),
            program: nowhere,
            seed: 0,
            name: "none".to_owned(),
            address: Ipv4Addr::LOCALHOST,
        };
        Self::new(settings, store, Portal::none(), false)
    }

    fn new(settings: Settings, store: Store, portal: Portal, scratch_in_memory: bool) -> Self {
        let images = image::Images::new(settings.images.clone(), settings.layers.clone());
        let shared = Shared {
            settings,
            store,
            portal,
            images,
            limits: memory::Limits::default(),
            addresses: Mutex::default(),
            containers: Mutex::default(),
            reserved: Mutex::default(),
            configs: watch::Sender::new(0),
            scratch_in_memory,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The log file of a container's current or previous run: one CRI line a line
    /// (`2026-01-01T00:00:00.000000000Z stdout F text`). `None` where it never ran.
    #[must_use]
    pub fn log_file(&self, pod_uid: &str, container: &str, previous: bool) -> Option<PathBuf> {
        logs::find(&self.pod_dir(pod_uid).join(container), previous)
    }

    /// A command that runs `argv` inside a running container's namespaces, with its
    /// environment and working directory; pipes are for the caller to set. With `terminal`
    /// the command sees a terminal of its own, and everything it writes comes on stdout.
    ///
    /// Killing it ends what it started. It exits with the exit code of `argv`, 128 + the
    /// signal that ended it, or 127 (126) where `argv` cannot be found (run).
    ///
    /// # Errors
    /// A `Status` as the kubelet words it where the container does not run.
    pub fn exec(
        &self,
        container: &ContainerRef,
        argv: &[String],
        terminal: bool,
    ) -> Result<tokio::process::Command, Status> {
        let live = self.live(container)?;
        Ok(join::command(&self.shared.settings.program, &live, argv, terminal))
    }

    /// Sends a signal to the container's PID 1 from outside its namespace.
    ///
    /// # Errors
    /// A `Status` where the container does not run.
    pub fn signal(&self, container: &ContainerRef, signal: Signal) -> Result<(), Status> {
        let live = self.live(container)?;
        rustix::process::kill_process(live.pid, signal).map_err(|error| {
            Status::new(500, "InternalError", format!("signal container {}: {error}", container.container))
        })
    }

    /// A connection to a pod's address from the node, as the API server's proxy makes it.
    ///
    /// # Errors
    /// What connecting returned, or `TimedOut` after 10 s.
    pub async fn dial(&self, address: Ipv4Addr, port: u16) -> std::io::Result<tokio::net::TcpStream> {
        let connecting = tokio::net::TcpStream::connect(SocketAddrV4::new(address, port));
        match timeout(DIAL_DEADLINE, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    /// Reserves a node port on the host's loopback: this one, or a free one of 30000–32767.
    /// It stays reserved for as long as a Service names it.
    ///
    /// # Errors
    /// A sentence where it is taken by another program.
    pub async fn reserve_node_port(&self, wanted: Option<u16>) -> Result<u16, String> {
        node_port::reserve(&self.shared, wanted).await
    }

    fn live(&self, wanted: &ContainerRef) -> Result<Live, Status> {
        let key = (wanted.namespace.clone(), wanted.pod.clone());
        let live = lock(&self.shared.containers).get(&key).filter(|live| live.container == wanted.container).cloned();
        live.ok_or_else(|| Status::new(500, "InternalError", format!("container not found (\"{}\")", wanted.container)))
    }

    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.shared.settings.dir.join("pods").join(uid)
    }
}

/// The children of a process, by the kernel's list for its main thread.
#[must_use]
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}

/// The name as a path component cannot leave the directory: API names have no slash.
fn under(dir: &Path, name: impl AsRef<OsStr>) -> PathBuf {
    dir.join(Path::new(name.as_ref()).file_name().unwrap_or_default())
}

/// A child's end as an exit code, signals as shells tell them.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Ends a hidden subcommand that could not do its work.
fn give_up(what: &str) -> ExitCode {
    eprintln!("failed to {what}");
    ExitCode::FAILURE
}
