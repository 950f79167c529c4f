//! The release half of the gate: build, push, install the previous release, roll out, smoke.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::recorder::{RecordError, Recorder};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::event::What;
use crate::pipeline::{self, BuiltRelease, DeployOptions, Variant};

/// What is released before rehearsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The profile of `gate.toml` that overlays the manifests.
    pub profile: String,
    /// A deliberately bad build of `gate.toml`, if any.
    pub flaw: Option<String>,
    /// The OCI layout that is pushed to.
    pub images: PathBuf,
}

impl Release {
    /// Carries it out; `false` where a stage failed or was cancelled, which the events say.
    ///
    /// # Errors
    /// [`RunError`] where it could not be recorded.
    pub(super) async fn carry_out(
        &self,
        config: &Config,
        cluster: &Cluster,
        run: &str,
        recorder: &mut Recorder<'_>,
        cancel: &CancellationToken,
    ) -> Result<bool, RunError> {
        let mut unrecorded = None;
        let mut sink = |what: What| {
            if unrecorded.is_none() {
                unrecorded = recorder.emit(what).err();
            }
        };
        let released = self.stages(config, cluster, run, &mut sink, cancel).await;
        match unrecorded {
            Some(error) => Err(RecordError::into(error)),
            // What failed stands in the stage's event, which has been recorded.
            None => Ok(released.is_some()),
        }
    }

    async fn stages(
        &self,
        config: &Config,
        cluster: &Cluster,
        run: &str,
        sink: pipeline::Sink<'_>,
        cancel: &CancellationToken,
    ) -> Option<()> {
        let new = self.flaw.as_deref().map_or_else(Variant::current, Variant::flawed);
        let built = pipeline::build(config, &[Variant::previous(), new], cancel, sink).await.ok()?;
        let [previous, new]: [BuiltRelease; 2] = built.try_into().ok()?;
        pipeline::push(config, &[previous.clone(), new.clone()], &self.images, cancel, sink).await.ok()?;
        let options = DeployOptions { stage: "deploy", profile: &self.profile, run };
        if is_empty(cluster).await {
            let first = DeployOptions { stage: "install previous release", ..options };
            pipeline::deploy(config, cluster, &previous, first, cancel, sink).await.ok()?;
        }
        pipeline::deploy(config, cluster, &new, options, cancel, sink).await.ok()?;
        pipeline::smoke(config, cluster, &new.version, false, cancel, sink).await.ok()?;
        Some(())
    }
}

/// Whether nothing is installed yet. Where the API does not say, deploying will.
async fn is_empty(cluster: &Cluster) -> bool {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    deployments.list(&ListParams::default().limit(1)).await.is_ok_and(|found| found.items.is_empty())
}
