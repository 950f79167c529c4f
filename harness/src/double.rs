//! The double of the LLM: where it is, and how it is switched.
//!
//! A rehearsal plays the provider itself. Its double stands in the system's namespace as
//! Service `outside`, labelled so that nobody takes a service of that name for it. A real
//! system has none, and scenarios that need one are skipped there by name.

use http::Request;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};
use crate::system::SystemError;

/// Its Service, and the Deployment behind it.
pub(crate) const NAME: &str = "outside";
/// The label of everything that is a double.
const LABEL: &str = "gameday.dev/double";

/// How the double's LLM answers requests with a good key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// As it should.
    Ok,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 429 with `Retry-After`.
    Quota,
    /// 500.
    Error,
    /// With a pause before each piece, longer than anybody waits.
    Slow,
    /// Not at all.
    Hang,
    /// With the first piece only, then it breaks off.
    Cut,
    /// With 200 and nonsense.
    Garbage,
}

impl std::fmt::Display for Answers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
        })
    }
}

/// What the control tells, as far as it matters here.
#[derive(Deserialize)]
struct Control {
    llm: Answers,
}

/// The path of its control, through the API server.
#[must_use]
pub fn control_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/services/{NAME}:http/proxy/control")
}

/// The workload behind it.
#[must_use]
pub fn workload() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: NAME.to_owned() }
}

/// Whether there is one in the namespace.
///
/// # Errors
/// [`SystemError`] where the API refuses.
pub async fn is_there(cluster: &Cluster) -> Result<bool, SystemError> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = services.get_opt(NAME).await;
    let found = found.map_err(|error| SystemError::from_api(&format!("read service `{NAME}`"), &error))?;
    Ok(found.and_then(|service| service.metadata.labels).is_some_and(|labels| labels.contains_key(LABEL)))
}

/// How it answers now.
///
/// # Errors
/// [`SystemError`] where it cannot be asked.
pub async fn answers(cluster: &Cluster) -> Result<Answers, SystemError> {
    let request = Request::get(control_path(&cluster.namespace)).body(Vec::new());
    ask(cluster, request, "ask the LLM's double how it answers").await
}

/// Switches how it answers from now on; returns once it does.
///
/// # Errors
/// [`SystemError`] where it cannot be told.
pub async fn switch(cluster: &Cluster, answers: Answers) -> Result<(), SystemError> {
    let body = serde_json::json!({ "llm": answers }).to_string().into_bytes();
    let request = Request::put(control_path(&cluster.namespace)).body(body);
    let doing = format!("switch the LLM's double to `{answers}`");
    let told = ask(cluster, request, &doing).await?;
    if told == answers {
        return Ok(());
    }
    Err(SystemError { message: format!("{doing}: it says `{told}`"), transient: true })
}

async fn ask(
    cluster: &Cluster,
    request: Result<Request<Vec<u8>>, http::Error>,
    doing: &str,
) -> Result<Answers, SystemError> {
    let request = request.expect("names of namespaces are valid in a path");
    let told = cluster.client.request::<Control>(request).await;
    told.map(|control| control.llm).map_err(|error| SystemError::from_api(doing, &error))
}
