//! Removing what `up` made, and nothing else.

use futures_util::future::try_join_all;

use super::files::Files;
use super::registry::{self, Registry};
use super::state::is_marked;
use super::up::reached_by;
use super::{CLUSTER_LABEL, KindError, Tell};
use crate::cluster::Cluster;
use crate::docker::Engine;

/// What became of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It was ours, and is gone.
    Cluster,
    /// Somebody else made it, so it stays; what was added to it is gone.
    Additions,
    /// There was nothing of ours.
    Nothing,
}

/// Removes what [`super::up`] made under this name: nodes, registry, volumes, the network if it was made
/// for us and nobody else is on it, and the files. A cluster that was adopted stays. Safe to repeat and to
/// interrupt anywhere.
///
/// # Errors
/// [`KindError`]; what is left then, the next one removes.
pub async fn down(name: &str, tell: Tell<'_>) -> Result<Removed, KindError> {
    let files = Files::of(name)?;
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        // Without an engine nothing of it runs; files of ours say that there is more to remove.
        Err(_) if !files.exist() => return Ok(Removed::Nothing),
        Err(error) => return Err(error.into()),
    };
    let lock = files.lock(tell).await?;
    let mark = files.mark();
    let all = engine.containers(CLUSTER_LABEL, name).await?;
    let (ours, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|node| is_marked(node, &mark));
    let state = mark.to_string_lossy();
    let registry = Registry { engine: &engine, cluster: name, state: &state };
    if !others.is_empty() {
        // Their containers may be stopped, and their API away: then there is nothing to take back.
        if let Some(address) = registry.address().await? {
            for node in &others {
                if let Err(error) = registry.withdraw(&node.id, &address).await {
                    tell(&format!("left on node {}: {error}", node.name));
                }
            }
        }
        if let Ok(cluster) = Cluster::connect(&reached_by(&files, name), "default").await {
            registry::undocument(&cluster).await?;
        }
    }
    try_join_all(ours.iter().map(|node| engine.remove(&node.id))).await?;
    let had_registry = registry.remove().await?;
    remove_network(&engine, &files).await?;
    let removed = match (ours.is_empty(), others.is_empty()) {
        (false, _) => Removed::Cluster,
        (true, false) if files.exist() => Removed::Additions,
        (true, _) if had_registry => Removed::Cluster,
        (true, _) => Removed::Nothing,
    };
    files.remove()?;
    lock.remove();
    Ok(removed)
}

/// Removes the network that was made for us, unless somebody is on it.
async fn remove_network(engine: &Engine, files: &Files) -> Result<(), KindError> {
    let Some(network) = files.network() else { return Ok(()) };
    match engine.network(&network).await? {
        Some(0) => {
            // Whoever joined just now keeps it.
            if let Err(error) = engine.remove_network(&network).await
                && engine.network(&network).await?.is_none_or(|on_it| on_it == 0)
            {
                return Err(error.into());
            }
        }
        Some(_) => return Ok(()),
        None => {}
    }
    files.forget_network();
    Ok(())
}
