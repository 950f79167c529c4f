//! One task for each pod: does what [`state::next`] says, and listens meanwhile.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::container::{Run, RunHappening};
use super::environment::Context;
use super::image::Image;
use super::names::{self, PodName};
use super::probe::ProbeKind;
use super::prober::{Target, Verdict};
use super::recorder::Recorder;
use super::sandbox::Sandbox;
use super::state::{self, Action, BackOff, Container, Ended, PodState, RestartPolicy, Stop, go_duration};
use super::status::{self, Facts};
use super::termination::{self, Plan};
use super::{Node, files, lock, volumes};
use crate::controllers::{self, DeleteOptions};
use crate::events::Severity;
use crate::object::{self, Key};
use crate::status::Status;

mod starting;

/// How long a container that failed shows how it ended before it shows that it backs off.
const SHOW_BACK_OFF_AFTER: Duration = Duration::from_secs(1);

/// How long after a change of a ConfigMap or Secret its files change.
const REFRESH_AFTER: Duration = Duration::from_secs(1);

/// Grace of a pod whose object was removed by force.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// Everything one pod needs.
pub(super) struct Worker {
    node: Node,
    key: Key,
    uid: String,
    pod: Arc<Value>,
    name: PodName,
    recorder: Recorder,
    state: PodState,
    restarts: BackOff,
    pulls: BackOff,
    mount_failures: u32,
    started_at: Timestamp,
    image: Option<Arc<Image>>,
    user: Option<(u32, u32)>,
    sandbox: Option<Sandbox>,
    run: Option<Run>,
    updates: watch::Receiver<Option<Arc<Value>>>,
    configs: watch::Receiver<u64>,
    refresh_at: Option<Instant>,
    object_gone: bool,
}

/// What a worker waits for.
enum Happening {
    Update,
    Ended(std::io::Result<ExitStatus>),
    Verdict(Verdict),
    Configs,
    Time,
}

impl Worker {
    /// A worker for a pod of this node; `updates` holds its newest object, and `None` once
    /// that is gone.
    pub(super) fn new(node: Node, pod: Arc<Value>, updates: watch::Receiver<Option<Arc<Value>>>) -> Self {
        let container = &pod["spec"]["containers"][0];
        let policy = match pod["spec"]["restartPolicy"].as_str() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        };
        let recorder = {
            let name = container["name"].as_str().unwrap_or_default();
            Recorder::new(&node.shared.store, &node.shared.settings.name, &pod, name)
        };
        Self {
            key: Key::of(&crate::kinds::POD, &pod),
            uid: object::uid(&pod).to_owned(),
            name: PodName::of(&pod),
            configs: node.shared.configs.subscribe(),
            recorder,
            state: PodState::new(policy),
            restarts: BackOff::default(),
            pulls: BackOff::from_the_first(),
            mount_failures: 0,
            started_at: Timestamp::now(),
            image: None,
            user: None,
            sandbox: None,
            run: None,
            refresh_at: None,
            object_gone: false,
            node,
            pod,
            updates,
        }
    }

    /// Works until the pod is gone. Dropping it kills what runs.
    pub(super) async fn run(mut self) {
        self.take_update();
        loop {
            self.write_status();
            match state::next(&self.state, Instant::now()) {
                Action::SetUp => self.set_up().await,
                Action::Start => self.start().await,
                Action::ShowBackOff => self.show_back_off(),
                Action::Wait(until) => self.wait(until).await,
                Action::Stop(why) => self.stop(why).await,
                Action::TearDown => self.tear_down().await,
                Action::Leave => return self.leave().await,
            }
        }
    }

    fn container(&self) -> &Value {
        &self.pod["spec"]["containers"][0]
    }

    fn container_name(&self) -> String {
        self.container()["name"].as_str().unwrap_or_default().to_owned()
    }

    fn dir(&self) -> PathBuf {
        self.node.pod_dir(&self.uid)
    }

    fn volumes_dir(&self) -> PathBuf {
        self.dir().join("volumes")
    }

    fn claims_dir(&self) -> PathBuf {
        self.node.shared.settings.dir.join("volumes")
    }

    fn context(&self) -> Context<'_> {
        Context {
            store: &self.node.shared.store,
            pod: &self.pod,
            container: self.container(),
            pod_address: self.state.address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            node_address: self.node.shared.settings.address,
        }
    }

    /// `name_namespace(uid)`, as back-off messages name a pod.
    fn full_name(&self) -> String {
        format!("{}_{}({})", self.key.name, self.key.namespace, self.uid)
    }

    fn take_update(&mut self) {
        let newest = self.updates.borrow_and_update().clone();
        match newest {
            Some(pod) => {
                self.state.deleting = object::is_terminating(&pod);
                self.pod = pod;
            }
            None => (self.state.deleting, self.object_gone) = (true, true),
        }
    }

    fn write_status(&mut self) {
        if self.object_gone {
            return;
        }
        let facts = Facts {
            node_address: self.node.shared.settings.address,
            started_at: self.started_at,
            image_id: self.image.as_ref().filter(|_| self.state.attempts > 0).map_or("", |image| &image.id),
            user: self.user,
            now: Timestamp::now(),
        };
        let written = self.node.shared.store.update(&self.key, |pod| {
            if object::uid(pod) != self.uid {
                return Err(Status::not_found(self.key.kind, &self.key.name));
            }
            pod["status"] = status::render(pod, &self.state, &facts);
            Ok(())
        });
        // Not found: the object is gone, and the update that says so is on its way.
        if let Ok(pod) = written {
            self.pod = pod;
        }
    }

    async fn wait(&mut self, until: Option<Instant>) {
        match self.happening(until).await {
            Happening::Ended(status) => self.ended(status).await,
            other => self.take(other),
        }
    }

    /// Waits for the next thing, at most until then.
    async fn happening(&mut self, until: Option<Instant>) -> Happening {
        let until = [until, self.refresh_at].into_iter().flatten().min();
        let time = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let run = async {
            match &mut self.run {
                Some(run) => run.happening().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happening = run => match happening {
                RunHappening::Ended(status) => Happening::Ended(status),
                RunHappening::Verdict(verdict) => Happening::Verdict(verdict),
            },
            changed = self.updates.changed() => { ended_agent(changed).await; Happening::Update }
            _ = self.configs.changed() => Happening::Configs,
            () = time => Happening::Time,
        }
    }

    /// Takes in anything but the container's end.
    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Update => self.take_update(),
            Happening::Verdict(verdict) => self.judge(verdict),
            Happening::Configs => {
                self.configs.mark_unchanged();
                if self.state.set_up && self.refresh_at.is_none() && volumes::has_changing(&self.pod) {
                    self.refresh_at = Some(Instant::now() + REFRESH_AFTER);
                }
            }
            Happening::Time => {
                if self.refresh_at.is_some_and(|at| at <= Instant::now()) {
                    self.refresh_at = None;
                    volumes::refresh(&self.context(), &self.volumes_dir());
                }
            }
            Happening::Ended(_) => {}
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        let has_readiness = !self.container()["readinessProbe"].is_null();
        let Container::Running { started, ready, .. } = &mut self.state.container else { return };
        match (verdict.kind, verdict.good) {
            (ProbeKind::Readiness, good) => *ready = good,
            (ProbeKind::Startup, true) => {
                *started = true;
                *ready = !has_readiness;
                if let Some(run) = &self.run {
                    run.started.send_replace(true);
                }
            }
            (ProbeKind::Liveness, true) => {}
            (kind @ (ProbeKind::Startup | ProbeKind::Liveness), false) => self.state.unhealthy = Some(kind),
        }
    }

    /// The container has ended, by itself or by us.
    async fn ended(&mut self, status: std::io::Result<ExitStatus>) {
        let Some(run) = self.run.take() else { return };
        let shared = &self.node.shared;
        shared.limits.remove(run.live.pid);
        // After a removal by force, a new pod may have the name already.
        lock(&shared.containers).retain(|_, live| live.pid != run.live.pid);
        let id = run.id.clone();
        let exit = run.finish(status).await;
        let started_at = match &self.state.container {
            Container::Running { started_at, .. } => *started_at,
            _ => Timestamp::UNIX_EPOCH,
        };
        let reason = match (exit.out_of_memory, exit.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let ended =
            Ended { id, code: exit.code, reason, message: exit.message, started_at, finished_at: Timestamp::now() };
        self.state.container = Container::Ended(ended);
        self.state.unhealthy = None;
        if self.state.restarts_after(exit.code) {
            self.back_off();
        }
    }

    /// Delays the next start where there were failures before.
    fn back_off(&mut self) {
        let now = Instant::now();
        let delay = self.restarts.next(now);
        if delay.is_zero() {
            return;
        }
        let (name, pod) = (self.container_name(), self.full_name());
        let event = format!("Back-off restarting failed container {name} in pod {pod}");
        self.recorder.container(Severity::Warning, "BackOff", &event);
        let message = format!("back-off {} restarting failed container={name} pod={pod}", go_duration(delay));
        self.state.retry_at = Some(now + delay);
        let waiting = Container::Waiting { reason: "CrashLoopBackOff", message };
        self.state.backs_off = Some((now + SHOW_BACK_OFF_AFTER, waiting));
    }

    fn show_back_off(&mut self) {
        let Some((_, waiting)) = self.state.backs_off.take() else { return };
        if let Container::Waiting { reason: "ImagePullBackOff", .. } = &waiting {
            let image = self.container()["image"].as_str().unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\"");
            self.recorder.container(Severity::Normal, "BackOff", &message);
            self.recorder.container(Severity::Warning, "Failed", "Error: ImagePullBackOff");
        }
        if let Container::Ended(ended) = std::mem::replace(&mut self.state.container, waiting) {
            self.state.last = Some(ended);
        }
    }

    /// Ends the container: hook, signal, and the other signal at the end of the grace.
    async fn stop(&mut self, why: Stop) {
        let name = self.container_name();
        let (message, grace) = match why {
            Stop::Unhealthy(kind) => {
                let label = kind.label().to_lowercase();
                let message = format!("Container {name} failed {label} probe, will be restarted");
                (message, termination::grace(&self.pod))
            }
            Stop::Deleted if self.object_gone => (format!("Stopping container {name}"), FORCED_GRACE),
            Stop::Deleted => (format!("Stopping container {name}"), termination::grace(&self.pod)),
        };
        self.recorder.container(Severity::Normal, "Killing", &message);
        let signal = self.image.as_ref().map_or("", |image| image.config.stop_signal.as_str());
        let plan = Plan::new(self.container(), signal, grace);
        let began = Instant::now();
        if let Some(run) = &mut self.run {
            run.health.shutdown().await;
        }
        if let (Some(hook), Some(target)) = (plan.hook.clone(), self.target()) {
            let hook = termination::run_hook(hook, plan.grace, target, self.recorder.clone());
            tokio::pin!(hook);
            loop {
                tokio::select! {
                    () = &mut hook => break,
                    happening = self.happening(None) => if self.take_while_stopping(happening).await { return },
                }
            }
        }
        for (signal, until) in [(plan.signal, Some(plan.kill_at(began, Instant::now()))), (Signal::KILL, None)] {
            if let Some(run) = &self.run {
                run.signal(signal);
            }
            while until.is_none_or(|until| Instant::now() < until) {
                let happening = self.happening(until).await;
                if self.take_while_stopping(happening).await {
                    return;
                }
            }
        }
    }

    /// Takes something in; returns whether it was the container's end.
    async fn take_while_stopping(&mut self, happening: Happening) -> bool {
        match happening {
            Happening::Ended(status) => {
                self.ended(status).await;
                return true;
            }
            // It is ending already, whatever these probes said just before.
            Happening::Verdict(Verdict { kind: ProbeKind::Startup | ProbeKind::Liveness, .. }) => {}
            other => {
                self.take(other);
                self.write_status();
            }
        }
        false
    }

    fn target(&self) -> Option<Target> {
        let live = self.run.as_ref()?.live.clone();
        let program = self.node.shared.settings.program.clone();
        Some(Target { address: self.state.address?, program, live })
    }

    async fn tear_down(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            let address = sandbox.address;
            sandbox.end().await;
            lock(&self.node.shared.addresses).release(address);
        }
        self.state.torn_down = true;
    }

    async fn leave(&mut self) {
        self.tear_down().await;
        let dir = self.dir();
        // Removing many files is no work for a runtime thread.
        let _ = tokio::task::spawn_blocking(move || files::remove_tree(&dir)).await;
        if !self.object_gone {
            let options =
                DeleteOptions { grace_seconds: Some(0), uid: Some(self.uid.clone()), ..DeleteOptions::default() };
            // Someone else may have removed it meanwhile.
            let _ = controllers::delete(&self.node.shared.store, &self.key, &options);
        }
    }

    fn write_names(&self, address: std::net::Ipv4Addr) -> std::io::Result<()> {
        names::write(&self.node, &self.dir(), &self.name, address)
    }
}

/// The agent drops its end only when everything ends; nothing is to happen then.
async fn ended_agent(changed: Result<(), watch::error::RecvError>) {
    if changed.is_err() {
        std::future::pending().await
    }
}
