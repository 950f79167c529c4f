//! Making or adopting a cluster, from whatever is found.

use std::time::Duration;

use futures_util::future::try_join_all;
use kube::config::Kubeconfig;

use super::files::{Files, Lock, write_private};
use super::registry::{self, Registry};
use super::state::{Found, is_marked};
use super::{CLUSTER_LABEL, KindError, Options, Running, Tell, config, context, network, program, ready};
use crate::cluster::{Cluster, ClusterError, Selection};
use crate::docker::{Container, Engine};

/// How long the API of a cluster that stands may be silent, after a start of its nodes above all.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two tries.
const LOOK: Duration = Duration::from_millis(500);
/// Any namespace will do where only the cluster is asked.
const NAMESPACE: &str = "default";

/// Makes the cluster of this name, or adopts the one that somebody else made, with a local registry;
/// returns when nodes and system pods are ready. Safe to repeat, and to interrupt anywhere: what an
/// interrupted one left is finished or made anew. Dropping the future is such an interruption.
///
/// # Errors
/// [`KindError`].
pub async fn up(options: &Options, tell: Tell<'_>) -> Result<Running, KindError> {
    let engine = Engine::connect().await?;
    program::version().await?;
    let files = Files::of(&options.name)?;
    let lock = files.lock(tell).await?;
    files.make()?;
    let work = Work { engine, files, options };
    let (nodes, stood) = work.stand(&lock, tell).await?;
    match work.furnish(&nodes, tell).await {
        // A node that was lost while an earlier one was interrupted does not come by itself.
        Err(KindError::NotReady { what, last, .. }) if stood && work.are_ours(&nodes) => {
            tell(&format!("making kind cluster `{}` anew: no {what}: {last}", options.name));
            work.make(&nodes, &lock, tell).await?;
            work.furnish(&work.nodes().await?, tell).await
        }
        furnished => furnished,
    }
}

struct Work<'a> {
    engine: Engine,
    files: Files,
    options: &'a Options,
}

impl Work<'_> {
    /// Sees to it that the cluster is there and answers: its nodes, and whether it was there before.
    async fn stand(&self, lock: &Lock, tell: Tell<'_>) -> Result<(Vec<Container>, bool), KindError> {
        let name = &self.options.name;
        let nodes = self.nodes().await?;
        let others = |reason: String| KindError::Others { name: name.clone(), reason };
        match Found::of(&nodes, &self.files.mark(), self.has_kubeconfig(), config::nodes()) {
            Found::Nothing => {}
            Found::Ours => {
                for node in nodes.iter().filter(|node| !node.running) {
                    tell(&format!("starting node {}", node.name));
                    self.engine.start(&node.id).await?;
                }
                match self.answers().await {
                    Ok(_) => return Ok((self.nodes().await?, true)),
                    Err(error) => tell(&format!("making kind cluster `{name}` anew: {error}")),
                }
            }
            Found::HalfMade => tell(&format!("making kind cluster `{name}` anew: what made it was interrupted")),
            Found::Others => {
                write_private(&self.files.kubeconfig(), &program::kubeconfig(name).await?)?;
                self.answers().await.map_err(|error| others(format!("somebody else made it, and {error}")))?;
                return Ok((nodes, true));
            }
            Found::Mixed => return Err(others("some of its nodes were made by somebody else".to_owned())),
        }
        self.make(&nodes, lock, tell).await?;
        Ok((self.nodes().await?, false))
    }

    fn are_ours(&self, nodes: &[Container]) -> bool {
        let mark = self.files.mark();
        nodes.iter().all(|node| is_marked(node, &mark))
    }

    async fn make(&self, left: &[Container], lock: &Lock, tell: Tell<'_>) -> Result<(), KindError> {
        let image = self.options.node_image.clone().unwrap_or_else(config::node_image);
        try_join_all(left.iter().map(|node| self.engine.remove(&node.id))).await?;
        self.files.forget();
        self.engine.ensure_image(&image, tell).await?;
        write_private(&self.files.config(), &config::rendered(&image, &self.files.mark().to_string_lossy()))?;
        let network = network();
        if self.engine.network(&network).await?.is_none() {
            self.files.network_is_ours(&network)?;
        }
        tell(&format!("making kind cluster `{}` of {image}", self.options.name));
        program::create(&self.files, &self.options.name, lock.share()?, tell).await
    }

    /// Gives a cluster that answers its registry, and waits until all of it is ready.
    async fn furnish(&self, nodes: &[Container], tell: Tell<'_>) -> Result<Running, KindError> {
        let name = &self.options.name;
        let cluster = self.answers().await?;
        let mark = self.files.mark();
        let made = self.are_ours(nodes);
        let registry = match registry::documented(&cluster).await? {
            Some(registry) if !made => registry,
            Some(_) | None => {
                let state = mark.to_string_lossy();
                let ours = Registry { engine: &self.engine, cluster: name, state: &state };
                let image = self.options.registry_image.as_deref().unwrap_or(registry::DEFAULT_IMAGE);
                let address = ours.stand(&network(), image, tell).await?;
                try_join_all(nodes.iter().map(|node| ours.introduce(&node.id, &address))).await?;
                registry::document(&cluster, &address).await?;
                address
            }
        };
        ready::wait(&cluster, nodes.len(), tell).await?;
        let running = Running { name: name.clone(), kubeconfig: self.files.kubeconfig(), registry, made };
        self.files.announce(&running)?;
        Ok(running)
    }

    async fn nodes(&self) -> Result<Vec<Container>, KindError> {
        Ok(self.engine.containers(CLUSTER_LABEL, &self.options.name).await?)
    }

    /// `kind` writes it last, in one go or not at all as far as a parser is concerned.
    fn has_kubeconfig(&self) -> bool {
        Kubeconfig::read_from(self.files.kubeconfig()).is_ok_and(|kubeconfig| !kubeconfig.contexts.is_empty())
    }

    /// Asks the API until it answers.
    async fn answers(&self) -> Result<Cluster, ClusterError> {
        let selection = reached_by(&self.files, &self.options.name);
        let tries = ANSWER_WITHIN.as_millis() / LOOK.as_millis();
        let mut tried = 0;
        loop {
            match Cluster::connect(&selection, NAMESPACE).await {
                Ok(cluster) => return Ok(cluster),
                Err(error @ ClusterError::Silent { .. }) if tried < tries => {
                    tried += 1;
                    drop(error);
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The cluster by its kubeconfig, also before it is announced.
pub(super) fn reached_by(files: &Files, name: &str) -> Selection {
    Selection::Context { kubeconfig: Some(files.kubeconfig()), context: context(name) }
}
