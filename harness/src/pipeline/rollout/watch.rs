//! Follows rollouts until all are done, or one is bad.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::time::MissedTickBehavior;

use super::ages::Ages;
use super::mirror::{Baseline, Change, Mirror};
use super::view::view;
use super::weather::Weather;
use super::{Progress, judge};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::config::RolloutConfig;
use crate::event::Offset;
use crate::scenario::plan::WorkloadRef;

/// How often ages are looked at while no event comes.
const LOOK: Duration = Duration::from_millis(250);
/// How long the first listing of everything may take.
const LIST_WITHIN: Duration = Duration::from_secs(60);

/// A rollout is bad, or cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RolloutError {
    /// It will not become good.
    #[error("{workload}: {reason}")]
    Bad {
        /// Which workload.
        workload: WorkloadRef,
        /// The decisive condition.
        reason: String,
    },
    /// The API server was silent or refused for a minute.
    #[error("follow the rollout: {reason}")]
    Blind {
        /// What was last seen.
        reason: String,
    },
}

/// How long each rollout took.
pub(crate) type Finished = BTreeMap<WorkloadRef, Duration>;

/// Follows the rollouts of these workloads until all are done, or one is bad.
/// Cancelled by being dropped.
///
/// # Errors
/// [`RolloutError`]; every wait in it ends by the progress deadlines or a minute of weather.
pub(crate) async fn follow(
    cluster: &Cluster,
    workloads: &[WorkloadRef],
    before: &Baseline,
    limits: &RolloutConfig,
) -> Result<Finished, RolloutError> {
    let mut changes = watches(cluster);
    let mut follower = Follower::new(workloads, before.clone(), *limits);
    let clock = RunClock::start();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut weather = Weather::default();
    let mut last_error = None;
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some((kind, Ok(change))) => {
                    weather.clear(kind);
                    follower.mirror.apply(change);
                }
                Some((kind, Err(error))) => {
                    let reason = format!("watch {kind}s: {error}");
                    if weather.error(kind, clock.now()) {
                        return Err(RolloutError::Blind { reason });
                    }
                    last_error = Some(reason);
                }
                None => return Err(RolloutError::Blind { reason: "the watches ended".to_owned() }),
            },
            _ = looks.tick() => {}
        }
        if !follower.mirror.is_complete() && clock.now().since(Offset::ZERO) >= LIST_WITHIN {
            let reason = last_error.unwrap_or_else(|| "no complete listing".to_owned());
            return Err(RolloutError::Blind { reason: format!("{reason}, for {} s", LIST_WITHIN.as_secs()) });
        }
        if let Some(ended) = follower.look(clock.now()) {
            return ended;
        }
    }
}

/// The pure half of following: what is known, and what follows from it.
struct Follower {
    mirror: Mirror,
    before: Baseline,
    limits: RolloutConfig,
    unfinished: BTreeMap<WorkloadRef, Ages>,
    finished: Finished,
}

impl Follower {
    fn new(workloads: &[WorkloadRef], before: Baseline, limits: RolloutConfig) -> Self {
        let unfinished = workloads.iter().map(|workload| (workload.clone(), Ages::default())).collect();
        Self { mirror: Mirror::default(), before, limits, unfinished, finished: BTreeMap::new() }
    }

    /// Looks at every rollout; says how it ended once that is known.
    fn look(&mut self, now: Offset) -> Option<Result<Finished, RolloutError>> {
        if !self.mirror.is_complete() {
            return None;
        }
        for (workload, ages) in &mut self.unfinished {
            let Some(mut view) = view(&self.mirror, workload, &self.before) else {
                let reason = "it was deleted while it was rolled out".to_owned();
                return Some(Err(RolloutError::Bad { workload: workload.clone(), reason }));
            };
            let unchanged = ages.take(&mut view, now);
            match judge(&view, unchanged, &self.limits) {
                // It stays under watch: a later crash of it may still spoil the release.
                Progress::Done => {
                    self.finished.entry(workload.clone()).or_insert(now.since(Offset::ZERO));
                }
                Progress::Waiting { .. } => {
                    self.finished.remove(workload);
                }
                Progress::Bad { reason } => {
                    return Some(Err(RolloutError::Bad { workload: workload.clone(), reason }));
                }
            }
        }
        (self.finished.len() == self.unfinished.len()).then(|| Ok(std::mem::take(&mut self.finished)))
    }
}

type Changes = SelectAll<BoxStream<'static, (&'static str, Result<Change, watcher::Error>)>>;

fn watches(cluster: &Cluster) -> Changes {
    let mut all = SelectAll::new();
    all.push(watch::<Deployment>(cluster, "Deployment", Change::Deployment));
    all.push(watch::<ReplicaSet>(cluster, "ReplicaSet", Change::ReplicaSet));
    all.push(watch::<StatefulSet>(cluster, "StatefulSet", Change::StatefulSet));
    all.push(watch::<Pod>(cluster, "Pod", Change::Pod));
    all
}

fn watch<K>(
    cluster: &Cluster,
    kind: &'static str,
    change: fn(watcher::Event<K>) -> Change,
) -> BoxStream<'static, (&'static str, Result<Change, watcher::Error>)>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api = Api::<K>::namespaced(cluster.client.clone(), &cluster.namespace);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    events.map(move |event| (kind, event.map(change))).boxed()
}

#[cfg(test)]
mod tests;
