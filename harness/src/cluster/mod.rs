//! The cluster a run works on: how it is found, and how it is reached.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::client::ConfigExt as _;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;

use crate::event::{ClusterFacts, ClusterKind};
use crate::kind;

pub mod lease;
pub(crate) mod objects;
pub mod permission;
pub mod pods;
pub mod reach;
mod reason;

pub(crate) use reason::reason;

/// How long connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the API server may take to say which cluster it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Selection {
    /// The embedded one of this name.
    Embedded {
        /// Its name.
        name: String,
    },
    /// The kind cluster of this name, which `cluster up` made or adopted.
    Kind {
        /// Its name.
        name: String,
    },
    /// A kubeconfig context.
    Context {
        /// `--kubeconfig`, where given; else `KUBECONFIG`, else `~/.kube/config`.
        kubeconfig: Option<PathBuf>,
        /// `--context`.
        context: String,
    },
}

/// A cluster that answers. Clones share connections, and ways to Services.
#[derive(Clone)]
pub struct Cluster {
    /// Acts on the cluster: reads, writes, watches. Its transparent retries are off.
    pub client: Client,
    /// The namespace that is worked in.
    pub namespace: String,
    /// The namespace that manifests and runbook commands name; another one than
    /// [`Self::namespace`] in a lane, which stands for it.
    pub home: String,
    /// Which cluster it is.
    pub facts: ClusterFacts,
    /// The API server for plain, measured connections (`pods/NAME:PORT/proxy/…`).
    pub api: Arc<ApiEndpoint>,
    reaches: reach::Reaches,
}

/// The API server's address and credentials, for connections that are measured.
pub struct ApiEndpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name its certificate is checked against.
    pub host: String,
    /// TLS as the kubeconfig says, for HTTP/1.1.
    pub tls: Arc<rustls::ClientConfig>,
    /// The `Authorization` header's value, where the kubeconfig has a token.
    pub authorization: Option<http::HeaderValue>,
}

/// A cluster could not be reached or used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The embedded cluster of this name does not run.
    #[error("find embedded cluster `{name}`: it does not run")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// No kind cluster of this name was made or adopted.
    #[error("find kind cluster `{name}`: none of that name was made or adopted")]
    NoKind {
        /// Its name.
        name: String,
    },
    /// The kubeconfig cannot be read, or lacks what is needed.
    #[error("read kubeconfig {file}: {reason}")]
    Kubeconfig {
        /// Which file, or where it was looked for.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kubeconfig has no such context.
    #[error("find context `{context}` in kubeconfig {file}: it has {known}")]
    UnknownContext {
        /// What was asked for.
        context: String,
        /// Where.
        file: String,
        /// The contexts that are there.
        known: String,
    },
    /// The API server does not answer, or refuses.
    #[error("reach cluster `{name}` at {server}: {reason}")]
    Silent {
        /// Name of the cluster or context.
        name: String,
        /// Its address.
        server: String,
        /// What was last seen.
        reason: String,
    },
    /// A Service has no address that this machine can reach.
    #[error("reach service `{service}` in namespace `{namespace}`: {reason}")]
    Unreachable {
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
        /// Why, and what was last seen.
        reason: String,
    },
}

impl Cluster {
    /// Connects, and asks the cluster who it is. Writes nothing, and never switches the
    /// kubeconfig's current context.
    ///
    /// # Errors
    /// [`ClusterError`], within 15 s.
    pub async fn connect(selection: &Selection, namespace: &str) -> Result<Self, ClusterError> {
        let (kubeconfig, file, name) = read(selection)?;
        let context = match selection {
            Selection::Embedded { .. } | Selection::Kind { .. } => {
                kubeconfig.current_context.clone().unwrap_or_default()
            }
            Selection::Context { context, .. } => context.clone(),
        };
        if !kubeconfig.contexts.iter().any(|known| known.name == context) {
            let known: Vec<_> = kubeconfig.contexts.iter().map(|known| format!("`{}`", known.name)).collect();
            let known = if known.is_empty() { "no context at all".to_owned() } else { known.join(", ") };
            return Err(ClusterError::UnknownContext { context, file, known });
        }
        let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
        let unusable = |reason: String| ClusterError::Kubeconfig { file: file.clone(), reason };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| unusable(reason::first_line(&error)))?;
        // A retry that nobody sees makes a stopwatch lie.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let api = endpoint(&config).await.map_err(unusable)?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| unusable(reason(&error)))?;
        let kind = kind_of(selection, &name, api.address.ip());
        let (version, uid) = tokio::time::timeout(ANSWER_TIMEOUT, identity(&client))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
            .map_err(|reason| ClusterError::Silent { name: name.clone(), server: server.clone(), reason })?;
        let facts = ClusterFacts { kind, name, server, version, uid, namespace: namespace.to_owned() };
        let (namespace, home) = (namespace.to_owned(), namespace.to_owned());
        Ok(Self { client, namespace, home, facts, api: Arc::new(api), reaches: reach::Reaches::default() })
    }

    /// The same cluster in another namespace, which stands for this one: a lane.
    #[must_use]
    pub fn lane(&self, namespace: &str) -> Self {
        let facts = ClusterFacts { namespace: namespace.to_owned(), ..self.facts.clone() };
        Self { namespace: namespace.to_owned(), facts, ..self.clone() }
    }

    /// Whether this is a lane beside the system's own namespace.
    #[must_use]
    pub fn is_lane(&self) -> bool {
        self.namespace != self.home
    }
}

/// The kubeconfig of a selection, what to call the file, and what to call the cluster.
fn read(selection: &Selection) -> Result<(Kubeconfig, String, String), ClusterError> {
    let failed = |file: &str, error: &dyn std::error::Error| ClusterError::Kubeconfig {
        file: file.to_owned(),
        reason: reason::first_line(reason::innermost(error)),
    };
    match selection {
        Selection::Embedded { name } => {
            let running =
                embedded_cluster::launch::find(name).ok_or_else(|| ClusterError::NotRunning { name: name.clone() })?;
            let file = format!("`{}`", running.kubeconfig.display());
            let kubeconfig = Kubeconfig::read_from(&running.kubeconfig).map_err(|error| failed(&file, &error))?;
            Ok((kubeconfig, file, name.clone()))
        }
        Selection::Kind { name } => {
            let running = kind::find(name).ok_or_else(|| ClusterError::NoKind { name: name.clone() })?;
            let file = format!("`{}`", running.kubeconfig.display());
            let kubeconfig = Kubeconfig::read_from(&running.kubeconfig).map_err(|error| failed(&file, &error))?;
            Ok((kubeconfig, file, kind::context(name)))
        }
        Selection::Context { kubeconfig: Some(path), context } => {
            let file = format!("`{}`", path.display());
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(&file, &error))?;
            Ok((kubeconfig, file, context.clone()))
        }
        Selection::Context { kubeconfig: None, context } => {
            let file =
                std::env::var("KUBECONFIG").map_or_else(|_| "`~/.kube/config`".to_owned(), |set| format!("`{set}`"));
            // `KUBECONFIG`, which may name several files, else `~/.kube/config`.
            let kubeconfig = Kubeconfig::read().map_err(|error| failed(&file, &error))?;
            Ok((kubeconfig, file, context.clone()))
        }
    }
}

async fn endpoint(config: &Config) -> Result<ApiEndpoint, String> {
    let url = &config.cluster_url;
    let host = url.host().ok_or_else(|| format!("server `{url}` has no host"))?.to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(443);
    let found = tokio::net::lookup_host((bare.as_str(), port)).await;
    let address = found.map_err(|error| format!("server `{url}` cannot be resolved: {error}"))?.next();
    let address = address.ok_or_else(|| format!("server `{url}` has no address"))?;
    let mut tls = config.rustls_client_config().map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let host = config.tls_server_name.clone().unwrap_or(bare);
    let authorization = authorization(&config.auth_info)?;
    Ok(ApiEndpoint { address, host, tls: Arc::new(tls), authorization })
}

fn authorization(auth: &AuthInfo) -> Result<Option<http::HeaderValue>, String> {
    let token = match (&auth.token, &auth.token_file) {
        (Some(token), _) => token.expose_secret().to_owned(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| format!("token file `{file}`: {error}"))?,
        (None, None) => return Ok(None),
    };
    let mut value = http::HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .map_err(|_| "the token has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

async fn identity(client: &Client) -> Result<(String, String), String> {
    let version = client.apiserver_version().await.map_err(|error| reason(&error))?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces.get("kube-system").await.map_err(|error| reason(&error))?;
    Ok((version.git_version, system.metadata.uid.unwrap_or_default()))
}

/// A context that is merely named kind-something is one of ours only on loopback.
fn kind_of(selection: &Selection, name: &str, server: IpAddr) -> ClusterKind {
    match selection {
        Selection::Embedded { .. } => ClusterKind::Embedded,
        Selection::Kind { .. } => ClusterKind::Kind,
        Selection::Context { .. } if name.starts_with("kind-") && server.is_loopback() => ClusterKind::Kind,
        Selection::Context { .. } => ClusterKind::Context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, kubeconfig: Option<PathBuf>) -> Selection {
        Selection::Context { kubeconfig, context: name.to_owned() }
    }

    #[test]
    fn only_a_loopback_server_makes_a_context_a_kind_cluster() {
        for (name, server, expected) in [
            ("kind-gate", "127.0.0.1", ClusterKind::Kind),
            ("kind-gate", "::1", ClusterKind::Kind),
            ("kind-gate", "10.0.0.1", ClusterKind::Context),
            ("staging", "127.0.0.1", ClusterKind::Context),
        ] {
            assert_eq!(kind_of(&context(name, None), name, server.parse().unwrap()), expected, "{name} {server}");
        }
    }

    #[tokio::test]
    async fn a_wrong_kubeconfig_gets_one_error_that_names_file_and_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let connect = async || {
            let selection = context("staging", Some(path.clone()));
            Cluster::connect(&selection, "hsc-jit").await.err().unwrap().to_string()
        };
        assert!(connect().await.contains("read kubeconfig"), "absent");
        write("contexts: []\nclusters: []\nusers: []\n");
        assert!(connect().await.ends_with("it has no context at all"), "empty");
        let head = "users: [{name: u, user: {}}]\ncontexts: [{name: NAME, context: {cluster: c, user: u}}]\n";
        let cluster = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n";
        write(&(head.replace("NAME", "production") + cluster));
        assert!(connect().await.ends_with("it has `production`"), "another context");
        write(&(head.replace("NAME", "staging") + cluster));
        let silent = connect().await;
        assert!(silent.starts_with("reach cluster `staging` at https://127.0.0.1:1:"), "{silent}");
    }
}
