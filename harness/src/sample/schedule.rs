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
        if let Some((workload, share)) = reach(plan, &check.check, pods) {
            *reaching.entry(workload).or_default() += share / seconds;
        }
    }

    let cap = plan.samples_per_pod_second_max;
    plan.checks
        .iter()
        .zip(slowed)
        .map(|(check, (seconds, reason))| {
            let looks = reach(plan, &check.check, pods).map_or(0.0, |(workload, _)| reaching[workload]);
            let stretch = (looks / cap).max(1.0);
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

/// Whose pods a check reaches, and with which share of its looks each of them; nothing where it
/// costs the pods of the system nothing.
fn reach<'a>(plan: &'a Plan, check: &'a Check, pods: usize) -> Option<(&'a WorkloadRef, f64)> {
    let target = match check {
        Check::Redis(redis) => return Some((&redis.of, 1.0)),
        // These ask the node, the double, ourselves, and the cluster.
        Check::Log(_) | Check::LlmDouble(_) | Check::Sockets(_) | Check::Cluster(_) => return None,
        // Each look asks every pod.
        Check::Metric(_) => Some(Target::EachPod),
        Check::Http(_) | Check::Websocket(_) | Check::Question(_) | Check::Survival(_) | Check::Environment(_) => {
            check.target()
        }
    };
    Some(match target {
        Some(Target::EachPod) | None => (&plan.workload, 1.0),
        #[expect(clippy::cast_precision_loss, reason = "a number of pods is far below 2^52")]
        Some(Target::Service) => (&plan.workload, 1.0 / pods.max(1) as f64),
    })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{HttpCheck, RedisCheck};
    use crate::scenario::plan::{PlannedCheck, Role, WorkloadKind};

    const EACH: Target = Target::EachPod;
    const SERVICE: Target = Target::Service;

    fn http(target: Target) -> Check {
        Check::Http(HttpCheck { target, path: "/".to_owned(), status: 200, json: serde_json::Map::new() })
    }

    fn redis() -> Check {
        let of = WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() };
        Check::Redis(RedisCheck { of, port: 6379 })
    }

    fn plan(checks: Vec<(Check, Cost, u64)>, cap: f64) -> Plan {
        let planned = |(number, (check, cost, millis)): (usize, (Check, Cost, u64))| PlannedCheck {
            name: CheckName(format!("check-{number}")),
            check,
            role: Role::Recovery,
            cost,
            interval: Duration::from_millis(millis),
            timeout: Duration::from_secs(2),
            slow: None,
        };
        let checks = checks.into_iter().enumerate().map(planned).collect();
        Plan { checks, samples_per_pod_second_max: cap, ..crate::engine::test_plan(0) }
    }

    #[test]
    fn checks_share_the_cap_of_a_pod() {
        let check = |name: &str, checks: Vec<(Check, Cost, u64)>, cap: f64, pods: usize, expect: &[u64]| {
            let paces = paces(&plan(checks, cap), pods, &Rate::full());
            let seen: Vec<u64> = paces.iter().map(|pace| u64::try_from(pace.interval.as_millis()).unwrap()).collect();
            assert_eq!(seen, expect, "{name}");
        };
        let low = |target: Target, millis: u64| (http(target), Cost::Low, millis);
        check("within the cap", vec![low(EACH, 300)], 5.0, 3, &[300]);
        check("one check beyond it", vec![low(EACH, 20)], 5.0, 3, &[200]);
        check("two checks share it", vec![low(EACH, 300), low(EACH, 300)], 5.0, 3, &[400, 400]);
        check("the faster one keeps its lead", vec![low(EACH, 100), low(EACH, 300)], 5.0, 3, &[267, 800]);
        check("the service's looks are spread over its pods", vec![low(SERVICE, 100)], 5.0, 3, &[100]);
        check("and all on one where there is one", vec![low(SERVICE, 100)], 5.0, 1, &[200]);
        check("no pod counts as one", vec![low(SERVICE, 100)], 5.0, 0, &[200]);
        check("both together", vec![low(EACH, 300), low(SERVICE, 300)], 4.0, 3, &[334, 334]);
        check(
            "another workload's pods have a cap of their own",
            vec![low(EACH, 250), (redis(), Cost::Low, 300)],
            4.0,
            3,
            &[250, 300],
        );
        check("costly checks are slower", vec![(http(EACH), Cost::High, 300)], 5.0, 3, &[1200]);
        check("and leave room", vec![(http(EACH), Cost::High, 400), low(EACH, 250)], 5.0, 3, &[1600, 250]);
        check("cheap ones may be fast", vec![low(EACH, 20)], 100.0, 3, &[20]);
        check("but not as fast as that", vec![low(EACH, 1)], 10_000.0, 3, &[5]);
    }

    #[test]
    fn what_slows_a_check_is_said() {
        let plan = plan(vec![(http(EACH), Cost::Low, 100), (http(EACH), Cost::High, 1000)], 5.0);
        let costly = [CheckName("check-0".to_owned())].into();
        let reasons = |rate: &Rate| paces(&plan, 3, rate).into_iter().map(|pace| pace.reason).collect::<Vec<_>>();
        let capped = "at most 5 looks at a pod in a second";
        assert_eq!(
            reasons(&Rate::full()),
            [Some(capped.to_owned()), Some(format!("costly by the scenario; {capped}"))]
        );
        assert_eq!(
            reasons(&Rate { costly, ..Rate::full() }),
            [Some("found costly at the baseline".to_owned()), Some("costly by the scenario".to_owned())]
        );
    }

    #[test]
    fn a_rate_slows_what_was_capped_and_zero_stops_it() {
        let plan = plan(vec![(http(EACH), Cost::Low, 20)], 5.0);
        let at = |factor: f64| paces(&plan, 3, &Rate { factor, ..Rate::full() });
        assert_eq!(at(0.25)[0].interval, Duration::from_millis(800));
        assert_eq!(at(0.0), []);
    }

    #[test]
    fn a_grid_does_not_move() {
        let mut grid = Grid::new(Offset::from_millis(100), Duration::from_millis(20));
        assert_eq!(grid.due(Offset::from_millis(99)), None);
        assert_eq!(grid.due(Offset::from_millis(150)), Some(Offset::from_millis(100)));
        assert_eq!(grid.due(Offset::from_millis(150)), Some(Offset::from_millis(120)));
        assert_eq!(grid.due(Offset::from_millis(150)), Some(Offset::from_millis(140)));
        assert_eq!(grid.due(Offset::from_millis(150)), None);
        assert_eq!(grid.next(), Offset::from_millis(160));
    }

    #[test]
    fn series_of_one_seed_are_spread() {
        let interval = Duration::from_millis(300);
        let of = |seed: u64, pod: u32| {
            let subject = Subject::Pod { name: format!("pod-{pod}"), uid: format!("uid-{pod}") };
            phase(seed, &CheckName("ready".to_owned()), &subject, interval)
        };
        assert_eq!(of(1, 1), of(1, 1));
        assert_ne!(of(1, 1), of(2, 1));
        let places: std::collections::BTreeSet<Duration> = (0..100).map(|pod| of(7, pod)).collect();
        assert_eq!(places.len(), 100);
        assert!(places.iter().all(|place| *place < interval));
    }

    proptest! {
        #[test]
        fn no_pod_is_looked_at_more_often_than_the_cap_allows(
            checks in prop::collection::vec((any::<bool>(), any::<bool>(), 1u64..2_000), 1..6),
            cap in 0.5f64..50.0,
            pods in 1usize..10,
        ) {
            let checks: Vec<_> = checks
                .into_iter()
                .map(|(each, low, millis)| (http(if each { EACH } else { SERVICE }), if low { Cost::Low } else { Cost::High }, millis))
                .collect();
            let plan = plan(checks, cap);
            let paces = paces(&plan, pods, &Rate::full());
            let reaching: f64 = plan.checks.iter().zip(&paces).map(|(check, pace)| {
                reach(&plan, &check.check, pods).map_or(0.0, |(_, share)| share) / pace.interval.as_secs_f64()
            }).sum();
            prop_assert!(reaching <= cap * (1.0 + 1e-9), "{reaching} is beyond {cap}");
            prop_assert!(paces.iter().zip(&plan.checks).all(|(pace, check)| pace.interval >= check.interval.min(INTERVAL_MIN)));
        }
    }
}
