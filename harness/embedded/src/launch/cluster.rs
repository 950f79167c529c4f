//! The cluster's own process: wires the store, the node agent, the controllers and the
//! API server together.

use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handover::{self, Channel, Portal, Setup, ToCluster, ToPortal};
use super::{LaunchError, bootstrap, place};
use crate::api::{Server, tls};
use crate::node::{Node, Settings};
use crate::store::Store;

/// How long tasks may take to end; afterwards the end of this process ends them.
const GRACE: Duration = Duration::from_secs(1);

/// Threads of the runtime.
const THREADS: usize = 2;

/// Runs until the portal is gone.
pub(super) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run());
            // Blocking threads may hang on a file system; nothing waits for them.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(LaunchError::new(format!("start a runtime: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), LaunchError> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
    let channel = socket.map_err(Into::into).and_then(Channel::new);
    let channel = channel.map_err(|error| LaunchError::new(format!("reach the portal: {error}")))?;
    let (setup, listener) = receive_setup(&channel).await?;
    let cancel = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (portal, requests) = Portal::new();
    match start(&setup, listener, portal, &mut tasks, &cancel).await {
        Ok(kubeconfig) => {
            let ready = channel.send(&ToPortal::Ready { kubeconfig }, None).await;
            ready.map_err(|error| LaunchError::new(format!("reach the portal: {error}")))?;
        }
        Err(error) => {
            let _ = channel.send(&ToPortal::Failed(error.clone()), None).await;
            return Err(error);
        }
    }
    handover::attend(channel, requests, cancel.clone()).await;
    cancel.cancel();
    let _ = timeout(GRACE, tasks.join_all()).await;
    Ok(())
}

async fn receive_setup(channel: &Channel) -> Result<(Setup, TcpListener), LaunchError> {
    let listener = match channel.receive().await {
        Ok(Some((ToCluster::Setup(setup), Some(socket)))) => {
            let listener = std::net::TcpListener::from(socket);
            listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener))
                .map(|listener| (setup, listener))
        }
        Ok(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error),
    };
    listener.map_err(|error| LaunchError::new(format!("take over the API's socket: {error}")))
}

async fn start(
    setup: &Setup,
    listener: TcpListener,
    portal: Portal,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) -> Result<std::path::PathBuf, LaunchError> {
    let store = Store::new();
    bootstrap::create(&store).map_err(|error| LaunchError::new(format!("create the first objects: {error}")))?;
    let settings = Settings {
        dir: setup.dir.clone(),
        images: setup.images.clone(),
        layers: setup.layers.clone(),
        program: setup.program.clone(),
        seed: setup.seed,
        name: bootstrap::NODE_NAME.to_owned(),
        address: bootstrap::NODE_ADDRESS,
    };
    let node = Node::start(settings, store.clone(), portal, tasks, cancel).await?;
    tasks.spawn(crate::controllers::run(store.clone(), setup.seed, cancel.clone()));

    let token = token()?;
    let certificates = tls::certificates().map_err(|error| LaunchError::new(error.to_string()))?;
    let kubeconfig = setup.dir.join("kubeconfig");
    let content = bootstrap::kubeconfig(&setup.name, setup.port, &certificates.ca_pem, &token);
    let text = serde_json::to_vec_pretty(&content).map_err(std::io::Error::from);
    text.and_then(|text| place::write_private(&kubeconfig, &text))
        .map_err(|error| LaunchError::new(format!("write {}: {error}", kubeconfig.display())))?;

    let server = Server { store, node, listener, tls: certificates.server, token, seed: setup.seed };
    tasks.spawn(server.serve(cancel.clone()));
    Ok(kubeconfig)
}

/// 256 bits that nobody can guess, as hexadecimal digits.
fn token() -> Result<String, LaunchError> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| LaunchError::new(format!("read /dev/urandom: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
