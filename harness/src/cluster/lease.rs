//! A lease on a namespace of somebody else's cluster, so that two machines never rehearse in it
//! at once.
//!
//! On clusters that we made, a file lock of this machine does that. Elsewhere a
//! `coordination.k8s.io` Lease is held for the run and renewed. Whoever finds it held watches
//! whether it is renewed, so that no clock is held against another machine's: a lease that is
//! not, for as long as it says it lasts, is left over, and is taken.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Cluster, reason};
pub use crate::access::LEASE;
use crate::clock::{RunClock, wall_clock};
use crate::event::{ClusterKind, Offset};
use crate::heal::receipts::FIELD_MANAGER;

/// How often somebody else may come in between before taking it is given up.
const TRIES_MAX: u32 = 5;
/// A lease that says it lasts longer is not waited for to its end.
const LASTS_MAX: Duration = Duration::from_secs(60);
/// How long the API server may take to answer once.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The times of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long it lasts after it was renewed.
    pub lasts: Duration,
    /// Time between two renewals, and between two looks at one that is held.
    pub renewed_every: Duration,
    /// Not renewed for so long it counts as lost: before it has run out, so that what was broken
    /// is healed before anybody else begins.
    pub lost_after: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lasts: seconds(30), renewed_every: seconds(3), lost_after: seconds(15) }
    }
}

/// The lease was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds it.
    #[error("take namespace `{namespace}` on `{cluster}`: run {holder} is at work there (lease `{LEASE}`)")]
    Taken {
        /// The namespace.
        namespace: String,
        /// The cluster.
        cluster: String,
        /// Who: the run, its process and its machine.
        holder: String,
    },
    /// The API refuses.
    #[error("take lease `{LEASE}` in namespace `{namespace}`: {reason}")]
    Refused {
        /// The namespace.
        namespace: String,
        /// What was last seen.
        reason: String,
    },
}

/// A lease that is held and renewed until this is released. A run on a cluster of ours holds none.
pub struct Held {
    api: Api<Lease>,
    holder: Arc<str>,
    lost: watch::Receiver<Option<String>>,
    renewing: JoinSet<()>,
}

/// A lease as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    holder: Option<String>,
    version: Option<String>,
    lasts: Duration,
}

impl Seen {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = Duration::from_secs(seconds.unwrap_or(0)).min(LASTS_MAX);
        Self { holder, version: lease.metadata.resource_version.clone(), lasts }
    }
}

/// Takes the lease of the run's namespace, where the cluster is not ours; nothing elsewhere.
///
/// # Errors
/// [`LeaseError`]; within some seconds where another run holds it, and within a minute where a dead
/// run has left it.
pub async fn take(cluster: &Cluster, run: &str, terms: Terms) -> Result<Option<Held>, LeaseError> {
    match cluster.facts.kind {
        ClusterKind::Embedded | ClusterKind::Kind => return Ok(None),
        ClusterKind::Context => {}
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder: Arc<str> = format!("{run} (process {} on {machine})", std::process::id()).into();
    let namespace = cluster.namespace.clone();
    let version = match acquire(&api, &holder, terms).await {
        Ok(version) => version,
        Err(NotHad::Taken(holder)) => {
            return Err(LeaseError::Taken { namespace, cluster: cluster.facts.name.clone(), holder });
        }
        Err(NotHad::Refused(reason)) => return Err(LeaseError::Refused { namespace, reason }),
    };
    let (tell, lost) = watch::channel(None);
    let mut renewing = JoinSet::new();
    let renewal = Renewal { api: api.clone(), holder: Arc::clone(&holder), version, terms };
    renewing.spawn(async move {
        let why = renewal.until_lost().await;
        // Whoever held it may be gone.
        let _ = tell.send(Some(why));
    });
    Ok(Some(Held { api, holder, lost, renewing }))
}

impl Held {
    /// Waits until it is lost; returns why. Cancel-safe.
    pub async fn lost(&mut self) -> String {
        let lost = self.lost.wait_for(Option::is_some).await;
        lost.ok().and_then(|why| why.clone()).unwrap_or_else(|| "its renewal crashed".to_owned())
    }

    /// Gives it back, unless somebody else has it by now.
    pub async fn release(mut self) {
        self.renewing.shutdown().await;
        let Ok(Ok(Some(lease))) = timeout(ANSWER_WITHIN, self.api.get_opt(LEASE)).await else { return };
        if Seen::of(&lease).holder.as_deref() != Some(&*self.holder) {
            return;
        }
        let preconditions =
            Preconditions { resource_version: lease.metadata.resource_version, uid: lease.metadata.uid };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        // One that stays runs out.
        let _ = timeout(ANSWER_WITHIN, self.api.delete(LEASE, &parameters)).await;
    }
}

/// Why it was not to be had.
enum NotHad {
    Taken(String),
    Refused(String),
}

/// Takes it; returns its version.
async fn acquire(api: &Api<Lease>, holder: &str, terms: Terms) -> Result<Option<String>, NotHad> {
    for _ in 0..TRIES_MAX {
        let found = answered(api.get_opt(LEASE)).await.map_err(|error| NotHad::Refused(error.reason))?;
        let taken = match found {
            None => {
                let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(spec(holder, terms)) };
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                answered(api.create(&parameters, &lease)).await
            }
            Some(lease) => {
                let seen = Seen::of(&lease);
                if let Some(other) = seen.holder.clone()
                    && !runs_out(api, &seen, terms).await?
                {
                    return Err(NotHad::Taken(other));
                }
                patch(api, seen.version.as_deref(), &spec(holder, terms)).await
            }
        };
        match taken {
            Ok(lease) => return Ok(lease.metadata.resource_version),
            // Somebody came in between: what is there now is looked at again.
            Err(Failed { code: Some(404 | 409), .. }) => {}
            Err(error) => return Err(NotHad::Refused(error.reason)),
        }
    }
    Err(NotHad::Refused(format!("others came in between {TRIES_MAX} times")))
}

/// Watches one that is held; whether it was let go, or not renewed for as long as it lasts.
async fn runs_out(api: &Api<Lease>, seen: &Seen, terms: Terms) -> Result<bool, NotHad> {
    let clock = RunClock::start();
    while clock.now().since(Offset::ZERO) < seen.lasts {
        sleep(terms.renewed_every.min(seen.lasts)).await;
        // Without an answer nobody knows whether it was renewed.
        let now = answered(api.get_opt(LEASE)).await.map_err(|error| NotHad::Refused(error.reason))?;
        match now.as_ref().map(Seen::of) {
            None | Some(Seen { holder: None, .. }) => return Ok(true),
            Some(now) if now.version != seen.version => return Ok(false),
            Some(_) => {}
        }
    }
    Ok(true)
}

fn spec(holder: &str, terms: Terms) -> LeaseSpec {
    let now = MicroTime(wall_clock());
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        // A part of a second counts as one: whoever waits, waits long enough.
        lease_duration_seconds: i32::try_from(terms.lasts.as_millis().div_ceil(1000)).ok(),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        ..LeaseSpec::default()
    }
}

/// Renews the lease.
struct Renewal {
    api: Api<Lease>,
    holder: Arc<str>,
    version: Option<String>,
    terms: Terms,
}

impl Renewal {
    /// Until that fails for good; returns why.
    async fn until_lost(mut self) -> String {
        let clock = RunClock::start();
        let mut renewed = clock.now();
        let mut last = "no answer".to_owned();
        loop {
            sleep(self.terms.renewed_every).await;
            let sent = clock.now();
            match timeout(self.terms.renewed_every, self.renew()).await {
                Ok(Ok(())) => {
                    renewed = sent;
                    continue;
                }
                Ok(Err(Some(why))) => return why,
                Ok(Err(None)) => {}
                Err(_) => last = format!("no answer within {} s", self.terms.renewed_every.as_secs()),
            }
            if clock.now().since(renewed) >= self.terms.lost_after {
                return format!("it could not be renewed for {} s; last seen: {last}", self.terms.lost_after.as_secs());
            }
        }
    }

    /// Once. What weather took is tried again; an error says that it is lost, and why.
    async fn renew(&mut self) -> Result<(), Option<String>> {
        let now = json!({ "spec": { "renewTime": MicroTime(wall_clock()) } });
        match merge(&self.api, self.version.as_deref(), now).await {
            Ok(lease) => {
                self.version = lease.metadata.resource_version;
                Ok(())
            }
            Err(Failed { code: Some(404), .. }) => Err(Some("somebody deleted it".to_owned())),
            Err(Failed { code: Some(409), .. }) => self.look().await,
            Err(Failed { code: Some(403), reason }) => Err(Some(reason)),
            Err(_) => Err(None),
        }
    }

    /// Whose it is, after somebody changed it.
    async fn look(&mut self) -> Result<(), Option<String>> {
        let lease = answered(self.api.get(LEASE)).await.map_err(|_| None)?;
        let seen = Seen::of(&lease);
        match seen.holder {
            Some(holder) if *holder == *self.holder => {
                self.version = seen.version;
                Err(None)
            }
            Some(other) => Err(Some(format!("run {other} took it"))),
            None => Err(Some("somebody took our name out of it".to_owned())),
        }
    }
}

/// A request that did not succeed.
struct Failed {
    code: Option<u16>,
    reason: String,
}

async fn patch(api: &Api<Lease>, version: Option<&str>, spec: &LeaseSpec) -> Result<Lease, Failed> {
    merge(api, version, json!({ "spec": spec })).await
}

/// A merge patch of what was seen in this version; refused with 409 where it is another one by now.
async fn merge(api: &Api<Lease>, version: Option<&str>, mut change: serde_json::Value) -> Result<Lease, Failed> {
    change["metadata"] = json!({ "resourceVersion": version });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    answered(api.patch(LEASE, &parameters, &Patch::Merge(change))).await
}

async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let code = match &error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            };
            Err(Failed { code, reason: reason(&error) })
        }
        Err(_) => Err(Failed { code: None, reason: format!("no answer within {} s", ANSWER_WITHIN.as_secs()) }),
    }
}
