//! Where images go: to where the cluster pulls from.

use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;

use super::api::{ApiError, ask_optional};
use super::{BuiltRelease, PushError};
use crate::cluster::Cluster;
use crate::config::{Config, PinnedCluster};
use crate::event::{ClusterFacts, ClusterKind};
use crate::registry::Address;

/// Where clusters say which registry on this machine they pull from: what kind documents, and
/// what other local clusters have taken over.
const HOSTING: (&str, &str, &str) = ("kube-public", "local-registry-hosting", "localRegistryHosting.v1");

/// Where images are pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The OCI layout that an embedded cluster reads.
    Layout(PathBuf),
    /// A registry.
    Registry(Address),
}

impl Destination {
    /// Where a cluster pulls from: `images` for the embedded one; the registry that `gate.toml` has
    /// for it, else the local registry that the cluster itself names.
    ///
    /// # Errors
    /// [`PushError::NoRegistry`], [`PushError::Api`].
    pub async fn of(config: &Config, cluster: &Cluster, images: &Path) -> Result<Self, PushError> {
        match cluster.facts.kind {
            ClusterKind::Embedded => return Ok(Self::Layout(images.to_owned())),
            ClusterKind::Kind | ClusterKind::Context => {}
        }
        if let Some(address) = configured(config.clusters.values(), &cluster.facts) {
            return Ok(Self::Registry(address.clone()));
        }
        let none = || PushError::NoRegistry { cluster: cluster.facts.name.clone() };
        hosting(cluster).await?.map(Self::Registry).ok_or_else(none)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(path) => write!(formatter, "{}", path.display()),
            Self::Registry(address) => address.fmt(formatter),
        }
    }
}

impl BuiltRelease {
    /// The release as a cluster sees it that pulls from there.
    #[must_use]
    pub fn pulled_from(mut self, destination: &Destination) -> Self {
        self.registry = match destination {
            Destination::Layout(_) => None,
            Destination::Registry(address) => Some(address.clone()),
        };
        self
    }
}

/// The registry that `gate.toml` has for a cluster. A uid that does not agree is another cluster.
fn configured<'a>(pinned: impl IntoIterator<Item = &'a PinnedCluster>, facts: &ClusterFacts) -> Option<&'a Address> {
    let mut agreeing = pinned.into_iter().filter(|pin| pin.context == facts.name && pin.uid == facts.uid);
    agreeing.find_map(|pin| pin.registry.as_ref())
}

/// The local registry that a cluster names, if it names one.
async fn hosting(cluster: &Cluster) -> Result<Option<Address>, ApiError> {
    let (namespace, name, key) = HOSTING;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let found = ask_optional("get the cluster's local registry", || api.get(name)).await?;
    Ok(found.and_then(|map| map.data?.remove(key)).and_then(|text| address_of(&text)))
}

/// What stands in the ConfigMap, as far as it is of use here.
#[derive(Deserialize)]
struct Hosting {
    host: Option<String>,
}

fn address_of(text: &str) -> Option<Address> {
    let hosting: Hosting = serde_saphyr::from_str(text).ok()?;
    Address::parse(&hosting.host?, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_registry_is_read_as_clusters_write_it() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(address_of(text).map(|address| address.to_string()).as_deref(), expect, "{text}");
        };
        check("host: \"localhost:5001\"\nhelp: \"https://kind.sigs.k8s.io/\"\n", Some("localhost:5001"));
        check("host: localhost:5001\nhostFromContainerRuntime: registry:5000", Some("localhost:5001"));
        check("help: nothing", None);
        check("host: [", None);
        check("host: team/product", None);
    }

    #[test]
    fn the_registry_of_a_cluster_is_that_of_its_context_and_uid() {
        let pin = |uid: &str, registry: Option<&str>| PinnedCluster {
            context: "staging".to_owned(),
            uid: uid.to_owned(),
            registry: registry.map(|text| Address::parse(text, false).unwrap()),
        };
        let pins = [pin("u1", None), pin("u1", Some("ghcr.io/one")), pin("u2", Some("ghcr.io/two"))];
        let check = |context: &str, uid: &str, expect: Option<&str>| {
            let facts = ClusterFacts {
                kind: ClusterKind::Context,
                name: context.to_owned(),
                server: String::new(),
                version: String::new(),
                uid: uid.to_owned(),
                namespace: "n".to_owned(),
            };
            let found = configured(&pins, &facts).map(ToString::to_string);
            assert_eq!(found.as_deref(), expect, "{context} {uid}");
        };
        check("staging", "u1", Some("ghcr.io/one"));
        check("staging", "u2", Some("ghcr.io/two"));
        check("staging", "u3", None);
        check("production", "u1", None);
    }
}
