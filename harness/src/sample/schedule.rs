//! When each check looks: pure arithmetic on the plan.
//!
//! A series (one check at one subject) has a grid of intended start times that nothing
//! moves: a look that hangs does not delay the next one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::{Check, Target};
use crate::event::{Offset, Subject};
use crate::scenario::plan::{CheckName, Cost, Plan, WorkloadRef};
use crate::system::Rate;

/// How much slower a costly check is sampled.
pub const COSTLY_SLOWDOWN: u32 = 4;
/// No series is sampled faster, whatever a plan says: our own timers have a grain of 1 ms.
pub const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// How fast one check is sampled, and why not faster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Which check.
    pub check: CheckName,
    /// Time between intended starts on each of its series.
    pub interval: Duration,
    /// What slowed it, where something did.
    pub reason: Option<String>,
}

/// The pace of every check, in the plan's order; empty where the rate is zero.
///
/// The cap holds for the looks that reach one pod in a second, all checks together.
/// A check of each pod counts in full on every pod. A check through the Service counts
/// as spread evenly over the `pods` that the workload has while the system is steady:
/// that many share its looks. A check of another workload's pod (a Redis) counts in
/// full on that pod and does not reach the others. Where the sum is beyond the cap,
/// every check that reaches the pod is slowed by the same ratio. A rate below the
/// plan's is applied last, so that a quarter of the rate is a quarter of what was
/// really sampled.
#[must_use]
pub fn paces(plan: &Plan, pods: usize, rate: &Rate) -> Vec<Pace> {
    if rate.factor <= 0.0 {
        return Vec::new();
    }
    let slowed: Vec<(f64, Option<&str>)> = plan
        .checks
        .iter()
        .map(|check| {
            let reason = if check.cost == Cost::High {
                Some("costly by the scenario")
            } else if rate.costly.contains(&check.name) {
                Some("found costly at the baseline")
            } else {
                None
            };
            let slowdown = if reason.is_some() { f64::from(COSTLY_SLOWDOWN) } else { 1.0 };
            (check.interval.max(INTERVAL_MIN).as_secs_f64() * slowdown, reason)
        })
        .collect();

    let mut reaching: BTreeMap<&WorkloadRef, f64> = BTreeMap::new();
    for (check, (seconds, _)) in plan.checks.iter().zip(&slowed) {
        let (workload, share) = reach(plan, &check.check, pods);
        *reaching.entry(workload).or_default() += share / seconds;
    }

    let cap = plan.samples_per_pod_second_max;
    plan.checks
        .iter()
        .zip(slowed)
        .map(|(check, (seconds, reason))| {
            let (workload, _) = reach(plan, &check.check, pods);
            let stretch = (reaching[workload] / cap).max(1.0);
            let capped = (stretch > 1.0).then(|| format!("at most {cap} looks at a pod in a second"));
            let reasons: Vec<String> = reason.map(str::to_owned).into_iter().chain(capped).collect();
            Pace {
                check: check.name.clone(),
                interval: whole_millis(seconds * stretch / rate.factor),
                reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            }
        })
        .collect()
}

/// Whose pods a check reaches, and with which share of its looks each of them.
fn reach<'a>(plan: &'a Plan, check: &'a Check, pods: usize) -> (&'a WorkloadRef, f64) {
    let target = match check {
        Check::Redis(redis) => return (&redis.of, 1.0),
        Check::Http(http) => http.target,
        Check::Websocket(websocket) => websocket.target,
    };
    match target {
        Target::EachPod => (&plan.workload, 1.0),
        #[expect(clippy::cast_precision_loss, reason = "a number of pods is far below 2^52")]
        Target::Service => (&plan.workload, 1.0 / pods.max(1) as f64),
    }
}

/// Rounded up, so that rounding never exceeds a cap.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "intervals are positive and short")]
fn whole_millis(seconds: f64) -> Duration {
    // The tolerance keeps 0.3 s, which no float holds exactly, from becoming 301 ms.
    Duration::from_millis((seconds * 1000.0 - 1e-6).ceil().max(1.0) as u64)
}

/// Where in its interval a series starts: series of one seed are spread, not in step.
#[must_use]
pub fn phase(seed: u64, check: &CheckName, subject: &Subject, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (seed, check, subject).hash(&mut hasher);
    interval.mul_f64(fastrand::Rng::with_seed(hasher.finish()).f64())
}

/// The intended start times of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    next: Offset,
    interval: Duration,
}

impl Grid {
    /// Starts at an offset.
    #[must_use]
    pub const fn new(first: Offset, interval: Duration) -> Self {
        Self { next: first, interval }
    }

    /// The intended start that comes next.
    #[must_use]
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// Time between two intended starts.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The next intended start, where its time has come; the grid then stands one further.
    pub fn due(&mut self, now: Offset) -> Option<Offset> {
        let intended = self.next;
        (intended <= now).then(|| {
            self.next = intended + self.interval;
            intended
        })
    }
}
