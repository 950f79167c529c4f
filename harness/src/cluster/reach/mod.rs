//! The way from this machine to a Service.
//!
//! Node ports of the embedded cluster and of kind lead to ports of this machine. On any other cluster
//! a way is chosen by what is there and answers as the pods do: load balancer, Ingress, node port, and else a
//! port-forward of ours to the Service's pods. What was chosen stays, as long as it is still there.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Cluster, ClusterError, reason};
use crate::event::ClusterKind;
use crate::kind;
use crate::sample::door::Door;
use crate::sample::http::{Reply, exchange};

mod backends;
mod candidates;
mod forward;
mod way;

pub use candidates::Via;
use candidates::candidates;
use forward::Forward;
pub use way::Way;

/// How long a way may take to answer for the first time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How long the API server may take to say what there is.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// A Service that this machine can reach.
#[derive(Clone)]
pub struct Reached {
    /// Where to connect.
    pub address: SocketAddr,
    /// What requests say they want, where an Ingress asks for it.
    pub host: Option<HeaderValue>,
    known: Arc<Known>,
}

/// What stays the same for all who reach it.
struct Known {
    service: String,
    /// How; absent where it is a port of this machine anyway.
    via: Option<Via>,
    told: AtomicBool,
    forward: Option<Forward>,
}

/// The Services that were reached, by namespace and name.
pub type Reaches = Arc<Mutex<HashMap<(String, String), Reached>>>;

impl Reached {
    /// A Service at an address that is known.
    #[must_use]
    pub fn at(service: &str, address: SocketAddr) -> Self {
        Self::new(service, address, None, None)
    }

    fn new(service: &str, address: SocketAddr, via: Option<Via>, forward: Option<Forward>) -> Self {
        let host = match &via {
            Some(Via::Ingress { header: Some(header), .. }) => HeaderValue::from_str(header).ok(),
            Some(Via::Ingress { host, .. }) => HeaderValue::from_str(host).ok(),
            Some(Via::LoadBalancer { .. } | Via::NodePort { .. } | Via::PortForward) | None => None,
        };
        let known = Known { service: service.to_owned(), via, told: AtomicBool::new(false), forward };
        Self { address, host, known: Arc::new(known) }
    }

    /// How it is reached, for the record; only the first who asks is told, and nobody where it is a
    /// port of this machine.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        let via = self.known.via.as_ref()?;
        let is_news = !self.known.told.swap(true, Ordering::Relaxed);
        is_news.then(|| format!("service {} is reached through {via}", self.known.service))
    }

    /// What requests say they want: the Ingress' host, or the address.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        host.map_or_else(|| self.address.to_string(), str::to_owned)
    }

    /// The way that may be to blame for what goes wrong.
    #[must_use]
    pub fn way(&self) -> Option<&Arc<Way>> {
        self.known.forward.as_ref().map(Forward::way)
    }
}

impl Cluster {
    /// The way from this machine to the Service. A port-forward lasts as long as the cluster is held.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] where there is no such Service, or the API does not say.
    pub async fn reach(&self, service: &str) -> Result<Reached, ClusterError> {
        let reached = match self.facts.kind {
            ClusterKind::Embedded => self.embedded(service).await,
            ClusterKind::Kind => self.on_kind(service).await,
            ClusterKind::Context => self.elsewhere(service).await,
        };
        reached.map_err(|reason| ClusterError::Unreachable {
            service: service.to_owned(),
            namespace: self.namespace.clone(),
            reason,
        })
    }

    /// The node port on this machine's loopback, where the embedded node listens.
    async fn embedded(&self, service: &str) -> Result<Reached, String> {
        let port = node_port(&self.service(service).await?)?;
        Ok(Reached::at(service, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// The port of this machine that kind maps to the node port, or a node's address; where there is
    /// neither, as on any other cluster.
    async fn on_kind(&self, service: &str) -> Result<Reached, String> {
        let found = self.service(service).await?;
        let mapped = match node_port(&found) {
            Ok(port) => kind::ports::address(&self.facts.name, port).await,
            Err(reason) => Err(reason),
        };
        match mapped {
            Ok(address) => Ok(Reached::at(service, address)),
            Err(_) => self.elsewhere(service).await,
        }
    }

    /// The first way that answers, of a cluster whose node ports are not those of this machine.
    async fn elsewhere(&self, service: &str) -> Result<Reached, String> {
        let key = (self.namespace.clone(), service.to_owned());
        // Held to the end, so that nobody forwards a second time meanwhile.
        let mut reaches = self.reaches.lock().await;
        let found = self.service(service).await?;
        let ingresses: Vec<Ingress> = listed(Api::namespaced(self.client.clone(), &self.namespace)).await?;
        let nodes: Vec<Node> = listed(Api::all(self.client.clone())).await?;
        let ways = candidates(service, &found, &ingresses, &nodes);
        let chosen = reaches.get(&key).filter(|chosen| chosen.known.via.as_ref().is_some_and(|via| ways.contains(via)));
        if let Some(chosen) = chosen {
            return Ok(chosen.clone());
        }
        let forward = Forward::start(self, service).await?;
        let forwarded = Reached::new(service, forward.address(), Some(Via::PortForward), Some(forward));
        let reached = first_that_leads_there(service, &ways, &forwarded).await.unwrap_or(forwarded);
        reaches.insert(key, reached.clone());
        Ok(reached)
    }

    async fn service(&self, service: &str) -> Result<Service, String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = timeout(TOLD_WITHIN, services.get(service)).await.map_err(|_| silent())?;
        found.map_err(|error| reason(&error))
    }
}

fn node_port(service: &Service) -> Result<u16, String> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let port = ports.iter().find_map(|port| port.node_port).and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| "it has no node port; give it `type: NodePort`".to_owned())
}

/// What there is. Where this may not be asked, or there is no such kind, there is nothing.
async fn listed<K>(api: Api<K>) -> Result<Vec<K>, String>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    match timeout(TOLD_WITHIN, api.list(&ListParams::default())).await.map_err(|_| silent())? {
        Ok(found) => Ok(found.items),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(reason(&error)),
    }
}

fn silent() -> String {
    format!("no answer of the API server within {} s", TOLD_WITHIN.as_secs())
}

/// The first way that gives the answer which the Service's own pods give: behind an address from the
/// API may be anybody, seen from this machine. Where the pods give none, nobody can tell.
async fn first_that_leads_there(service: &str, ways: &[Via], forwarded: &Reached) -> Option<Reached> {
    if ways.len() == 1 {
        return None;
    }
    let own = answer(forwarded).await?;
    for via in ways {
        let Some((host, port)) = via.place() else { continue };
        let Ok(Ok(found)) = timeout(ANSWERS_WITHIN, tokio::net::lookup_host((host, port))).await else { continue };
        for address in found {
            let reached = Reached::new(service, address, Some(via.clone()), None);
            if answer(&reached).await.is_some_and(|reply| is_same(&own, &reply)) {
                return Some(reached);
            }
        }
    }
    None
}

/// What is said to the simplest of questions.
async fn answer(reached: &Reached) -> Option<Reply> {
    let asked = timeout(ANSWERS_WITHIN, exchange(&Door::to(reached), "/", None)).await;
    asked.ok()?.ok().map(|(reply, _)| reply)
}

/// Whether two answers are of one service. A page may change from one moment to the next, a refusal
/// does not.
fn is_same(own: &Reply, other: &Reply) -> bool {
    let alike = (own.status, &own.kind) == (other.status, &other.kind);
    alike && (own.status.is_success() || own.body == other.body)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn an_answer_of_somebody_else_is_told_from_the_services_own() {
        let reply = |status: u16, kind: &'static str, body: &'static str| Reply {
            status: StatusCode::from_u16(status).unwrap(),
            kind: Some(HeaderValue::from_static(kind)),
            body: body.into(),
        };
        let check = |own: Reply, other: Reply, expect: bool| assert_eq!(is_same(&own, &other), expect);
        check(reply(200, "application/json", "{1}"), reply(200, "application/json", "{2}"), true);
        check(reply(200, "application/json", "{1}"), reply(200, "text/html", "{1}"), false);
        check(reply(404, "text/plain", ""), reply(404, "text/plain", ""), true);
        check(reply(404, "text/plain", ""), reply(404, "text/plain", "default backend"), false);
        check(reply(200, "text/html", ""), reply(308, "text/html", ""), false);
    }
}
