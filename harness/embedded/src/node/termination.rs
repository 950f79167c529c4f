//! Ending a container: the hook first, then a polite signal, then the other one, all
//! within one grace period.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::probe::Handler;
use super::prober::{self, Target};
use super::recorder::Recorder;
use crate::events::Severity;

/// However long the hook took, the command has this long to act on the signal.
const AFTER_HOOK_MIN: Duration = Duration::from_secs(2);

/// Grace of pods that say nothing.
const GRACE_DEFAULT: u64 = 30;

/// What the hook and the signals of a container are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) hook: Option<Hook>,
    pub(super) signal: Signal,
    pub(super) grace: Duration,
}

/// `lifecycle.preStop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    Look(Handler),
    Sleep(Duration),
}

impl Plan {
    /// The plan for this container and this grace, which is at least a second.
    #[must_use]
    pub(super) fn new(container: &Value, image_signal: &str, grace: Duration) -> Self {
        let pre_stop = &container["lifecycle"]["preStop"];
        let hook = match pre_stop["sleep"]["seconds"].as_u64() {
            Some(seconds) => Some(Hook::Sleep(Duration::from_secs(seconds))),
            None => Handler::of(container, pre_stop).map(Hook::Look),
        };
        let chosen = container["lifecycle"]["stopSignal"].as_str().unwrap_or(image_signal);
        Self { hook, signal: signal(chosen).unwrap_or(Signal::TERM), grace: grace.max(Duration::from_secs(1)) }
    }

    /// When the last signal is due, for a hook that began at `began` and is over `now`.
    #[must_use]
    pub(super) fn kill_at(&self, began: Instant, now: Instant) -> Instant {
        let planned = began + self.grace;
        if self.hook.is_some() { planned.max(now + AFTER_HOOK_MIN) } else { planned }
    }
}

/// The grace that a pod's deletion, or its specification, gives.
#[must_use]
pub(super) fn grace(pod: &Value) -> Duration {
    let seconds = pod["metadata"]["deletionGracePeriodSeconds"]
        .as_u64()
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_u64());
    Duration::from_secs(seconds.unwrap_or(GRACE_DEFAULT))
}

/// Runs the hook for as long as the grace at most; a hook that fails is told and forgotten.
pub(super) async fn run_hook(hook: Hook, grace: Duration, target: Target, recorder: Recorder) {
    let result = match hook {
        Hook::Sleep(duration) => {
            let _ = timeout(grace, sleep(duration)).await;
            Ok(())
        }
        Hook::Look(handler) => prober::look(&handler, &target, grace).await,
    };
    if result.is_err() {
        recorder.container(Severity::Warning, "FailedPreStopHook", "PreStopHook failed");
    }
}

/// A signal by its name or number, as images write it.
fn signal(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse() {
        return Signal::from_named_raw(number);
    }
    let named = match text.strip_prefix("SIG").unwrap_or(text) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        _ => return None,
    };
    Some(named)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_last_signal_is_due_at_the_end_of_the_grace() {
        let with_hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}});
        // Grace, seconds the hook took, seconds from the beginning to the last signal.
        let rows = [(json!({}), 6, 0, 6), (json!({}), 0, 0, 1), (with_hook.clone(), 30, 5, 30), (with_hook, 5, 5, 7)];
        for (container, grace, took, expect) in rows {
            let plan = Plan::new(&container, "", seconds(grace));
            let began = Instant::now();
            assert_eq!(
                plan.kill_at(began, began + seconds(took)),
                began + seconds(expect),
                "{container} {grace} {took}"
            );
        }
    }

    #[test]
    fn the_signal_is_the_images() {
        for (text, expect) in [
            ("", Signal::TERM),
            ("SIGQUIT", Signal::QUIT),
            ("3", Signal::QUIT),
            ("SIGWHAT", Signal::TERM),
            ("INT", Signal::INT),
        ] {
            assert_eq!(Plan::new(&json!({}), text, seconds(1)).signal, expect, "{text:?}");
        }
    }

    #[test]
    fn grace_is_the_deletions_then_the_pods() {
        let rows = [
            (json!({"metadata": {"deletionGracePeriodSeconds": 2}, "spec": {"terminationGracePeriodSeconds": 9}}), 2),
            (json!({"spec": {"terminationGracePeriodSeconds": 9}}), 9),
            (json!({}), 30),
        ];
        for (pod, expect) in rows {
            assert_eq!(grace(&pod), seconds(expect), "{pod}");
        }
    }
}
