//! Containers, images and networks, as far as kind's nodes and the registry need them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, MountPoint, PortSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectNetworkOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt as _;

use super::{DockerError, Engine};

/// How long the engine may take for one thing; removing a node takes it several seconds.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// How long pulling an image may take: a node's has several hundred megabytes.
const PULL_WITHIN: Duration = Duration::from_secs(900);
/// How often removing a container is asked for while the engine is at it already.
const REMOVALS_MAX: u32 = 60;
/// Pause between two of these.
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);

/// A container as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs; one that is paused does.
    pub running: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What is mounted in it from this machine: the path inside, and where that is.
    pub mounts: BTreeMap<String, String>,
    /// Its TCP ports that lead out: the port inside, and the address on this machine.
    pub ports: BTreeMap<u16, SocketAddr>,
    /// Its addresses, by network.
    pub addresses: BTreeMap<String, IpAddr>,
}

impl Engine {
    /// All containers with a label of this value, by name; also those that do not run.
    ///
    /// # Errors
    /// [`DockerError::Refused`].
    pub async fn containers(&self, label: &str, value: &str) -> Result<Vec<Container>, DockerError> {
        self.listed("label", format!("{label}={value}")).await
    }

    /// The container of this name, if there is one.
    ///
    /// # Errors
    /// [`DockerError::Refused`].
    pub async fn container(&self, name: &str) -> Result<Option<Container>, DockerError> {
        // The engine takes a part of a name for the name.
        let found = self.listed("name", name.to_owned()).await?;
        Ok(found.into_iter().find(|container| container.name == name))
    }

    async fn listed(&self, filter: &str, value: String) -> Result<Vec<Container>, DockerError> {
        let filters = HashMap::from([(filter.to_owned(), vec![value.clone()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let what = format!("list containers of {filter} `{value}`");
        let found = asked(&what, self.client().list_containers(Some(options))).await?;
        let mut found: Vec<_> = found.into_iter().map(Container::of).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Makes a container and starts it.
    ///
    /// # Errors
    /// [`DockerError::Refused`]; a container that did not start is there nevertheless.
    pub async fn run(&self, name: &str, body: ContainerCreateBody) -> Result<(), DockerError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let what = format!("make container `{name}`");
        asked(&what, self.client().create_container(Some(options), body)).await?;
        self.start(name).await
    }

    /// Starts a container; one that runs is left alone.
    ///
    /// # Errors
    /// [`DockerError::Refused`].
    pub async fn start(&self, container: &str) -> Result<(), DockerError> {
        let what = format!("start container `{container}`");
        asked(&what, self.client().start_container(container, None::<StartContainerOptions>)).await
    }

    /// Ends a container and removes it with its volumes; one that is gone already is fine.
    ///
    /// # Errors
    /// [`DockerError::Refused`] where it is still there after 30 s.
    pub async fn remove(&self, container: &str) -> Result<(), DockerError> {
        let what = format!("remove container `{container}`");
        let mut last = String::new();
        for _ in 0..REMOVALS_MAX {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let removing = self.client().remove_container(container, Some(options));
            match tokio::time::timeout(CALL_WITHIN, removing).await {
                Ok(Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Ok(()),
                // Somebody else is at it.
                Ok(Err(Error::DockerResponseServerError { status_code: 409, message })) => last = message,
                Ok(Err(error)) => return Err(DockerError::Refused { what, reason: error.to_string() }),
                Err(_) => last = format!("no answer within {} s", CALL_WITHIN.as_secs()),
            }
            tokio::time::sleep(REMOVAL_PAUSE).await;
        }
        Err(DockerError::Refused { what, reason: last })
    }

    /// Makes sure that an image is there; pulls it if it is not.
    ///
    /// # Errors
    /// [`DockerError::NoImage`].
    pub async fn ensure_image(&self, image: &str, tell: &mut (dyn FnMut(&str) + Send)) -> Result<(), DockerError> {
        let missing = |reason: String| DockerError::NoImage { image: image.to_owned(), reason };
        match tokio::time::timeout(CALL_WITHIN, self.client().inspect_image(image)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => {}
            Ok(Err(error)) => return Err(missing(error.to_string())),
            Err(_) => return Err(missing(format!("no answer within {} s", CALL_WITHIN.as_secs()))),
        }
        tell(&format!("pulling image {image}"));
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let pulling = async {
            let mut progress = self.client().create_image(Some(options), None, None);
            while let Some(step) = progress.next().await {
                step?;
            }
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(PULL_WITHIN, pulling).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(missing(error.to_string())),
            Err(_) => Err(missing(format!("not pulled within {} s", PULL_WITHIN.as_secs()))),
        }
    }

    /// How many containers are on a network; `None` where there is no such network.
    ///
    /// # Errors
    /// [`DockerError::Refused`].
    pub async fn network(&self, name: &str) -> Result<Option<usize>, DockerError> {
        let what = format!("look at network `{name}`");
        let inspecting = async {
            match self.client().inspect_network(name, None::<InspectNetworkOptions>).await {
                Ok(network) => Ok(Some(network.containers.unwrap_or_default().len())),
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        asked(&what, inspecting).await
    }

    /// Removes a network that no container is on.
    ///
    /// # Errors
    /// [`DockerError::Refused`], also where a container is on it.
    pub async fn remove_network(&self, name: &str) -> Result<(), DockerError> {
        asked(&format!("remove network `{name}`"), self.client().remove_network(name)).await
    }
}

impl Container {
    fn of(listed: ContainerSummary) -> Self {
        let name = listed.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let addresses = listed.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let addresses = addresses.into_iter().filter_map(|(network, settings)| {
            let address = settings.ip_address.filter(|address| !address.is_empty())?;
            Some((network, address.parse().ok()?))
        });
        Self {
            id: listed.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            running: matches!(
                listed.state,
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
            ),
            labels: listed.labels.unwrap_or_default().into_iter().collect(),
            mounts: listed.mounts.unwrap_or_default().into_iter().filter_map(mount).collect(),
            ports: listed.ports.unwrap_or_default().iter().filter_map(port).collect(),
            addresses: addresses.collect(),
        }
    }
}

fn mount(point: MountPoint) -> Option<(String, String)> {
    Some((point.destination?, point.source?))
}

/// A port that is bound on every address of this machine is reached on its loopback as well.
fn port(port: &PortSummary) -> Option<(u16, SocketAddr)> {
    let outside = port.public_port?;
    let address = port.ip.as_deref().and_then(|ip| ip.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let address = if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address };
    Some((port.private_port, SocketAddr::new(address, outside)))
}

/// Asks the engine for one thing, with an end.
async fn asked<T>(what: &str, asking: impl Future<Output = Result<T, Error>>) -> Result<T, DockerError> {
    let refused = |reason: String| DockerError::Refused { what: what.to_owned(), reason };
    match tokio::time::timeout(CALL_WITHIN, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_) => Err(refused(format!("no answer within {} s", CALL_WITHIN.as_secs()))),
    }
}
