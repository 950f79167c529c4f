//! What stands between clients and the Service: nothing, or the fault proxy, which may play
//! the load balancer of an Ingress.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::event::What;
use crate::proxy::balancer::IdleTimeout;
use crate::proxy::remote::RemoteError;
use crate::proxy::{Options, Proxy, RENEW_EVERY, Remote};
use crate::scenario::plan::{Plan, ProxyPlan, Through};
use crate::system::{Observation, Observations, SystemError};

/// Pause after a watch that failed: it is weather, however long it lasts.
const PAUSE: Duration = Duration::from_millis(250);

/// What stands between clients and the Service.
pub(super) enum Between {
    /// Nothing of ours.
    Nothing { service: SocketAddr },
    /// The fault proxy.
    Proxy(Box<Proxied>),
}

/// The fault proxy, and the load balancer that it plays.
pub(super) struct Proxied {
    proxy: Proxy,
    balancer: Option<Balancer>,
}

/// A load balancer as its Ingress sets it.
struct Balancer {
    cluster: Cluster,
    ingress: String,
    time_scale: u32,
    timeout: IdleTimeout,
}

impl Between {
    /// Puts there what the plan says, and tells the record how a load balancer is set.
    pub(super) async fn stand(
        plan: &Plan,
        cluster: &Cluster,
        clock: RunClock,
        seed: u64,
        service: SocketAddr,
        into: &Observations,
    ) -> Result<Self, SystemError> {
        let Through::Proxy(through) = &plan.through else { return Ok(Self::Nothing { service }) };
        let balancer = Balancer::read(through, cluster).await?;
        let idle_timeout = balancer.as_ref().map(|balancer| balancer.timeout.acts());
        let proxy = Proxy::start(Options { upstream: service, clock, seed, idle_timeout })?;
        if let Some(balancer) = &balancer {
            balancer.tell(into).await;
        }
        Ok(Self::Proxy(Box::new(Proxied { proxy, balancer })))
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Nothing { service } => *service,
            Self::Proxy(proxied) => proxied.proxy.address(),
        }
    }

    /// The proxy's API, for faults.
    pub(super) fn remote(&self) -> Option<Remote> {
        match self {
            Self::Nothing { .. } => None,
            Self::Proxy(proxied) => Some(proxied.proxy.remote().clone()),
        }
    }

    /// Renews the lease of what a fault has set, and follows the Ingress. Comes back only with
    /// what went wrong, so it is to be dropped.
    pub(super) async fn tend(&mut self, into: &Observations) -> Result<(), SystemError> {
        let Self::Proxy(proxied) = self else { return std::future::pending().await };
        let Proxied { proxy, balancer } = &mut **proxied;
        let remote = proxy.remote().clone();
        loop {
            let changed = tokio::select! {
                failed = renew(&remote) => return failed,
                changed = follow(balancer.as_ref()) => changed,
                ended = proxy.ended() => {
                    ended?;
                    return Err(SystemError { message: "the fault proxy ended".to_owned(), transient: false });
                }
            };
            if let Some(balancer) = balancer {
                proxy.set_idle_timeout(Some(changed.acts()));
                balancer.timeout = changed;
                balancer.tell(into).await;
            }
        }
    }

    /// Takes it away, and waits until it is gone.
    pub(super) async fn end(self) -> Result<(), SystemError> {
        match self {
            Self::Nothing { .. } => Ok(()),
            Self::Proxy(proxied) => proxied.proxy.end().await,
        }
    }
}

/// Renews the lease until that fails.
async fn renew(remote: &Remote) -> Result<(), SystemError> {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match remote.renew().await {
            // A proxy that does not answer now may do so next time; if not, the lease runs out.
            Ok(()) | Err(RemoteError::Silent { .. }) => {}
            Err(error @ (RemoteError::Refused { .. } | RemoteError::LeaseLost)) => {
                return Err(SystemError { message: error.to_string(), transient: false });
            }
        }
    }
}

/// Waits until the Ingress says another timeout than it did.
async fn follow(balancer: Option<&Balancer>) -> IdleTimeout {
    match balancer {
        Some(balancer) => balancer.changed().await,
        None => std::future::pending().await,
    }
}

impl Balancer {
    /// Reads the Ingress that the plan names.
    async fn read(through: &ProxyPlan, cluster: &Cluster) -> Result<Option<Self>, SystemError> {
        let Some(ingress) = through.ingress.clone() else { return Ok(None) };
        let time_scale = through.time_scale;
        let found = api(cluster).get(&ingress).await;
        let found = found.map_err(|error| SystemError::from_api(&format!("read ingress `{ingress}`"), &error))?;
        let timeout = IdleTimeout::read(found.metadata.annotations.as_ref(), time_scale);
        Ok(Some(Self { cluster: cluster.clone(), ingress, time_scale, timeout }))
    }

    /// Waits until the Ingress says another timeout. One that is deleted says nothing, and
    /// there nginx has its default.
    async fn changed(&self) -> IdleTimeout {
        let mut events = watcher::watcher(api(&self.cluster), watcher::Config::default()).boxed();
        let is_ours = |ingress: &Ingress| ingress.metadata.name.as_ref() == Some(&self.ingress);
        let mut seen = None;
        loop {
            match events.next().await {
                // Until the listing is whole, it does not say that an object is absent.
                Some(Ok(Event::Init)) => {
                    seen = None;
                    continue;
                }
                Some(Ok(Event::InitApply(ingress))) => {
                    if is_ours(&ingress) {
                        seen = ingress.metadata.annotations;
                    }
                    continue;
                }
                Some(Ok(Event::InitDone)) => {}
                Some(Ok(Event::Apply(ingress))) if is_ours(&ingress) => seen = ingress.metadata.annotations,
                Some(Ok(Event::Delete(ingress))) if is_ours(&ingress) => seen = None,
                Some(Ok(Event::Apply(_) | Event::Delete(_))) => continue,
                Some(Err(_)) | None => {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            let timeout = IdleTimeout::read(seen.as_ref(), self.time_scale);
            if timeout != self.timeout {
                return timeout;
            }
        }
    }

    async fn tell(&self, into: &Observations) {
        let text = self.timeout.told(&self.ingress);
        // The engine listens as long as it observes.
        let _ = into.send(Observation::Record(What::Note { text })).await;
    }
}

fn api(cluster: &Cluster) -> Api<Ingress> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}
