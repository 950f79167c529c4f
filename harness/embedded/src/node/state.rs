//! What is known of a pod, and what to do next. No effects.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::probe::ProbeKind;

/// Delay of the second restart in a row; it doubles from there.
const BACK_OFF_FIRST: Duration = Duration::from_secs(10);

/// Longest delay.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// A container that ran this long begins anew without delay.
const BACK_OFF_RESET: Duration = Duration::from_secs(600);

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) code: i32,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
}

/// The container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Container {
    /// It has not been tried yet.
    Creating,
    /// Something stands against it.
    Waiting { reason: &'static str, message: String },
    /// It runs.
    Running { id: String, started_at: Timestamp, started: bool, ready: bool },
    /// It ran.
    Ended(Ended),
}

/// Why a running container is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The pod is being deleted.
    Deleted,
    /// A probe says that it hangs.
    Unhealthy(ProbeKind),
}

/// Everything that decides.
#[derive(Debug, Clone)]
pub(super) struct PodState {
    pub(super) policy: RestartPolicy,
    pub(super) container: Container,
    /// The run before the current one.
    pub(super) last: Option<Ended>,
    /// How often a start was tried.
    pub(super) attempts: u32,
    /// Whether volumes and sandbox are there.
    pub(super) set_up: bool,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) deleting: bool,
    /// A probe's verdict that was not acted on yet.
    pub(super) unhealthy: Option<ProbeKind>,
    /// Not before this is anything tried again.
    pub(super) retry_at: Option<Instant>,
    /// When the container's state changes to that of backing off, and to which.
    pub(super) backs_off: Option<(Instant, Container)>,
    /// Whether the end has been shown: the sandbox is gone for good.
    pub(super) torn_down: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Make volumes and sandbox.
    SetUp,
    /// Start the container.
    Start,
    /// Show that it backs off.
    ShowBackOff,
    /// Nothing until something happens, or until then.
    Wait(Option<Instant>),
    /// End the container.
    Stop(Stop),
    /// Take the sandbox of a finished pod down.
    TearDown,
    /// Remove the pod.
    Leave,
}

/// Decides.
#[must_use]
pub(super) fn next(state: &PodState, now: Instant) -> Action {
    if let Container::Running { .. } = state.container {
        return match (state.deleting, state.unhealthy) {
            (true, _) => Action::Stop(Stop::Deleted),
            (_, Some(kind)) => Action::Stop(Stop::Unhealthy(kind)),
            _ => Action::Wait(None),
        };
    }
    if state.deleting {
        return if state.torn_down || !state.set_up { Action::Leave } else { Action::TearDown };
    }
    if state.is_finished() {
        return if state.torn_down { Action::Wait(None) } else { Action::TearDown };
    }
    if let Some((at, _)) = state.backs_off
        && at <= now
    {
        return Action::ShowBackOff;
    }
    let wake = [state.backs_off.as_ref().map(|(at, _)| *at), state.retry_at].into_iter().flatten().min();
    match state.retry_at {
        Some(at) if at > now => Action::Wait(wake),
        _ if state.set_up => Action::Start,
        _ => Action::SetUp,
    }
}

impl PodState {
    /// A pod that nothing was done for yet.
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            container: Container::Creating,
            last: None,
            attempts: 0,
            set_up: false,
            address: None,
            deleting: false,
            unhealthy: None,
            retry_at: None,
            backs_off: None,
            torn_down: false,
        }
    }

    /// How often the container was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.attempts.saturating_sub(1)
    }

    /// Whether a run that ended so is followed by another one.
    pub(super) fn restarts_after(&self, code: i32) -> bool {
        let by_policy = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        by_policy && !self.deleting
    }

    /// How the pod ended, where nothing of it will run again.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let Container::Ended(ended) = &self.container else { return None };
        let outcome = if ended.code == 0 { Outcome::Succeeded } else { Outcome::Failed };
        (!self.restarts_after(ended.code)).then_some(outcome)
    }

    fn is_finished(&self) -> bool {
        self.outcome().is_some()
    }
}

/// How a pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
}

/// The delay before something is tried again: none, 10 s, 20 s and so on to 300 s.
#[derive(Debug, Clone, Default)]
pub(super) struct BackOff {
    delay: Duration,
    last: Option<Instant>,
    failures: u32,
    /// How many failures it counts before the first.
    head_start: u32,
}

impl BackOff {
    /// For things whose first failure is already followed by a delay (pulling images).
    pub(super) fn from_the_first() -> Self {
        Self { failures: 1, head_start: 1, ..Self::default() }
    }

    /// The delay after a failure now.
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.duration_since(last) > self.delay + BACK_OFF_RESET) {
            (self.delay, self.failures) = (Duration::ZERO, self.head_start);
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.delay = match self.failures {
            1 => Duration::ZERO,
            2 => BACK_OFF_FIRST,
            _ => (self.delay * 2).min(BACK_OFF_MAX),
        };
        self.delay
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
#[must_use]
pub(super) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
