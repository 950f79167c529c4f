//! Rollouts: what is seen of one, and when it is done or bad.

use std::time::Duration;

use crate::config::RolloutConfig;
use crate::duration;
use crate::scenario::plan::WorkloadRef;

mod ages;
mod mirror;
mod view;
mod watch;
mod weather;

pub(super) use mirror::Baseline;
pub(super) use watch::{RolloutError, follow};

/// How much longer than the controller's own deadline nothing may progress, before the
/// controller itself counts as gone.
const CONTROLLER_SILENCE: Duration = Duration::from_secs(30);
/// Restarts of a new pod that are no accident any more.
const RESTARTS_BAD: u32 = 2;

/// What is seen of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RolloutView {
    /// Of which workload.
    pub(super) workload: WorkloadRef,
    /// Whether its controller has seen the newest change.
    pub(super) observed: bool,
    /// Whether someone paused it.
    pub(super) paused: bool,
    /// Pods wanted.
    pub(super) wanted: u32,
    /// Pods that its status counts as updated and available.
    pub(super) available: u32,
    /// Its own `progressDeadlineSeconds`, where it has one.
    pub(super) own_deadline: Option<Duration>,
    /// What the controller said when that was over.
    pub(super) deadline_exceeded: Option<String>,
    /// Every pod of it that is not finished.
    pub(super) pods: Vec<PodView>,
}

/// What is seen of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodView {
    /// Its name.
    pub(super) name: String,
    /// Its uid.
    pub(super) uid: String,
    /// Whether it is of the newest revision.
    pub(super) new: bool,
    /// Its Ready condition.
    pub(super) ready: bool,
    /// Whether it is being deleted.
    pub(super) terminating: bool,
    /// Restarts since the rollout began.
    pub(super) restarts: u32,
    /// What keeps one of its containers from running.
    pub(super) trouble: Option<Trouble>,
}

/// What keeps a container from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Which sort.
    pub(super) kind: TroubleKind,
    /// The kubelet's reason and message.
    pub(super) says: String,
    /// For how long it has been seen.
    pub(super) lasts: Duration,
}

/// Sorts of trouble. `ErrImagePull` and `ImagePullBackOff` take turns: they are one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TroubleKind {
    /// `InvalidImageName`, `ErrImageNeverPull`, `CreateContainerConfigError`: waiting does not help.
    Hopeless,
    /// The image cannot be pulled.
    Pull,
    /// `CrashLoopBackOff`.
    CrashLoop,
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    /// New pods are ready, old pods are gone.
    Done,
    /// It goes on.
    Waiting {
        /// What is waited for.
        why: String,
    },
    /// It will not become good.
    Bad {
        /// The decisive condition.
        reason: String,
    },
}

/// Judges a rollout. `unchanged` is the time since it last progressed.
///
/// Decisive at once: what no waiting repairs. Decisive when it persists: crash loops and
/// images that cannot be pulled. Everything else has until the progress deadline, so that
/// a slow healthy start is never called bad.
pub(super) fn judge(view: &RolloutView, unchanged: Duration, limits: &RolloutConfig) -> Progress {
    let deadline = view.own_deadline.map_or(limits.progress_deadline, |own| own + CONTROLLER_SILENCE);
    let waiting = |why: String| {
        if unchanged < deadline {
            return Progress::Waiting { why };
        }
        Progress::Bad { reason: format!("no progress for {}: {why}", duration::text(whole_seconds(unchanged))) }
    };
    if !view.observed {
        return waiting("the controller has not seen the change yet".to_owned());
    }
    if let Some(reason) = new_pods(view).find_map(|pod| bad_pod(pod, limits)) {
        return Progress::Bad { reason };
    }
    if is_done(view) {
        return Progress::Done;
    }
    if let Some(message) = &view.deadline_exceeded {
        return Progress::Bad { reason: format!("ProgressDeadlineExceeded: {message}; {}", summary(view)) };
    }
    waiting(if view.paused { "it is paused".to_owned() } else { summary(view) })
}

fn is_done(view: &RolloutView) -> bool {
    let settled = |pod: &PodView| pod.new && pod.ready && !pod.terminating;
    view.pods.len() == view.wanted as usize && view.pods.iter().all(settled) && view.available >= view.wanted
}

fn bad_pod(pod: &PodView, limits: &RolloutConfig) -> Option<String> {
    let says = |what: &str| Some(format!("pod {}: {what}", pod.name));
    if let Some(trouble) = &pod.trouble {
        let grace = match trouble.kind {
            TroubleKind::Hopeless => Duration::ZERO,
            TroubleKind::Pull => limits.pull_grace,
            TroubleKind::CrashLoop => limits.crash_grace,
        };
        if trouble.lasts >= grace {
            return says(&trouble.says);
        }
    }
    // A pod that is ready now has outlived its restarts; the scenarios will judge it.
    if pod.restarts >= RESTARTS_BAD && !pod.ready {
        return says(&format!("restarted {} times and is not ready", pod.restarts));
    }
    None
}

fn new_pods(view: &RolloutView) -> impl Iterator<Item = &PodView> {
    view.pods.iter().filter(|pod| pod.new && !pod.terminating)
}

/// `2 of 3 new pods ready, 1 old pod left; pod x: ImagePullBackOff`.
fn summary(view: &RolloutView) -> String {
    let ready = new_pods(view).filter(|pod| pod.ready).count();
    let mut text = format!("{ready} of {} new pods ready", view.wanted);
    let leaving = view.pods.iter().filter(|pod| !pod.new || pod.terminating).count();
    if leaving > 0 {
        text.push_str(&format!(", {leaving} old left"));
    }
    if let Some((pod, trouble)) = new_pods(view).find_map(|pod| pod.trouble.as_ref().map(|trouble| (pod, trouble))) {
        text.push_str(&format!("; pod {}: {}", pod.name, trouble.says));
    }
    text
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use TroubleKind::{CrashLoop, Hopeless, Pull};

    const LIMITS: RolloutConfig = RolloutConfig {
        pull_grace: Duration::from_secs(30),
        crash_grace: Duration::from_secs(5),
        progress_deadline: Duration::from_secs(120),
    };

    fn pod(new: bool, ready: bool) -> PodView {
        PodView { name: "p".into(), uid: "u".into(), new, ready, terminating: false, restarts: 0, trouble: None }
    }

    fn view(pods: Vec<PodView>) -> RolloutView {
        let available = u32::try_from(pods.iter().filter(|pod| pod.new && pod.ready).count()).unwrap();
        RolloutView {
            workload: "deployment/web".parse().unwrap(),
            observed: true,
            paused: false,
            wanted: 2,
            available,
            own_deadline: Some(Duration::from_secs(60)),
            deadline_exceeded: None,
            pods,
        }
    }

    fn troubled(kind: TroubleKind, lasts: u64) -> PodView {
        let trouble = Trouble { kind, says: format!("{kind:?}"), lasts: Duration::from_secs(lasts) };
        PodView { trouble: Some(trouble), ..pod(true, false) }
    }

    fn word(view: &RolloutView, unchanged: u64) -> &'static str {
        match judge(view, Duration::from_secs(unchanged), &LIMITS) {
            Progress::Done => "done",
            Progress::Waiting { .. } => "waiting",
            Progress::Bad { .. } => "bad",
        }
    }

    #[test]
    fn done_means_new_pods_ready_and_old_pods_gone() {
        let good = || pod(true, true);
        let ending = |new| PodView { terminating: true, ..pod(new, true) };
        let rows = [
            ("all new and ready", view(vec![good(), good()]), "done"),
            ("one not ready", view(vec![good(), pod(true, false)]), "waiting"),
            ("one missing", view(vec![good()]), "waiting"),
            ("an old one left", view(vec![good(), good(), pod(false, true)]), "waiting"),
            ("an old one still ending", view(vec![good(), good(), ending(false)]), "waiting"),
            ("a new one ending", view(vec![good(), good(), ending(true)]), "waiting"),
            ("one too many", view(vec![good(), good(), good()]), "waiting"),
            ("not available yet", RolloutView { available: 1, ..view(vec![good(), good()]) }, "waiting"),
            ("not observed", RolloutView { observed: false, ..view(vec![good(), good()]) }, "waiting"),
            ("none wanted", RolloutView { wanted: 0, ..view(vec![]) }, "done"),
            ("none wanted, one ending", RolloutView { wanted: 0, ..view(vec![ending(false)]) }, "waiting"),
        ];
        for (row, view, expect) in rows {
            assert_eq!(word(&view, 0), expect, "{row}");
        }
    }

    #[test]
    fn what_is_hopeless_is_bad_at_once_and_the_rest_when_it_persists() {
        let restarted = |restarts, ready| PodView { restarts, ..pod(true, ready) };
        let rows = [
            ("wrong config", troubled(Hopeless, 0), "bad"),
            ("pull fails", troubled(Pull, 29), "waiting"),
            ("pull keeps failing", troubled(Pull, 30), "bad"),
            ("crashed", troubled(CrashLoop, 4), "waiting"),
            ("keeps crashing", troubled(CrashLoop, 5), "bad"),
            ("one restart", restarted(1, false), "waiting"),
            ("two restarts", restarted(2, false), "bad"),
            ("two restarts, then ready", restarted(2, true), "waiting"),
            ("an old pod crashes", PodView { new: false, ..troubled(CrashLoop, 99) }, "waiting"),
            ("an old pod restarted", PodView { new: false, ..restarted(9, false) }, "waiting"),
            ("a bad pod that is leaving", PodView { terminating: true, ..troubled(Hopeless, 9) }, "waiting"),
        ];
        for (row, pod, expect) in rows {
            assert_eq!(word(&view(vec![pod]), 0), expect, "{row}");
        }
        let unseen = RolloutView { observed: false, ..view(vec![troubled(Hopeless, 0)]) };
        assert_eq!(word(&unseen, 0), "waiting", "which pods are new is unknown before the controller looked");
    }

    #[test]
    fn everything_else_has_until_the_progress_deadline() {
        let slow = || view(vec![pod(true, false), pod(false, true)]);
        let stateful = || RolloutView { own_deadline: None, ..slow() };
        let exceeded = || RolloutView { deadline_exceeded: Some("web".into()), ..slow() };
        let rows = [
            ("slow start", slow(), 59, "waiting"),
            ("its controller decides first", slow(), 89, "waiting"),
            ("its controller is gone", slow(), 90, "bad"),
            ("controller says so", exceeded(), 0, "bad"),
            ("controller said so of the last change", RolloutView { observed: false, ..exceeded() }, 0, "waiting"),
            (
                "done after all",
                RolloutView { pods: vec![pod(true, true), pod(true, true)], available: 2, ..exceeded() },
                0,
                "done",
            ),
            ("no deadline of its own", stateful(), 119, "waiting"),
            ("nor progress", stateful(), 120, "bad"),
            ("never observed", RolloutView { observed: false, ..slow() }, 90, "bad"),
        ];
        for (row, view, unchanged, expect) in rows {
            assert_eq!(word(&view, unchanged), expect, "{row}");
        }
    }

    #[test]
    fn reasons_name_pod_and_condition() {
        let check = |view: RolloutView, unchanged, expect| {
            let text = match judge(&view, Duration::from_secs(unchanged), &LIMITS) {
                Progress::Done => "done".to_owned(),
                Progress::Waiting { why } => why,
                Progress::Bad { reason } => reason,
            };
            assert_eq!(text, expect);
        };
        check(view(vec![troubled(Hopeless, 0)]), 0, "pod p: Hopeless");
        check(view(vec![troubled(Pull, 1), pod(false, true)]), 0, "0 of 2 new pods ready, 1 old left; pod p: Pull");
        let never = view(vec![pod(true, true), pod(true, false)]);
        check(never.clone(), 95, "no progress for 1m 35s: 1 of 2 new pods ready");
        check(RolloutView { paused: true, ..never }, 0, "it is paused");
        let exceeded = RolloutView { deadline_exceeded: Some("timed out".into()), ..view(vec![]) };
        check(exceeded, 0, "ProgressDeadlineExceeded: timed out; 0 of 2 new pods ready");
    }
}
