//! Whether there is a way back: the revision that a roll-back would return to, and its images.

use std::path::Path;

use serde_json::Value;

use super::revision::{self, History, Revision};
use super::rollback::released;
use crate::cluster::Cluster;
use crate::config::{Config, Release};
use crate::event::ClusterKind;
use crate::image::layout::Layout;
use crate::registry::{Address, Named, Presence, Registry, RegistryError};

/// What a roll-back of every workload of the release would return to, in words. Before the
/// release is deployed that is what runs now; after that, the revision before it.
///
/// # Errors
/// A sentence that says what is lacking.
pub async fn way_back(config: &Config, cluster: &Cluster, images: &Path) -> Result<String, String> {
    let workloads = released(config).map_err(|error| error.to_string())?;
    if workloads.is_empty() {
        return Err("no workload runs an image of the release".to_owned());
    }
    let mut returns = Vec::new();
    for workload in workloads {
        let history = revision::history(cluster, &workload).await.map_err(|error| error.to_string())?;
        let history = history.ok_or_else(|| format!("{workload} is not installed: there is nothing to return to"))?;
        let target = target(&history, config.release_version(Release::Current));
        let target = target.map_err(|reason| format!("{workload}: {reason}"))?;
        for image in images_of(&target.template) {
            let pulled = can_be_pulled(config, cluster.facts.kind, images, image).await;
            pulled.map_err(|reason| format!("{workload}: {reason}"))?;
        }
        returns.push(format!("{workload} to revision {}", target.number));
    }
    Ok(format!("{}, with images that can be pulled", returns.join(", ")))
}

/// The revision that is there when the version has been deployed and is undone.
fn target<'a>(history: &'a History, version: &str) -> Result<&'a Revision, String> {
    let runs_it = images_of(&history.template).into_iter().any(|image| is_of(image, version));
    if runs_it {
        return history.choose_good(None).map_err(|error| error.to_string());
    }
    history.serving().ok_or_else(|| "no revision of it is known".to_owned())
}

/// `repository:VERSION-digits@sha256:…`
fn is_of(image: &str, version: &str) -> bool {
    let reference = image.split('@').next().unwrap_or(image);
    let tag = reference.rsplit_once(':').map_or("", |(_, tag)| tag);
    tag == version || tag.strip_prefix(version).is_some_and(|rest| rest.starts_with('-'))
}

fn images_of(template: &Value) -> Vec<&str> {
    let lists = ["/spec/initContainers", "/spec/containers"].into_iter().filter_map(|list| template.pointer(list));
    lists.filter_map(Value::as_array).flatten().filter_map(|container| container["image"].as_str()).collect()
}

async fn can_be_pulled(config: &Config, cluster: ClusterKind, images: &Path, image: &str) -> Result<(), String> {
    match cluster {
        ClusterKind::Embedded => is_in_layout(images, image),
        ClusterKind::Kind | ClusterKind::Context => is_in_registry(config, image).await,
    }
}

/// Asks the registry that the image itself names.
async fn is_in_registry(config: &Config, image: &str) -> Result<(), String> {
    let named = Named::parse(image).ok_or_else(|| {
        format!("whether `{image}` can be pulled cannot be asked: it names no registry, or no digest")
    })?;
    let registries = config.clusters.values().filter_map(|cluster| cluster.registry.as_ref());
    let plain_http = registries.into_iter().any(|known| known.host() == named.host && known.plain_http());
    let address = Address::parse(named.host, plain_http)?;
    let unknown = |error: RegistryError| format!("whether `{image}` can be pulled is not known: failed to {error}");
    let registry = Registry::connect(&address).await.map_err(unknown)?;
    match registry.presence(named.repository, named.digest).await.map_err(unknown)? {
        Presence::Whole => Ok(()),
        Presence::Parts => Err(format!("`{image}` lacks some of its blobs")),
        Presence::Absent => Err(format!("`{image}` is not where the cluster pulls from")),
    }
}

fn is_in_layout(images: &Path, image: &str) -> Result<(), String> {
    let (reference, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let layout = Layout::at(images);
    let found = layout.resolve(reference).map_err(|error| format!("`{image}`: {error}"))?;
    let found = found.ok_or_else(|| format!("`{image}` is not where the cluster pulls from"))?;
    if digest.is_some_and(|digest| found.digest.to_string() != digest) {
        return Err(format!("`{reference}` is now another image than that of the revision"));
    }
    if !layout.has_image(&found) {
        return Err(format!("`{image}` lacks some of its blobs"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn history(current: i64, image: &str) -> History {
        let revision = |number: i64| Revision {
            number,
            name: format!("r{number}"),
            template: template(&format!("backend:v{number}-1c2d")),
            ready: 0,
            rolled_back: None,
        };
        History {
            template: template(image),
            current: Some(current),
            revisions: (1..=current).map(revision).collect(),
            settled: true,
        }
    }

    #[test]
    fn before_a_deployment_what_runs_is_the_way_back_and_after_it_what_ran_before() {
        let check = |current: i64, image: &str, expect: Result<i64, &str>| {
            let history = history(current, image);
            let found = target(&history, "v9").map(|revision| revision.number);
            assert_eq!(found, expect.map_err(str::to_owned), "{image}");
        };
        check(3, "backend:v3-1c2d@sha256:00", Ok(3));
        check(3, "backend:v9-1c2d@sha256:00", Ok(2));
        check(3, "backend:v9", Ok(2));
        check(3, "registry:5000/backend:v90-1c2d", Ok(3));
        check(1, "backend:v9-1c2d", Err("it has no previous revision"));
    }

    #[test]
    fn an_image_that_is_not_there_cannot_be_pulled() {
        let images = tempfile::tempdir().unwrap();
        let error = is_in_layout(images.path(), "backend:v1@sha256:00").unwrap_err();
        assert!(error.contains("is not where the cluster pulls from"), "{error}");
    }
}
