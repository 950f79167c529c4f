//! What someone needs to find out why a scenario did not pass, or a release did not stand up.
//!
//! Collecting is best effort: it has a deadline, says what it could not have, and never changes
//! a verdict. Everything is redacted by value, with the values of the namespace's Secrets; where
//! they cannot be read, nothing is asked of the cluster, for nothing could be redacted.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::Api;
use kube::api::{ListParams, LogParams};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::event::StageResult;
use crate::journal::{self, JournalError};
use crate::report::Fold;
use crate::scenario::plan::ScenarioId;
use crate::verdict::Verdict;

mod lines;
mod redact;
mod samples;
mod text;

pub(super) use lines::logged;
use redact::Redactor;
use samples::Samples;

/// How long collecting may take, all requests together.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the server may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many lines of one log are asked for.
const LOG_LINES_MAX: usize = 2_000;
/// How many bytes all logs of one bundle may have.
const LOG_BYTES_MAX: usize = 5 << 20;
/// How many logs are read at a time; bounds the memory they take.
const LOGS_AT_ONCE: usize = 4;
/// Bytes of the salt that keeps hashes of short values from being guessed.
const SALT_BYTES: usize = 16;

/// File name, and where the API serves it below `/api…/namespaces/NAME/`.
const OBJECTS: [(&str, &str, &str); 8] = [
    ("deployments", "/apis/apps/v1", "deployments"),
    ("statefulsets", "/apis/apps/v1", "statefulsets"),
    ("replicasets", "/apis/apps/v1", "replicasets"),
    ("pods", "/api/v1", "pods"),
    ("services", "/api/v1", "services"),
    ("endpointslices", "/apis/discovery.k8s.io/v1", "endpointslices"),
    ("configmaps", "/api/v1", "configmaps"),
    ("persistentvolumeclaims", "/api/v1", "persistentvolumeclaims"),
];

/// What a bundle is about.
pub(super) struct About {
    /// Its directory's name.
    folder: String,
    /// `scenario redis-lost/killed`, `stage deploy`.
    title: String,
    /// What went wrong.
    why: String,
    /// The newest run of this scenario has samples.
    scenario: Option<ScenarioId>,
}

impl About {
    /// A scenario that did not pass; nothing for one that did.
    pub(super) fn scenario(id: &ScenarioId, verdict: &Verdict, known: &Fold) -> Option<Self> {
        if *verdict == Verdict::Pass {
            return None;
        }
        let repeat = known.runs_of(id);
        let folder = file_name(&id.0);
        Some(Self {
            // Each repeat has a bundle of its own.
            folder: if repeat > 1 { format!("{folder}-{repeat}") } else { folder },
            title: format!("scenario {id}"),
            why: verdict.to_string(),
            scenario: Some(id.clone()),
        })
    }

    /// The release's last stage, where it failed on the cluster; what fails before (building,
    /// pushing) leaves nothing there to look at.
    pub(super) fn release(known: &Fold) -> Option<Self> {
        let (stage, result) = known.last_stage().filter(|(stage, _)| !matches!(*stage, "build" | "push"))?;
        let why = match result {
            StageResult::Done | StageResult::Cancelled => return None,
            StageResult::Failed { error } => format!("failed: {error}"),
            StageResult::RolledBack { reason } => format!("rolled back: {reason}"),
            StageResult::RollbackFailed { error } => format!("roll-back failed: {error}"),
        };
        Some(Self { folder: file_name(stage), title: format!("stage {stage}"), why, scenario: None })
    }
}

/// Collects and writes a bundle below `<run>/bundle/`; returns the line that tells where it is,
/// or why there is none.
///
/// Takes at most 15 s. Cancelling ends the collecting; what is there by then is written.
pub(super) async fn write(
    about: &About,
    cluster: &Cluster,
    run: &Path,
    journal: &Path,
    clock: &RunClock,
    cancel: &CancellationToken,
) -> String {
    let mut bundle = Bundle::collect(cluster, clock, cancel).await;
    if let Some(scenario) = &about.scenario {
        match samples(journal, scenario) {
            Ok(samples) => bundle.add("samples.csv", samples.csv(|field| bundle.redactor.redact(field))),
            Err(error) => bundle.gaps.push(format!("samples.csv: {error}")),
        }
    }
    let readme = bundle.readme(about, cluster, clock);
    bundle.add("README.txt", readme);
    let directory = run.join("bundle").join(&about.folder);
    match bundle.write(&directory) {
        Ok(()) => format!("{}: bundle in {}", about.title, directory.display()),
        Err((path, error)) => format!("{}: bundle is incomplete: write {}: {error}", about.title, path.display()),
    }
}

/// The samples of the newest run of a scenario, from the journal that is still being written.
fn samples(journal: &Path, scenario: &ScenarioId) -> Result<Samples, JournalError> {
    let mut samples = Samples::of(scenario);
    journal::each(journal, |event| samples.apply(event))?;
    Ok(samples)
}

/// The files of a bundle, before any is written.
struct Bundle {
    redactor: Redactor,
    /// Path below the bundle's directory, and its text, not redacted yet.
    files: Vec<(String, String)>,
    /// What could not be had, and what was cut.
    gaps: Vec<String>,
}

impl Bundle {
    async fn collect(cluster: &Cluster, clock: &RunClock, cancel: &CancellationToken) -> Self {
        let source = Source { cluster, clock, cancel, deadline: clock.instant(clock.now() + COLLECT_TIMEOUT) };
        let mut bundle = Self { redactor: Redactor::default(), files: Vec::new(), gaps: Vec::new() };
        match source.secrets().await {
            Ok(secrets) => {
                bundle.redactor = redactor(&secrets);
                bundle.add_secrets(&secrets);
                bundle.add_events(&source).await;
                bundle.add_objects(&source).await;
                bundle.add_logs(&source).await;
            }
            Err(error) => bundle.gaps.push(format!(
                "objects, events and logs: the Secrets cannot be read, so nothing could be redacted: {error}"
            )),
        }
        bundle
    }

    fn add(&mut self, path: &str, text: String) {
        self.files.push((path.to_owned(), text));
    }

    fn add_secrets(&mut self, secrets: &[Secret]) {
        match salt() {
            Ok(salt) => self.add("objects/secrets.json", text::secrets(secrets, &salt)),
            Err(error) => self.gaps.push(format!("objects/secrets.json: no randomness for a salt: {error}")),
        }
    }

    async fn add_events(&mut self, source: &Source<'_>) {
        let path = format!("/api/v1/namespaces/{}/events?includeObject=Object", source.cluster.namespace);
        match source.get(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await {
            Ok(table) => self.add("events.txt", text::event_lines(&table)),
            Err(error) => self.gaps.push(format!("events.txt: {error}")),
        }
    }

    async fn add_objects(&mut self, source: &Source<'_>) {
        for (name, group, plural) in OBJECTS {
            let path = format!("{group}/namespaces/{}/{plural}", source.cluster.namespace);
            match source.get(&path, "application/json").await {
                Ok(list) => self.add(&format!("objects/{name}.json"), text::objects(list)),
                Err(error) => self.gaps.push(format!("objects/{name}.json: {error}")),
            }
        }
    }

    async fn add_logs(&mut self, source: &Source<'_>) {
        let pods = match source.pods().await {
            Ok(pods) => pods,
            Err(error) => return self.gaps.push(format!("logs: {error}")),
        };
        let reading = pods.iter().flat_map(wanted_logs).map(async |wanted| {
            let log = source.log(&wanted, None).await;
            (wanted, log)
        });
        let logs: Vec<_> = futures_util::stream::iter(reading).buffered(LOGS_AT_ONCE).collect().await;
        let mut read = Vec::new();
        for (wanted, log) in logs {
            match log {
                Ok(log) => read.push((wanted.path(), log)),
                Err(error) => self.gaps.push(format!("{}: {error}", wanted.path())),
            }
        }
        self.keep_logs(read);
    }

    /// Redacted before they are cut: half a value would not be found any more.
    fn keep_logs(&mut self, read: Vec<(String, String)>) {
        let logs: Vec<_> = read.into_iter().map(|(path, log)| (path, self.redactor.redact(&log))).collect();
        let sizes: Vec<usize> = logs.iter().map(|(_, log)| log.len()).collect();
        for ((path, log), share) in logs.into_iter().zip(text::shares(&sizes, LOG_BYTES_MAX)) {
            if log.lines().count() >= LOG_LINES_MAX {
                self.gaps.push(format!("{path}: only the last {LOG_LINES_MAX} lines were asked for"));
            }
            let kept = text::tail(&log, share);
            if kept.len() < log.len() {
                self.gaps.push(format!("{path}: the first {} of {} bytes are cut", log.len() - kept.len(), log.len()));
            }
            self.add(&path, kept.to_owned());
        }
    }

    fn readme(&self, about: &About, cluster: &Cluster, clock: &RunClock) -> String {
        let mut lines = vec![
            format!("What was there when {} did not pass.", about.title),
            about.why.clone(),
            String::new(),
            format!("cluster    {} ({})", cluster.facts.name, cluster.facts.server),
            format!("namespace  {}", cluster.namespace),
            format!("run start  {}", clock.started()),
            format!("collected  {} after it, and after any healing", clock.now()),
            String::new(),
            "objects/      the namespace's objects as the API server has them, field managers left out".to_owned(),
            "              secrets.json: no values, only their lengths and hashes with a salt that was thrown away"
                .to_owned(),
            "events.txt    Events, oldest first".to_owned(),
            format!(
                "logs/         POD.CONTAINER.log, and POD.CONTAINER.previous.log of the container before a restart: the last {LOG_LINES_MAX} lines"
            ),
        ];
        if about.scenario.is_some() {
            lines.push(
                "samples.csv   samples from 30 s before the fault to 30 s after it; all where there was no fault"
                    .to_owned(),
            );
            lines.push(
                "              milliseconds since the run's start; the journal beside the bundle has every sample"
                    .to_owned(),
            );
        }
        lines.push(String::new());
        lines.push("Values of the namespace's Secrets are replaced by [redacted] wherever they occur,".to_owned());
        lines.push("as they are and in base64; those of fewer than 4 characters are not looked for.".to_owned());
        lines.push(String::new());
        if self.gaps.is_empty() {
            lines.push("Nothing that was asked for is missing or cut.".to_owned());
        } else {
            lines.push("Missing or cut:".to_owned());
            lines.extend(self.gaps.iter().map(|gap| format!("- {gap}")));
        }
        lines.join("\n") + "\n"
    }

    /// Writes every file, redacted; stops at the first that cannot be written.
    fn write(&self, directory: &Path) -> Result<(), (PathBuf, std::io::Error)> {
        for (path, text) in &self.files {
            let path = directory.join(path);
            let parent = path.parent().unwrap_or(directory);
            std::fs::create_dir_all(parent).map_err(|error| (parent.to_owned(), error))?;
            std::fs::write(&path, self.redactor.redact(text)).map_err(|error| (path, error))?;
        }
        Ok(())
    }
}

/// One log of one container.
struct WantedLog {
    pod: String,
    container: String,
    previous: bool,
}

impl WantedLog {
    fn path(&self) -> String {
        let previous = if self.previous { ".previous" } else { "" };
        format!("logs/{}.{}{previous}.log", self.pod, self.container)
    }
}

/// The logs a pod can have: of containers that started, and of those before a restart.
fn wanted_logs(pod: &Pod) -> Vec<WantedLog> {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let init_containers = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let mut wanted = Vec::new();
    for container in init_containers.iter().chain(containers) {
        for (previous, is_there) in [(false, has_started(container)), (true, has_restarted(container))] {
            if is_there {
                let pod = pod.metadata.name.clone().unwrap_or_default();
                wanted.push(WantedLog { pod, container: container.name.clone(), previous });
            }
        }
    }
    wanted
}

fn has_started(container: &ContainerStatus) -> bool {
    container.container_id.as_ref().is_some_and(|id| !id.is_empty())
}

fn has_restarted(container: &ContainerStatus) -> bool {
    container.restart_count > 0 && container.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}

/// The cluster, asked within what is left of the time.
struct Source<'a> {
    cluster: &'a Cluster,
    clock: &'a RunClock,
    cancel: &'a CancellationToken,
    deadline: Instant,
}

impl Source<'_> {
    async fn secrets(&self) -> Result<Vec<Secret>, String> {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        Ok(self.answer(secrets.list(&ListParams::default())).await?.items)
    }

    async fn pods(&self) -> Result<Vec<Pod>, String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        Ok(self.answer(pods.list(&ListParams::default())).await?.items)
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Value, String> {
        let request = http::Request::get(path).header(http::header::ACCEPT, accept).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        self.answer(self.cluster.client.request(request)).await
    }

    /// Its last lines; where `seconds` are given, none that is older.
    async fn log(&self, wanted: &WantedLog, seconds: Option<i64>) -> Result<String, String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let what = LogParams {
            container: Some(wanted.container.clone()),
            previous: wanted.previous,
            tail_lines: i64::try_from(LOG_LINES_MAX).ok(),
            timestamps: true,
            since_seconds: seconds,
            ..LogParams::default()
        };
        self.answer(pods.logs(&wanted.pod, &what)).await
    }

    async fn answer<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        let deadline = self.deadline.min(self.clock.instant(self.clock.now() + ANSWER_TIMEOUT));
        match self.cancel.run_until_cancelled(timeout_at(deadline, request)).await {
            None => Err("the run was cancelled".to_owned()),
            Some(Err(_)) if deadline == self.deadline => {
                Err(format!("the {} s for collecting were over", COLLECT_TIMEOUT.as_secs()))
            }
            Some(Err(_)) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
            Some(Ok(answer)) => answer.map_err(|error| error.to_string()),
        }
    }
}

fn redactor(secrets: &[Secret]) -> Redactor {
    let values = secrets.iter().flat_map(|secret| secret.data.iter().flatten());
    Redactor::new(values.map(|(_, value)| value.0.as_slice()))
}

fn salt() -> std::io::Result<[u8; SALT_BYTES]> {
    let mut salt = [0; SALT_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(salt)
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect()
}

#[cfg(test)]
#[path = "bundle/tests.rs"]
mod tests;
