//! The release half of a run: build, push, roll out, smoke, and the way back and forth again.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::checklist::{self, ChecklistError, Said};
use super::recorder::{RecordError, Shared};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::event::What;
use crate::pipeline::{
    self, BuildError, BuiltRelease, DeployError, DeployOptions, Destination, PushError, RollbackError, SmokeError,
    Supply, Variant,
};

/// What is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What is done.
    pub goal: Goal,
    /// The profile of `gate.toml` that overlays the manifests.
    pub profile: String,
    /// A deliberately bad build of `gate.toml`, if any.
    pub flaw: Option<String>,
    /// The OCI layout that is pushed to for an embedded cluster.
    pub images: PathBuf,
    /// Whether the checklist is gone through before the release is rolled out, and what a person
    /// says about it.
    pub checklist: Option<Said>,
}

/// What is done about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// What is installed is replaced by the new release, on an empty cluster after installing
    /// the previous one.
    Gate {
        /// Whether the new release is then rolled back and rolled out once more. Rolling out
        /// shows that the *previous* release lets its users go gently; that the new one does is
        /// shown by leaving it.
        way_back: bool,
    },
    /// A release is built, pushed and rolled out.
    Deploy {
        /// Whether it is the previous one.
        previous: bool,
    },
    /// An earlier revision is returned to.
    Rollback {
        /// Which, where it is not the one before.
        to_revision: Option<i64>,
    },
}

impl Goal {
    /// Whether a cluster that does not stand is started for it: what is released on one that
    /// ends with the command is of no use, except to a gate.
    #[must_use]
    pub const fn may_start_a_cluster(self) -> bool {
        matches!(self, Self::Gate { .. })
    }
}

/// The stage that a release failed in, and why.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is the error of its stage")]
pub enum StageFailed {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Checklist(#[from] ChecklistError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    #[error(transparent)]
    Smoke(#[from] SmokeError),
}

impl Release {
    /// Carries it out, and returns the release that scenarios are rehearsed against, where it is one.
    /// The stage that failed or was cancelled stands in the events as well.
    ///
    /// # Errors
    /// [`RunError`] where it could not be recorded.
    pub(super) async fn carry_out(
        &self,
        config: &Config,
        cluster: &Cluster,
        run: &str,
        recorder: &Shared,
        cancel: &CancellationToken,
    ) -> Result<Result<Option<BuiltRelease>, StageFailed>, RunError> {
        let clock = recorder.lock().clock;
        let mut unrecorded = None;
        let mut sink = |what: What| {
            if unrecorded.is_none() {
                unrecorded = recorder.emit(what).err();
            }
        };
        let mut stages = Stages { release: self, config, cluster, run, clock, cancel, sink: &mut sink };
        let released = match self.goal {
            Goal::Gate { way_back } => stages.gate(way_back).await.map(Some),
            Goal::Deploy { previous } => stages.deploy(previous).await.map(|()| None),
            Goal::Rollback { to_revision } => stages.rollback(to_revision).await.map(|()| None),
        };
        match unrecorded {
            Some(error) => Err(RecordError::into(error)),
            None => Ok(released),
        }
    }

    /// The release that is meant.
    fn variant(&self) -> Variant {
        self.flaw.as_deref().map_or_else(Variant::current, Variant::flawed)
    }
}

struct Stages<'a> {
    release: &'a Release,
    config: &'a Config,
    cluster: &'a Cluster,
    run: &'a str,
    clock: RunClock,
    cancel: &'a CancellationToken,
    sink: pipeline::Sink<'a>,
}

impl Stages<'_> {
    async fn gate(&mut self, way_back: bool) -> Result<BuiltRelease, StageFailed> {
        let [previous, new] = self.built([Variant::previous(), self.release.variant()]).await?;
        if is_empty(self.cluster).await {
            self.roll_out("install previous release", &previous).await?;
        }
        self.checklist().await?;
        self.roll_out("deploy", &new).await?;
        pipeline::smoke(self.config, self.cluster, &new.version, false, self.cancel, self.sink).await?;
        if way_back {
            self.rollback(None).await?;
            self.roll_out("deploy again", &new).await?;
        }
        Ok(new)
    }

    async fn deploy(&mut self, previous: bool) -> Result<(), StageFailed> {
        self.checklist().await?;
        let variant = if previous { Variant::previous() } else { self.release.variant() };
        let [release] = self.built([variant]).await?;
        self.roll_out("deploy", &release).await
    }

    /// Goes through the pre-deployment checklist where that is asked for.
    async fn checklist(&mut self) -> Result<(), StageFailed> {
        let Some(said) = &self.release.checklist else { return Ok(()) };
        let images = &self.release.images;
        let gone_through = checklist::go_through(self.config, self.cluster, images, said, self.cancel, self.sink);
        Ok(gone_through.await.map(drop)?)
    }

    async fn rollback(&mut self, to_revision: Option<i64>) -> Result<(), StageFailed> {
        let back = pipeline::rollback(self.config, self.cluster, to_revision, self.clock, self.cancel, self.sink);
        Ok(back.await.map(drop)?)
    }

    /// Builds and pushes these releases.
    async fn built<const N: usize>(&mut self, variants: [Variant; N]) -> Result<[BuiltRelease; N], StageFailed> {
        // That nobody knows where to push to is told before minutes of building.
        let destination = Destination::of(self.config, self.cluster, &self.release.images).await?;
        let built = pipeline::build(self.config, &variants, Supply::of(&destination), self.cancel, self.sink).await?;
        pipeline::push(self.config, &built, &destination, self.cancel, self.sink).await?;
        let pushed: Vec<BuiltRelease> = built.into_iter().map(|release| release.pulled_from(&destination)).collect();
        Ok(pushed.try_into().expect("each variant was built"))
    }

    async fn roll_out(&mut self, stage: &str, release: &BuiltRelease) -> Result<(), StageFailed> {
        let options = DeployOptions { stage, profile: &self.release.profile, run: self.run, clock: self.clock };
        Ok(pipeline::deploy(self.config, self.cluster, release, options, self.cancel, self.sink).await?)
    }
}

/// Whether nothing is installed yet. Where the API does not say, deploying will.
async fn is_empty(cluster: &Cluster) -> bool {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    deployments.list(&ListParams::default().limit(1)).await.is_ok_and(|found| found.items.is_empty())
}
