//! What is known of a rollout, and how it is judged.

use harness::event::{LoadSecond, LostRequest, PodFacts, RolloutMoment, RolloutStep, TrafficFacts};
use harness::outcome::rollout::RolloutOutcome;
use harness::verdict::judge_rollout;

use crate::support::at;

const RATE: u32 = 50;
const SOCKETS: u32 = 100;

/// A rollout that is told second by second: traffic from 0 s, flowing at 1 s, the first write
/// at 2 s, the last old pod gone at 8 s, and the end of traffic at 11 s.
struct Told(Vec<RolloutMoment>);

impl Told {
    fn good() -> Self {
        let service = || "backend".to_owned();
        let facts = TrafficFacts {
            service: service(),
            requests_per_second: f64::from(RATE),
            path: "/".to_owned(),
            sockets: SOCKETS,
        };
        let mut told = Self(Vec::new());
        told.put(0, RolloutStep::TrafficStarted { traffic: vec![facts] });
        told.put(1_000, RolloutStep::TrafficFlows { service: service(), requests_good: 20, sockets_open: SOCKETS });
        told.put(2_000, RolloutStep::Writing);
        for second in 0..11 {
            let second = LoadSecond {
                from: at(second * 1_000),
                requests_good: RATE,
                sockets_open: SOCKETS,
                ..LoadSecond::default()
            };
            told.put(3_000, RolloutStep::Second { service: service(), second });
        }
        told.put(8_000, RolloutStep::Settled);
        told.put(11_000, RolloutStep::TrafficEnded);
        told
    }

    fn put(&mut self, millis: u64, step: RolloutStep) {
        self.0.push(RolloutMoment { at: at(millis), step });
    }

    fn second(mut self, number: usize, change: impl FnOnce(&mut LoadSecond)) -> Self {
        let mut seconds = self.0.iter_mut().filter_map(|moment| match &mut moment.step {
            RolloutStep::Second { second, .. } => Some(second),
            _ => None,
        });
        change(seconds.nth(number).expect("there are eleven"));
        self
    }

    fn without(mut self, is: impl Fn(&RolloutStep) -> bool) -> Self {
        self.0.retain(|moment| !is(&moment.step));
        self
    }

    fn outcome(&self) -> RolloutOutcome {
        let mut outcome = RolloutOutcome::default();
        self.0.iter().for_each(|moment| outcome.moment(moment));
        outcome
    }
}

#[test]
fn nothing_lost_is_a_pass_only_where_everything_was_counted() {
    #[track_caller]
    fn check(name: &str, told: Told, word: &str, why: &str) {
        let verdict = judge_rollout(&told.outcome());
        assert_eq!(verdict.word(), word, "{name}: {verdict}");
        assert!(verdict.why().unwrap_or_default().contains(why), "{name}: `{verdict}` does not say `{why}`");
    }
    let good = Told::good;
    let is_second = |from: u64| move |step: &RolloutStep| matches!(step, RolloutStep::Second { second, .. } if second.from == at(from));
    check("all good", good(), "pass", "");
    check("a request lost", good().second(4, |one| one.requests_lost = 1), "fail", "lost 1 of 551 requests");
    check("a socket lost", good().second(9, |one| one.sockets_lost = 2), "fail", "a socket 2 times, of 100");
    check(
        "lost, though the rest is unknown",
        good().second(4, |one| one.requests_lost = 1).without(|step| *step == RolloutStep::TrafficEnded),
        "fail",
        "lost 1",
    );
    check(
        "lost before the first write",
        good().second(0, |one| one.requests_lost = 3),
        "inconclusive",
        "before the rollout",
    );
    check("not sent", good().second(5, |one| one.requests_missing = 1), "inconclusive", "1 requests could not be sent");
    check("a second without a record", good().without(is_second(5_000)), "inconclusive", "from 5.000s on");
    check("a second half counted", good().second(3, |one| one.requests_good = 20), "inconclusive", "from 3.000s on");
    check(
        "not seen to flow",
        good().without(|step| matches!(step, RolloutStep::TrafficFlows { .. })),
        "inconclusive",
        "not seen to flow",
    );
    check("not settled", good().without(|step| *step == RolloutStep::Settled), "inconclusive", "to its end");
    check("broken off", good().without(|step| *step == RolloutStep::TrafficEnded), "inconclusive", "broken off");
    check("no socket back", good().second(10, |one| one.sockets_open = 99), "inconclusive", "99 of 100 sockets");
    let mut unmeasured = good();
    let reason = "it has no node port".to_owned();
    unmeasured.put(0, RolloutStep::Unmeasured { service: "backend".to_owned(), reason });
    check("cannot be asked", unmeasured, "inconclusive", "it has no node port");
    let silent = (7..11).fold(good(), |told, number| told.second(number, |one| one.requests_good = 0));
    check("silent at the end", silent, "inconclusive", "backend");
    check("nothing at all", Told(Vec::new()), "inconclusive", "to its end");
}

#[test]
fn a_lost_request_is_told_with_the_pods_that_were_ending() {
    let pod = |name: &str, terminating: bool| PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        workload: None,
        phase: "Running".to_owned(),
        ready: true,
        terminating,
        container_ids: Vec::new(),
        restarts: 0,
        reason: None,
        ended: None,
    };
    let mut told = Told::good();
    let lost = LostRequest { intended: at(4_000), fresh: true, reason: "reset".to_owned() };
    told.put(4_100, RolloutStep::RequestLost { service: "backend".to_owned(), lost });
    let mut outcome = told.outcome();
    for (millis, name, terminating) in [(0, "a", false), (0, "b", false), (3_500, "a", true), (6_000, "b", true)] {
        outcome.pod_seen(at(millis), &pod(name, terminating));
    }
    outcome.pod_gone(at(5_000), "a", "uid-a");
    assert_eq!(outcome.traffic[0].lost[0].reason, "reset");
    let check = |millis: u64, expect: &[&str]| assert_eq!(outcome.ending_at(at(millis)), expect, "{millis}");
    check(3_000, &[]);
    check(4_000, &["a"]);
    check(6_500, &["a", "b"]);
    check(7_500, &["b"]);
}
