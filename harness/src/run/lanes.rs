//! Lanes: where scenarios run side by side. The first is the system's own namespace; the others
//! are namespaces of the run with a copy of the release in each, and go when it ends.

use std::thread::available_parallelism;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::place::Place;
use super::recorder::{RecordError, Shared};
use super::release::Release;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::event::{LaneFacts, StageResult, What};
use crate::heal::namespaces;
use crate::pipeline::{self, BuiltRelease, DeployOptions};
use crate::scenario::plan::Plan;

/// Lanes a processor where nobody says how many: most of a scenario is waiting for the kubelet.
const A_PROCESSOR: usize = 2;
/// The most lanes where nobody says how many.
const DEFAULT_MAX: usize = 8;

/// So many lanes cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rehearse in {lanes} lanes {place}: {reason}")]
pub struct NoLanes {
    lanes: u32,
    place: String,
    reason: &'static str,
}

/// How many lanes a run has: as many as were asked for, else as fit this machine on an embedded
/// cluster and one elsewhere; never more
/// than there are scenarios, because two of one name cannot run side by side.
///
/// # Errors
/// [`NoLanes`] where several are asked for and the cluster is not ours, or nothing is released
/// that could be copied.
pub(super) fn count(asked: Option<u32>, place: &Place, releases: bool, plans: &[Plan]) -> Result<u32, NoLanes> {
    let refused = match place {
        Place::Context { context, .. } => {
            let reason = "parallel copies of the system stand only on clusters that this program made";
            Some((format!("on context `{context}`"), reason))
        }
        Place::Embedded { .. } | Place::Kind { .. } if !releases => {
            Some(("without a release".to_owned(), "what is installed stands once, and lanes are copies of a release"))
        }
        Place::Embedded { .. } | Place::Kind { .. } => None,
    };
    let most = match (asked, refused) {
        (None | Some(1), Some(_)) => 1,
        // What is measured there is to be the system, not how many copies the machine can carry.
        (None, None) if matches!(place, Place::Kind { .. }) => 1,
        (Some(lanes), Some((place, reason))) => return Err(NoLanes { lanes, place, reason }),
        (Some(lanes), None) => lanes as usize,
        (None, None) => (available_parallelism().map_or(1, std::num::NonZero::get) * A_PROCESSOR).min(DEFAULT_MAX),
    };
    let scenarios: std::collections::BTreeSet<_> = plans.iter().map(|plan| &plan.id).collect();
    Ok(u32::try_from(most.min(scenarios.len()).max(1)).unwrap_or(u32::MAX))
}

/// A lane, free for a scenario.
#[derive(Clone)]
pub(super) struct Lane {
    /// From 1.
    pub(super) number: u32,
    /// The cluster, in the lane's namespace.
    pub(super) cluster: Cluster,
}

impl Lane {
    /// All lanes of a run; nothing is made.
    pub(super) fn all(home: &Cluster, lanes: u32) -> Vec<Self> {
        let lane = |number| {
            let cluster = match number {
                1 => home.clone(),
                _ => home.lane(&format!("{}-lane-{number}", home.home)),
            };
            Self { number, cluster }
        };
        (1..=lanes).map(lane).collect()
    }

    /// For the record.
    pub(super) fn facts(&self) -> LaneFacts {
        LaneFacts { lane: self.number, namespace: self.cluster.namespace.clone() }
    }
}

/// What the copies are made of.
pub(super) struct Copies<'a> {
    pub(super) config: &'a Config,
    pub(super) release: &'a Release,
    pub(super) built: &'a BuiltRelease,
    pub(super) run: &'a str,
}

impl Copies<'_> {
    /// Makes the namespaces of all lanes but the first, and installs the release in them, side
    /// by side; `false` where one of them does not stand, which the events say.
    ///
    /// # Errors
    /// [`RecordError`] where it could not be recorded.
    pub(super) async fn stand(
        &self,
        lanes: &[Lane],
        recorder: &Shared,
        cancel: &CancellationToken,
    ) -> Result<bool, RecordError> {
        let copies = lanes.iter().filter(|lane| lane.cluster.is_lane());
        let standing = join_all(copies.map(|lane| self.install(lane, recorder, cancel))).await;
        standing.into_iter().try_fold(true, |all, stands| Ok(all && stands?))
    }

    async fn install(&self, lane: &Lane, recorder: &Shared, cancel: &CancellationToken) -> Result<bool, RecordError> {
        let stage = format!("install in lane {}", lane.number);
        let namespace = &lane.cluster.namespace;
        recorder.lock().made(namespace)?;
        if let Err(error) = namespaces::make(&lane.cluster, namespace, self.run, lane.number).await {
            let mut recorder = recorder.lock();
            recorder.emit(What::StageStarted { stage: stage.clone() })?;
            let result = StageResult::Failed { error: error.to_string() };
            recorder.emit(What::StageFinished { stage, result, facts: Vec::new() })?;
            return Ok(false);
        }
        let clock = recorder.lock().clock;
        let options = DeployOptions { stage: &stage, profile: &self.release.profile, run: self.run, clock };
        let mut unrecorded = None;
        let mut sink = |what: What| {
            // Where nothing ran before, a rollout has nothing to lose, and several at a time are
            // not told apart.
            let is_told = !matches!(what, What::Rollout(_) | What::PodSeen(_) | What::PodGone { .. });
            if is_told && unrecorded.is_none() {
                unrecorded = recorder.emit(what).err();
            }
        };
        let installed = pipeline::deploy(self.config, &lane.cluster, self.built, options, cancel, &mut sink).await;
        unrecorded.map_or(Ok(installed.is_ok()), Err)
    }
}

/// Removes the namespaces of all lanes but the first. Those of a cluster that ends with the run
/// go with it.
///
/// # Errors
/// [`RunError`] where it could not be recorded; what could not be removed the events say.
pub(super) async fn remove(lanes: &[Lane], run: &str, ends: bool, recorder: &Shared) -> Result<(), RunError> {
    let removing = lanes.iter().filter(|lane| lane.cluster.is_lane()).map(async |lane| {
        let removed = match ends {
            true => Ok(true),
            false => namespaces::remove(&lane.cluster, &lane.cluster.namespace, Some(run)).await,
        };
        (&lane.cluster.namespace, removed)
    });
    for (namespace, removed) in join_all(removing).await {
        match removed {
            Ok(_) => recorder.lock().removed(namespace)?,
            Err(error) => recorder.emit(What::HealFailed { error: error.to_string() })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_plan;
    use crate::scenario::plan::ScenarioId;

    #[test]
    fn lanes_are_for_clusters_of_ours_and_no_more_than_there_are_scenarios() {
        let namespace = "shop".to_owned();
        let embedded = Place::Embedded { name: "a".to_owned(), images: "images".into(), namespace: namespace.clone() };
        let staging = Place::Context { kubeconfig: None, context: "staging".to_owned(), namespace };
        let kind = {
            let options = crate::kind::Options { name: "a".to_owned(), node_image: None, registry_image: None };
            Place::Kind { options, namespace: "shop".to_owned() }
        };
        let plans = |ids: &[&str]| -> Vec<Plan> {
            ids.iter().map(|id| Plan { id: ScenarioId((*id).to_owned()), ..test_plan(0) }).collect()
        };
        let four = plans(&["a", "b", "c", "d"]);
        let check = |asked, place: &Place, releases, plans: &[Plan], expect: Result<u32, &str>| {
            let counted = count(asked, place, releases, plans).map_err(|error| error.to_string());
            assert_eq!(counted, expect.map_err(str::to_owned));
        };
        check(Some(3), &embedded, true, &four, Ok(3));
        check(Some(9), &embedded, true, &four, Ok(4));
        check(Some(9), &embedded, true, &plans(&["a", "a", "b"]), Ok(2));
        check(Some(2), &embedded, true, &[], Ok(1));
        check(None, &embedded, true, &plans(&["a"]), Ok(1));
        check(None, &embedded, false, &four, Ok(1));
        check(Some(3), &kind, true, &four, Ok(3));
        check(None, &kind, true, &four, Ok(1));
        check(Some(1), &staging, true, &four, Ok(1));
        check(None, &staging, true, &four, Ok(1));
        check(
            Some(2),
            &staging,
            true,
            &four,
            Err("rehearse in 2 lanes on context `staging`: parallel copies of the system stand only on clusters \
                 that this program made"),
        );
        check(
            Some(2),
            &embedded,
            false,
            &four,
            Err("rehearse in 2 lanes without a release: what is installed stands once, and lanes are copies of a \
                 release"),
        );
    }
}
