//! A namespace of its own, and the few ways in which contracts use it.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status as ExecStatus;
use kube::api::{AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for a state, set once at the start.
static WITHIN: OnceLock<Duration> = OnceLock::new();
/// That wait where nothing else is said: a real cluster pulls, schedules and backs off.
pub(crate) const WITHIN_DEFAULT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest command inside a container.
const EXEC_WITHIN: Duration = Duration::from_secs(30);

/// What a contract comes to.
pub(crate) type Outcome = anyhow::Result<()>;

/// A namespace of one contract, on a cluster that it knows nothing of.
#[derive(Clone)]
pub(crate) struct Place {
    /// The cluster.
    pub(crate) client: Client,
    /// The namespace, which nobody else uses.
    pub(crate) namespace: String,
    /// An image with a shell and busybox's programs, which the cluster has or can pull.
    pub(crate) image: String,
}

/// What a command inside a container said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Exit code.
    pub(crate) code: i32,
}

/// What namespaced objects of typed clients can do.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

impl Place {
    /// Makes the namespace.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn make_namespace(client: Client, image: String, contract: &str) -> anyhow::Result<Self> {
        let random: String = std::iter::repeat_with(fastrand::lowercase).take(6).collect();
        let namespace = format!("contract-{random}");
        let api: Api<Namespace> = Api::all(client.clone());
        let object = json!({ "metadata": { "name": namespace, "annotations": { "gameday.dev/contract": contract } } });
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await.context("make a namespace")?;
        Ok(Self { client, namespace, image })
    }

    /// Removes the namespace with everything in it, and does not wait for it.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn remove(self) -> Outcome {
        let api: Api<Namespace> = Api::all(self.client);
        api.delete(&self.namespace, &DeleteParams::background()).await.context("remove the namespace")?;
        Ok(())
    }

    /// The objects of a kind in this namespace.
    pub(crate) fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from JSON.
    pub(crate) async fn make<K: Object>(&self, object: Value) -> anyhow::Result<K> {
        let object: K = serde_json::from_value(object).context("the contract's own object is not of its kind")?;
        self.api().create(&PostParams::default(), &object).await.with_context(|| {
            format!("create {} `{}`", K::kind(&()), object.meta().name.as_deref().unwrap_or("without a name"))
        })
    }

    /// Patches an object with a merge patch, as the manager `contract`.
    pub(crate) async fn merge<K: Object>(&self, name: &str, patch: Value) -> Result<K, kube::Error> {
        self.api().patch(name, &manager("contract"), &Patch::Merge(patch)).await
    }

    /// Patches an object with a strategic merge patch, as the manager `contract`.
    pub(crate) async fn strategic<K: Object>(&self, name: &str, patch: Value) -> Result<K, kube::Error> {
        self.api().patch(name, &manager("contract"), &Patch::Strategic(patch)).await
    }

    /// Applies an object as a manager.
    pub(crate) async fn apply<K: Object>(&self, name: &str, who: &str, object: Value) -> Result<K, kube::Error> {
        self.api().patch(name, &PatchParams::apply(who), &Patch::Apply(object)).await
    }

    /// The object once it is as it should be.
    ///
    /// # Errors
    /// What was last seen, when the time is over.
    pub(crate) async fn until<K: Object>(
        &self,
        name: &str,
        what: &str,
        right: impl Fn(&K) -> bool,
    ) -> anyhow::Result<K> {
        let api = self.api::<K>();
        let mut last = None;
        within(what, async || {
            let seen = api.get_opt(name).await?;
            let found = seen.as_ref().is_some_and(&right);
            let text = seen.as_ref().map_or_else(|| "absent".to_owned(), shown);
            last = seen;
            if found { Ok(()) } else { Err(Not(text)) }
        })
        .await?;
        last.context("it was there a moment ago")
    }

    /// Waits until an object is not there.
    pub(crate) async fn gone<K: Object>(&self, name: &str) -> Outcome {
        let api = self.api::<K>();
        within(&format!("`{name}` is gone"), async || match api.get_opt(name).await? {
            None => Ok(()),
            Some(object) => Err(Not(shown(&object))),
        })
        .await
    }

    /// The pods with these labels that are not being deleted, by name.
    pub(crate) async fn pods(&self, labels: &str) -> anyhow::Result<Vec<Pod>> {
        let listed = self.api::<Pod>().list(&ListParams::default().labels(labels)).await?;
        let mut pods: Vec<Pod> = listed.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// Makes a pod and waits until it is ready.
    pub(crate) async fn ready_pod(&self, object: Value) -> anyhow::Result<Pod> {
        let pod: Pod = self.make(object).await?;
        self.until(&pod.name_any(), "the pod is ready", is_ready).await
    }

    /// Runs a shell script in a pod's first container.
    pub(crate) async fn sh(&self, pod: &str, script: &str) -> anyhow::Result<Said> {
        self.exec(pod, &["sh", "-c", script]).await
    }

    /// Runs a program in a pod's first container.
    pub(crate) async fn exec(&self, pod: &str, command: &[&str]) -> anyhow::Result<Said> {
        let parameters = AttachParams::default().stdout(true).stderr(true).stdin(false);
        let running = async {
            let mut attached = self.api::<Pod>().exec(pod, command.iter().copied(), &parameters).await?;
            let status = attached.take_status().context("exec has no status channel")?;
            let mut out = attached.stdout().context("exec has no stdout")?;
            let mut err = attached.stderr().context("exec has no stderr")?;
            let (mut stdout, mut stderr) = (String::new(), String::new());
            let (read, wrote, status) =
                tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr), status);
            read?;
            wrote?;
            anyhow::Ok(Said { stdout, stderr, code: exit_code(status.context("exec ended without a status")?)? })
        };
        timeout(EXEC_WITHIN, running).await.with_context(|| format!("`{}` did not end", command.join(" ")))?
    }
}

/// Sets how long a contract waits for a state at most.
pub(crate) fn wait_at_most(longest: Duration) {
    // Said twice, the first holds: there is one command line.
    let _ = WITHIN.set(longest);
}

/// Not yet; this is what was seen instead.
pub(crate) struct Not(pub(crate) String);

impl From<kube::Error> for Not {
    fn from(error: kube::Error) -> Self {
        Self(error.to_string())
    }
}

/// Looks again and again until it is right.
///
/// # Errors
/// What was last seen, when the time is over.
pub(crate) async fn within<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, Not>) -> anyhow::Result<T> {
    let longest = *WITHIN.get_or_init(|| WITHIN_DEFAULT);
    let deadline = Instant::now() + longest;
    loop {
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(Not(last)) if Instant::now() > deadline => {
                bail!("{what}: not within {} s; last seen: {last}", longest.as_secs())
            }
            Err(Not(_)) => sleep(LOOK).await,
        }
    }
}

/// Insists that something stays true for a while.
///
/// # Errors
/// What was seen when it was not.
pub(crate) async fn stays(
    what: &str,
    during: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> Outcome {
    let until = Instant::now() + during;
    while Instant::now() < until {
        if !holds().await? {
            bail!("{what}: it did not stay so for {} s", during.as_secs());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Insists on a refusal with this code and reason; returns its body.
///
/// # Errors
/// Where it was not refused, or otherwise.
pub(crate) fn refused<T: Debug>(result: Result<T, kube::Error>, code: u16, reason: &str) -> anyhow::Result<Status> {
    match result {
        Err(kube::Error::Api(status)) if status.code == code && status.reason == reason => Ok(*status),
        Err(other) => bail!("expected {code} {reason}, not: {other:?}"),
        Ok(object) => bail!("expected {code} {reason}, and it was accepted: {object:?}"),
    }
}

/// Insists on a value, and shows what was there instead.
///
/// # Errors
/// Where it is another one.
pub(crate) fn is<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Outcome {
    if seen == expected { Ok(()) } else { bail!("{what}: {seen:?}, not {expected:?}") }
}

/// Patch parameters of a field manager.
pub(crate) fn manager(name: &str) -> PatchParams {
    PatchParams { field_manager: Some(name.to_owned()), ..PatchParams::default() }
}

/// Whether a pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").as_deref() == Some("True")
}

/// The status of a pod's condition.
pub(crate) fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == kind).map(|one| one.status.clone())
}

/// How often a pod's first container was started again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    first_container(pod).map_or(0, |container| container.restart_count)
}

/// The state of a pod's first container.
pub(crate) fn first_container(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Why a pod's first container waits.
pub(crate) fn waits_for(pod: &Pod) -> Option<&str> {
    first_container(pod)?.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn shown<K: Serialize>(object: &K) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    let part = if value["status"].is_null() { &value } else { &value["status"] };
    part.to_string()
}

fn exit_code(status: ExecStatus) -> anyhow::Result<i32> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.filter_map(|cause| cause.message.as_deref()?.parse().ok()).next();
    code.with_context(|| format!("exec failed without an exit code: {status:?}"))
}
