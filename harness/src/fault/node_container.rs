//! Nodes of a kind cluster: containers of the Docker engine on this machine, and what is done
//! to them below the Kubernetes API.

use bollard::exec::StartExecOptions;
use bollard::models::{ContainerState, ExecConfig};
use bollard::query_parameters::{InspectContainerOptions, RestartContainerOptions, StopContainerOptions};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::cluster::Cluster;
use crate::docker::{DockerError, Engine};
use crate::event::ClusterKind;
use crate::system::SystemError;

/// The label of every container that is a node of a kind cluster.
const KIND_LABEL: &str = "io.x-k8s.kind.cluster";
/// Where a node keeps what identifies it, as its Node object tells it too.
const MACHINE_ID: &str = "/etc/machine-id";

/// The engine that runs the nodes.
pub(super) async fn engine() -> Result<Engine, SystemError> {
    Engine::connect().await.map_err(|error| from_engine(&error))
}

/// Makes sure that this cluster's nodes are containers here.
pub(super) fn require_kind(cluster: &Cluster, doing: &str) -> Result<(), SystemError> {
    match cluster.facts.kind {
        ClusterKind::Kind => Ok(()),
        ClusterKind::Embedded | ClusterKind::Context => Err(SystemError {
            message: format!(
                "{doing} on `{}`: its nodes are no containers on this machine; run this variant on a kind cluster",
                cluster.facts.name
            ),
            transient: false,
        }),
    }
}

/// Makes sure that the container of this name is that very node, and not one of the same name:
/// both tell the same machine id. Returns the container's id.
pub(super) async fn verified(engine: &Engine, cluster: &Cluster, name: &str) -> Result<String, SystemError> {
    let not_it = |why: String| SystemError {
        message: format!("find node `{name}` among the containers of the Docker engine: {why}"),
        transient: false,
    };
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = nodes.get(name).await.map_err(|error| SystemError::from_api(&format!("read node `{name}`"), &error))?;
    let told = node.status.and_then(|status| status.node_info).map(|info| info.machine_id).unwrap_or_default();
    let found = engine.client().inspect_container(name, None::<InspectContainerOptions>).await;
    let found = found.map_err(|error| not_it(error.to_string()))?;
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    if !labels.contains_key(KIND_LABEL) {
        return Err(not_it(format!("the container `{name}` has no label {KIND_LABEL}")));
    }
    let own = run(engine, name, &["cat", MACHINE_ID]).await?;
    if told.is_empty() || own.trim() != told {
        return Err(not_it(format!("its machine id is {}, and the cluster says {told}", own.trim())));
    }
    found.id.ok_or_else(|| not_it("the engine tells no id".to_owned()))
}

/// Runs a command on a node and returns what it said.
pub(super) async fn run(engine: &Engine, node: &str, command: &[&str]) -> Result<String, SystemError> {
    engine.exec(node, command).await.map(|executed| executed.output).map_err(|error| from_engine(&error))
}

/// Starts a command on a node, which goes on there whatever becomes of this program.
pub(super) async fn start_detached(engine: &Engine, node: &str, command: &[&str]) -> Result<(), SystemError> {
    let config =
        ExecConfig { cmd: Some(command.iter().map(|&word| word.to_owned()).collect()), ..ExecConfig::default() };
    let started = async {
        let id = engine.client().create_exec(node, config).await?.id;
        engine.client().start_exec(&id, Some(StartExecOptions { detach: true, ..StartExecOptions::default() })).await
    };
    started.await.map(drop).map_err(|error| refused(&format!("run `{}` on node `{node}`", command.join(" ")), &error))
}

/// How a container is; absent where there is none of this id any more.
pub(super) async fn state(engine: &Engine, id: &str) -> Result<Option<ContainerState>, SystemError> {
    match engine.client().inspect_container(id, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(found.state.unwrap_or_default())),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(refused(&format!("look at container `{id}`"), &error)),
    }
}

/// Ends everything in a container at once, as a power cut does.
pub(super) async fn stop(engine: &Engine, id: &str) -> Result<(), SystemError> {
    let at_once = StopContainerOptions { t: Some(0), ..StopContainerOptions::default() };
    done(engine.client().stop_container(id, Some(at_once)).await, &format!("stop container `{id}`"))
}

/// The same, and starts it again.
pub(super) async fn restart(engine: &Engine, id: &str) -> Result<(), SystemError> {
    let at_once = RestartContainerOptions { t: Some(0), ..RestartContainerOptions::default() };
    done(engine.client().restart_container(id, Some(at_once)).await, &format!("restart container `{id}`"))
}

/// Freezes everything in a container.
pub(super) async fn pause(engine: &Engine, id: &str) -> Result<(), SystemError> {
    match state(engine, id).await? {
        Some(state) if state.paused == Some(true) => Ok(()),
        _ => done(engine.client().pause_container(id).await, &format!("pause container `{id}`")),
    }
}

/// Brings a container back that does not run, or is frozen; says what it did. One that is gone is
/// gone with its cluster.
pub(super) async fn bring_back(engine: &Engine, id: &str, name: &str) -> Result<Vec<String>, SystemError> {
    let Some(state) = state(engine, id).await? else { return Ok(Vec::new()) };
    if state.paused == Some(true) {
        done(engine.client().unpause_container(id).await, &format!("unpause container `{name}`"))?;
        return Ok(vec![format!("{name} unpaused")]);
    }
    if state.running == Some(true) {
        return Ok(Vec::new());
    }
    done(engine.client().start_container(id, None).await, &format!("start container `{name}`"))?;
    Ok(vec![format!("{name} started")])
}

/// An answer that says that it was so already is as good as a yes.
fn done(answer: Result<(), bollard::errors::Error>, doing: &str) -> Result<(), SystemError> {
    match answer {
        Err(error) if status(&error) != Some(304) => Err(refused(doing, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine refuses now it may do later, but for what is not there.
fn refused(doing: &str, error: &bollard::errors::Error) -> SystemError {
    SystemError { message: format!("{doing}: {error}"), transient: status(error) != Some(404) }
}

fn from_engine(error: &DockerError) -> SystemError {
    let transient = match error {
        DockerError::Silent { .. } | DockerError::Refused { .. } => true,
        DockerError::Command { .. } | DockerError::NoImage { .. } | DockerError::Build { .. } => false,
    };
    SystemError { message: error.to_string(), transient }
}
