//! Bringing a pod up: volumes, sandbox, image, environment, container, probes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::container::{self, Files, Run};
use super::super::container_init::{Mount, Spec};
use super::super::image::{Image, Reference};
use super::super::logs::Log;
use super::super::probe::{Probe, ProbeKind};
use super::super::prober::{self, Target};
use super::super::sandbox::Sandbox;
use super::super::state::{Container, Ended};
use super::super::{environment, lock, volumes};
use super::{SHOW_BACK_OFF_AFTER, Worker};
use crate::events::Severity;
use crate::shape::quantity;

/// Delay of the second try to mount volumes; it doubles from there.
const MOUNT_RETRY_FIRST: Duration = Duration::from_millis(500);

/// Doublings after which that delay stays: some two minutes.
const MOUNT_RETRY_DOUBLINGS_MAX: u32 = 8;

/// Time between tries of a container whose description cannot be put together.
const CONFIG_RETRY: Duration = Duration::from_secs(10);

/// How many verdicts of probes may wait.
const VERDICTS_MAX: usize = 16;

/// Why a container was not started.
enum Obstacle {
    /// Something of its description is missing: tried again later.
    Waiting { reason: &'static str, message: String },
    /// The image could not be had: tried again with growing delays.
    Image { message: String },
    /// It was tried, and failed at once.
    Start { message: String },
}

impl Worker {
    /// Makes volumes and sandbox.
    pub(super) async fn set_up(&mut self) {
        if let Err(message) = self.try_set_up_volumes() {
            self.recorder.pod(Severity::Warning, "FailedMount", &message);
            let delay = MOUNT_RETRY_FIRST * 2_u32.pow(self.mount_failures.min(MOUNT_RETRY_DOUBLINGS_MAX));
            self.mount_failures = self.mount_failures.saturating_add(1);
            self.state.retry_at = Some(Instant::now() + delay);
            return;
        }
        if let Err(message) = self.try_set_up_sandbox().await {
            let message = format!("Failed to create pod sandbox: {message}");
            self.recorder.pod(Severity::Warning, "FailedCreatePodSandBox", &message);
            self.state.retry_at = Some(Instant::now() + CONFIG_RETRY);
            return;
        }
        self.state.retry_at = None;
        self.state.set_up = true;
    }

    fn try_set_up_volumes(&mut self) -> Result<(), String> {
        let dir = self.volumes_dir();
        std::fs::create_dir_all(&dir).map_err(|error| format!("make {}: {error}", dir.display()))?;
        // What changes from here on is noticed.
        self.configs.mark_unchanged();
        volumes::set_up(&self.context(), &dir, &self.claims_dir())
    }

    async fn try_set_up_sandbox(&mut self) -> Result<(), String> {
        let shared = Arc::clone(&self.node.shared);
        let address = lock(&shared.addresses).take().ok_or("no address of 10.244.0.0/16 is free")?;
        let made = match self.write_names(address) {
            Ok(()) => Sandbox::start(&shared.settings, &self.name.hostname, address).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok(sandbox) => {
                self.state.address = Some(address);
                self.sandbox = Some(sandbox);
                Ok(())
            }
            Err(error) => {
                lock(&shared.addresses).release(address);
                Err(error)
            }
        }
    }

    /// Starts the container, or says what stands against it.
    pub(super) async fn start(&mut self) {
        self.state.retry_at = None;
        self.state.backs_off = None;
        match self.try_start().await {
            Ok(run) => self.started(run),
            Err(Obstacle::Waiting { reason, message }) => {
                if reason == "CreateContainerConfigError" {
                    self.recorder.container(Severity::Warning, "Failed", &format!("Error: {message}"));
                }
                self.wait_with(reason, message);
                self.state.retry_at = Some(Instant::now() + CONFIG_RETRY);
            }
            Err(Obstacle::Image { message }) => self.image_failed(message),
            Err(Obstacle::Start { message }) => self.start_failed(message),
        }
    }

    fn wait_with(&mut self, reason: &'static str, message: String) {
        let waiting = Container::Waiting { reason, message };
        if let Container::Ended(ended) = std::mem::replace(&mut self.state.container, waiting) {
            self.state.last = Some(ended);
        }
    }

    fn image_failed(&mut self, message: String) {
        let image = self.container()["image"].as_str().unwrap_or_default();
        let event = format!("Failed to pull image \"{image}\": {message}");
        self.recorder.container(Severity::Warning, "Failed", &event);
        self.recorder.container(Severity::Warning, "Failed", "Error: ErrImagePull");
        let now = Instant::now();
        let later = format!("Back-off pulling image \"{image}\": ErrImagePull: {message}");
        self.wait_with("ErrImagePull", message);
        self.state.retry_at = Some(now + self.pulls.next(now));
        let waiting = Container::Waiting { reason: "ImagePullBackOff", message: later };
        self.state.backs_off = Some((now + SHOW_BACK_OFF_AFTER, waiting));
    }

    fn start_failed(&mut self, message: String) {
        self.recorder.container(Severity::Warning, "Failed", &format!("Error: {message}"));
        self.state.attempts += 1;
        self.wait_with("RunContainerError", message.clone());
        self.state.last = Some(Ended {
            id: String::new(),
            code: 128,
            reason: "StartError",
            message,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::now(),
        });
        if self.state.restarts_after(128) {
            self.back_off();
        } else if let Some(ended) = self.state.last.take() {
            self.state.container = Container::Ended(ended);
        }
    }

    async fn try_start(&mut self) -> Result<Run, Obstacle> {
        let image = self.have_image().await?;
        self.image = Some(Arc::clone(&image));
        let config = |message: String| Obstacle::Waiting { reason: "CreateContainerConfigError", message };
        let (user, group) = container::user(&image, &self.pod, self.container()).map_err(config)?;
        self.user = Some((user, group));
        let own = environment::of_pod(&self.context()).map_err(config)?;
        let variables = environment::with_image(&image.config.env, &self.name.hostname, own);
        let argv = environment::command_line(self.container(), &image.config.entrypoint, &image.config.cmd, &variables);
        let directory = self.container()["workingDir"].as_str().unwrap_or(&image.config.working_dir).to_owned();
        let files = self.make_files().map_err(|error| config(format!("prepare the container's files: {error}")))?;
        let mounts = self.mounts(&files).map_err(config)?;
        let spec = Spec {
            layers_dir: image.layers_dir.clone(),
            layers: image.layers.clone(),
            scratch: files.scratch.clone(),
            scratch_in_memory: self.node.shared.scratch_in_memory,
            mounts,
            read_only: self.container()["securityContext"]["readOnlyRootFilesystem"] == true,
            argv,
            environment: variables.into_rows(),
            directory,
            user,
            group,
        };
        self.recorder.container(Severity::Normal, "Created", "Container created");
        self.launch(spec, files).await
    }

    async fn launch(&mut self, spec: Spec, files: Files) -> Result<Run, Obstacle> {
        let settings = self.node.shared.settings.clone();
        let Some(sandbox) = &self.sandbox else {
            return Err(Obstacle::Start { message: "the pod has no sandbox".to_owned() });
        };
        let (verdicts, receiver) = mpsc::channel(VERDICTS_MAX);
        let name = self.container_name();
        let run = Run::start(&settings, sandbox, (&name, &spec), files, receiver).await;
        let mut run = run.map_err(|message| Obstacle::Start { message })?;
        self.recorder.container(Severity::Normal, "Started", "Container started");
        let live = run.live.clone();
        let target = Target { address: sandbox.address, program: settings.program, live: live.clone() };
        lock(&self.node.shared.containers).insert((self.key.namespace.clone(), self.key.name.clone()), live);
        if let Some(limit) = self.container()["resources"]["limits"]["memory"].as_str().and_then(quantity::bytes) {
            self.node.shared.limits.add(run.live.pid, limit, Arc::clone(&run.exceeded));
        }
        for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
            if let Some(probe) = Probe::of(self.container(), kind) {
                let (recorder, started) = (self.recorder.clone(), run.started.subscribe());
                let set = if kind == ProbeKind::Readiness { &mut run.readiness } else { &mut run.health };
                set.spawn(prober::run(kind, probe, target.clone(), recorder, started, verdicts.clone()));
            }
        }
        Ok(run)
    }

    fn started(&mut self, run: Run) {
        let started = self.container()["startupProbe"].is_null();
        let ready = started && self.container()["readinessProbe"].is_null();
        run.started.send_replace(started);
        let running = Container::Running { id: run.id.clone(), started_at: Timestamp::now(), started, ready };
        if let Container::Ended(ended) = std::mem::replace(&mut self.state.container, running) {
            self.state.last = Some(ended);
        }
        self.state.attempts += 1;
        self.run = Some(run);
    }

    /// The image, by the pull policy of the container.
    async fn have_image(&mut self) -> Result<Arc<Image>, Obstacle> {
        let text = self.container()["image"].as_str().unwrap_or_default().to_owned();
        let Some(reference) = Reference::parse(&text) else {
            let message = format!(
                "Failed to apply default image tag \"{text}\": couldn't parse image name \"{text}\": invalid reference format"
            );
            self.recorder.container(Severity::Warning, "InspectFailed", &message);
            self.recorder.container(Severity::Warning, "Failed", "Error: InvalidImageName");
            return Err(Obstacle::Waiting { reason: "InvalidImageName", message });
        };
        let policy = self.container()["imagePullPolicy"].as_str().unwrap_or("IfNotPresent").to_owned();
        let images = &self.node.shared.images;
        match (policy.as_str(), images.present(&reference).await) {
            ("Never" | "IfNotPresent", Some(image)) => {
                let message =
                    format!("Container image \"{text}\" already present on machine and can be accessed by the pod");
                self.recorder.container(Severity::Normal, "Pulled", &message);
                Ok(image)
            }
            ("Never", None) => {
                let message = format!("Container image \"{text}\" is not present with pull policy of Never");
                self.recorder.container(Severity::Warning, "ErrImageNeverPull", &message);
                self.recorder.container(Severity::Warning, "Failed", "Error: ErrImageNeverPull");
                Err(Obstacle::Waiting { reason: "ErrImageNeverPull", message })
            }
            _ => self.pull(&text, &reference).await,
        }
    }

    async fn pull(&mut self, text: &str, reference: &Reference) -> Result<Arc<Image>, Obstacle> {
        self.recorder.container(Severity::Normal, "Pulling", &format!("Pulling image \"{text}\""));
        let asked = StdInstant::now();
        let pulled = self.node.shared.images.pull(reference).await;
        let pulled = pulled.map_err(|message| Obstacle::Image { message })?;
        let message = format!(
            "Successfully pulled image \"{text}\" in {}ms ({}ms including waiting). Image size: {} bytes.",
            pulled.took.as_millis(),
            asked.elapsed().as_millis(),
            pulled.image.size
        );
        self.recorder.container(Severity::Normal, "Pulled", &message);
        Ok(pulled.image)
    }

    fn make_files(&self) -> io::Result<Files> {
        let dir = self.dir().join(self.container_name());
        let run = self.state.attempts;
        let log = Log::create(&dir, run)?;
        let scratch = dir.join(format!("{run}.scratch"));
        std::fs::create_dir_all(&scratch)?;
        let message = dir.join("termination-log");
        std::fs::write(&message, "")?;
        Ok(Files { scratch, message, log })
    }

    fn mounts(&self, files: &Files) -> Result<Vec<Mount>, String> {
        let dir = self.dir();
        let own = |name: &str| Mount { source: dir.join(name), target: format!("/etc/{name}"), read_only: false };
        let mut mounts: Vec<Mount> = ["hosts", "hostname", "resolv.conf"].into_iter().map(own).collect();
        let words = self.container()["terminationMessagePath"].as_str().unwrap_or("/dev/termination-log");
        mounts.push(Mount { source: files.message.clone(), target: words.to_owned(), read_only: false });
        let claims = self.claims_dir();
        mounts.extend(volumes::mounts(&self.pod, self.container(), &self.volumes_dir(), &claims)?);
        Ok(mounts)
    }
}
