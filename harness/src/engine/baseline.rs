//! Is the observer the fault? The system with our sampling beside the system without it.
//!
//! Windows without and with sampling alternate while the load runs all the time. What is
//! compared is the share of load requests that were slow or failed. Two things must come
//! together before we accuse ourselves: the difference is large enough to matter, and it
//! is too unlikely to be chance. Chance on a busy machine comes in bursts, which no test of
//! significance on single requests knows of; so the difference must also come back round
//! after round, and an accusation takes a third round at least.

use std::time::Duration;

use crate::event::{Baseline, Offset};
use crate::load::LOST_AFTER;
use crate::system::Request;

/// How long sampling is off, and then on, in one round.
pub const WINDOW: Duration = Duration::from_millis(900);
/// The beginning of each window does not count: looks of the window before are still in flight.
pub const GUARD: Duration = Duration::from_millis(150);
/// How long after the last window answers may still come.
pub const RESULTS_WITHIN: Duration = Duration::from_millis(300);
/// Rounds where nothing looks suspicious.
pub const ROUNDS_MIN: usize = 2;
/// Rounds where something does.
pub const ROUNDS_MAX: usize = 5;
/// The smallest difference of the slow shares that is an effect.
pub const EFFECT_SHARE_MIN: f64 = 0.15;
/// The largest probability that chance alone made the difference.
pub const CHANCE_MAX: f64 = 0.001;
/// Requests on each side, below which another round is made.
pub const REQUESTS_MIN: u64 = 20;
/// A difference from here on is worth another round.
const SUSPICIOUS_SHARE: f64 = 0.05;
const SUSPICIOUS_CHANCE: f64 = 0.2;
/// Rounds before we accuse ourselves.
const ACCUSING_ROUNDS_MIN: usize = 3;

/// One stretch of time with or without sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Whether we sampled.
    pub sampled: bool,
    /// Its beginning, before the guard.
    pub from: Offset,
    /// Its end.
    pub until: Offset,
}

impl Window {
    fn covers(&self, at: Offset) -> bool {
        at >= self.from + GUARD && at < self.until
    }
}

/// A container restarted, or a pod stopped being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    /// When we were told.
    pub at: Offset,
    /// Container restarts.
    pub restarts: u32,
    /// Pods that were ready before and are not now.
    pub unready: u32,
}

/// What comes next in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sampling goes on or off.
    Sampling(bool),
    /// Nothing until then.
    Wait(Offset),
    /// The windows are over.
    Compare,
}

/// What a comparison says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// We do not change what we measure.
    Clear,
    /// Another round is needed to tell.
    Unsure,
    /// We do.
    Effect(String),
}

/// The rounds so far, and what was seen in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trial {
    windows: Vec<Window>,
    requests: Vec<Request>,
    churn: Vec<Churn>,
}

/// Slow or failed requests among all of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Side {
    requests: u64,
    slow: u64,
}

impl Side {
    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
    fn share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.slow as f64 / self.requests as f64 }
    }
}

impl Trial {
    /// The first rounds start now.
    #[must_use]
    pub fn start(now: Offset) -> Self {
        let mut trial = Self::default();
        for round in 0..ROUNDS_MIN {
            trial.add_round(now + 2 * WINDOW * u32::try_from(round).unwrap_or(u32::MAX));
        }
        trial
    }

    /// One more round, from `now` on.
    pub fn add_round(&mut self, now: Offset) {
        self.windows.push(Window { sampled: false, from: now, until: now + WINDOW });
        self.windows.push(Window { sampled: true, from: now + WINDOW, until: now + 2 * WINDOW });
    }

    /// One request of the load.
    pub fn request(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// One sign of trouble among the pods.
    pub fn churn(&mut self, churn: Churn) {
        self.churn.push(churn);
    }

    /// What comes next, while sampling is on or off.
    #[must_use]
    pub fn step(&self, now: Offset, sampling: bool) -> Step {
        if let Some(window) = self.windows.iter().find(|window| now < window.until) {
            return if window.sampled == sampling { Step::Wait(window.until) } else { Step::Sampling(window.sampled) };
        }
        if !sampling {
            return Step::Sampling(true);
        }
        let results = self.windows.last().map_or(now, |last| last.until + RESULTS_WITHIN);
        if now < results { Step::Wait(results) } else { Step::Compare }
    }

    /// Compares both sides.
    #[must_use]
    pub fn compare(&self) -> (Baseline, Finding) {
        let slow_above = self.slow_above();
        let sides = |windows: &[Window]| (self.side(windows, false, slow_above), self.side(windows, true, slow_above));
        let (quiet, sampled) = sides(&self.windows);
        let (restarts, unready) = self.churn_by_sampling();
        let baseline = |effect: Option<String>| Baseline {
            quiet_requests: quiet.requests,
            quiet_slow: quiet.slow,
            sampled_requests: sampled.requests,
            sampled_slow: sampled.slow,
            slow_above,
            restarts,
            effect,
        };
        if restarts + unready > 0 {
            let effect = format!("while we sampled, {restarts} containers restarted and {unready} pods became unready");
            return (baseline(Some(effect.clone())), Finding::Effect(effect));
        }

        let rounds: Vec<&[Window]> = self.windows.chunks(2).collect();
        let difference = sampled.share() - quiet.share();
        let chance = chance(quiet, sampled);
        let is_large = difference >= EFFECT_SHARE_MIN && chance <= CHANCE_MAX;
        let is_suspicious = difference >= SUSPICIOUS_SHARE && chance <= SUSPICIOUS_CHANCE;
        let too_few = quiet.requests.min(sampled.requests) < REQUESTS_MIN && quiet.requests > 0;
        let agreeing = rounds.iter().filter(|round| {
            let (quiet, sampled) = sides(round);
            sampled.share() - quiet.share() >= SUSPICIOUS_SHARE
        });
        // Four of five rounds, and every one of three or four.
        let comes_back = agreeing.count() * 5 >= rounds.len() * 4;
        if is_large && comes_back && rounds.len() >= ACCUSING_ROUNDS_MIN {
            let effect = format!(
                "sampling makes the system slower: {} of {} requests took more than {} ms while we sampled, {} of {} while we did not",
                sampled.slow,
                sampled.requests,
                slow_above.as_millis(),
                quiet.slow,
                quiet.requests,
            );
            return (baseline(Some(effect.clone())), Finding::Effect(effect));
        }
        let goes_on = (is_suspicious || too_few) && rounds.len() < ROUNDS_MAX;
        (baseline(None), if goes_on { Finding::Unsure } else { Finding::Clear })
    }

    /// Twice the median without us, and 20 ms for the machine's own hiccups.
    fn slow_above(&self) -> Duration {
        const HICCUP: Duration = Duration::from_millis(20);
        let mut quiet: Vec<Duration> = self
            .requests
            .iter()
            .filter(|request| self.windows.iter().any(|window| !window.sampled && window.covers(request.intended)))
            .map(|request| request.latency.unwrap_or(LOST_AFTER))
            .collect();
        quiet.sort_unstable();
        quiet.get(quiet.len() / 2).map_or(LOST_AFTER, |median| (*median * 2 + HICCUP).min(LOST_AFTER))
    }

    fn side(&self, windows: &[Window], sampled: bool, slow_above: Duration) -> Side {
        let mut side = Side::default();
        for request in &self.requests {
            if windows.iter().any(|window| window.sampled == sampled && window.covers(request.intended)) {
                side.requests += 1;
                side.slow += u64::from(request.latency.is_none_or(|latency| latency > slow_above));
            }
        }
        side
    }

    /// Restarts and lost readiness while we sampled, beyond those while we did not.
    fn churn_by_sampling(&self) -> (u32, u32) {
        let sum = |sampled: bool| {
            let within = |at: Offset| {
                self.windows.iter().any(|window| window.sampled == sampled && at >= window.from && at < window.until)
            };
            self.churn
                .iter()
                .filter(|churn| within(churn.at))
                .fold((0, 0), |(restarts, unready), churn| (restarts + churn.restarts, unready + churn.unready))
        };
        let (quiet, sampled) = (sum(false), sum(true));
        (sampled.0.saturating_sub(quiet.0), sampled.1.saturating_sub(quiet.1))
    }
}

/// The probability that chance puts at least so many slow requests on the sampled side:
/// Fisher's exact test, one-sided.
fn chance(quiet: Side, sampled: Side) -> f64 {
    let all = quiet.requests + sampled.requests;
    let slow = quiet.slow + sampled.slow;
    let logs = log_factorials(all);
    let choose = |from: u64, take: u64| logs[from as usize] - logs[take as usize] - logs[(from - take) as usize];
    let total = choose(all, sampled.requests);
    let most = slow.min(sampled.requests);
    (sampled.slow..=most)
        .filter(|at_least| sampled.requests - at_least <= all - slow)
        .map(|hits| (choose(slow, hits) + choose(all - slow, sampled.requests - hits) - total).exp())
        .sum::<f64>()
        .min(1.0)
}

/// ln(n!) for every n up to `most`.
#[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
fn log_factorials(most: u64) -> Vec<f64> {
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain((1..=most).map(|number| {
            sum += (number as f64).ln();
            sum
        }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_fishers() {
        // Reference values by hand: the lady tasting tea (3 or more of 4: 17/70; 4 of 4: 1/70).
        let check = |quiet: (u64, u64), sampled: (u64, u64), expect: f64| {
            let side = |(slow, requests)| Side { requests, slow };
            let seen = chance(side(quiet), side(sampled));
            assert!((seen - expect).abs() < 1e-9, "{quiet:?} {sampled:?}: {seen} is not {expect}");
        };
        check((1, 4), (3, 4), 17.0 / 70.0);
        check((0, 4), (4, 4), 1.0 / 70.0);
        check((4, 4), (0, 4), 1.0);
        check((0, 10), (0, 10), 1.0);
        check((0, 0), (0, 0), 1.0);
        check((10, 10), (10, 10), 1.0);
    }

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn windows_alternate_and_end_with_sampling_on() {
        let trial = Trial::start(at(1000));
        let check = |now: u64, sampling: bool, expect: Step| {
            assert_eq!(trial.step(at(now), sampling), expect, "at {now}, sampling {sampling}");
        };
        check(1000, true, Step::Sampling(false));
        check(1000, false, Step::Wait(at(1900)));
        check(1900, false, Step::Sampling(true));
        check(1900, true, Step::Wait(at(2800)));
        check(2800, true, Step::Sampling(false));
        check(4600, true, Step::Wait(at(4900)));
        check(4600, false, Step::Sampling(true));
        check(4900, true, Step::Compare);
    }

    /// Rounds of requests every 10 ms; `slow` says of each whether it is.
    fn trial(rounds: usize, mut slow: impl FnMut(usize, bool, u64) -> bool) -> Trial {
        let mut trial = Trial::start(at(0));
        for round in ROUNDS_MIN..rounds {
            trial.add_round(at(1800 * round as u64));
        }
        for intended in (0..1800 * rounds as u64).step_by(10) {
            let (round, within) = ((intended / 1800) as usize, intended % 1800);
            let latency = if slow(round, within >= 900, within) { 120 } else { 3 };
            trial.request(Request { intended: at(intended), latency: Some(Duration::from_millis(latency)) });
        }
        trial
    }

    fn finding(trial: &Trial) -> &'static str {
        match trial.compare().1 {
            Finding::Clear => "clear",
            Finding::Unsure => "unsure",
            Finding::Effect(_) => "effect",
        }
    }

    #[test]
    fn only_a_difference_that_comes_back_is_an_effect() {
        let every = |share: u64| move |within: u64| (within / 10).is_multiple_of(share);
        let third = every(3);
        let fiftieth = every(50);
        let check = |name: &str, trial: Trial, expect: &str| assert_eq!(finding(&trial), expect, "{name}");
        check("nothing is slow", trial(2, |_, _, _| false), "clear");
        check("a few are, on both sides", trial(2, |_, _, within| fiftieth(within)), "clear");
        check("a third is, on both sides", trial(2, |_, _, within| third(within)), "clear");
        check("a third is, with us: two rounds only warn", trial(2, |_, on, within| on && third(within)), "unsure");
        check("a third is, with us: three rounds tell", trial(3, |_, on, within| on && third(within)), "effect");
        check("a third is, without us", trial(3, |_, on, within| !on && third(within)), "clear");
        check(
            "a burst in one window with us",
            trial(2, |round, on, within| on && round == 0 && within < 1500),
            "unsure",
        );
        check("the same after three rounds", trial(3, |round, on, within| on && round == 0 && within < 1500), "unsure");
        check("the same after five", trial(5, |round, on, within| on && round == 0 && within < 1500), "clear");
        check("everything is, with us", trial(3, |_, on, _| on), "effect");
        check("everything is", trial(3, |_, _, _| true), "clear");
    }

    #[test]
    fn failed_requests_count_as_slow() {
        let mut trial = trial(3, |_, _, _| false);
        for request in &mut trial.requests {
            if request.intended.nanos() / 1_000_000 % 1800 >= 900 {
                request.latency = None;
            }
        }
        let (baseline, finding) = trial.compare();
        assert!(matches!(finding, Finding::Effect(_)), "{finding:?}");
        assert_eq!((baseline.quiet_slow, baseline.sampled_slow), (0, baseline.sampled_requests));
    }

    #[test]
    fn too_few_requests_ask_for_another_round_and_none_do_not() {
        let mut few = Trial::start(at(0));
        for intended in (0..3600).step_by(300) {
            few.request(Request { intended: at(intended), latency: Some(Duration::from_millis(3)) });
        }
        assert_eq!(finding(&few), "unsure");
        assert_eq!(finding(&Trial::start(at(0))), "clear");
    }

    #[test]
    fn restarts_while_we_sample_are_an_effect() {
        let check = |quiet: u32, sampled: u32, expect: &str| {
            let mut trial = trial(2, |_, _, _| false);
            trial.churn(Churn { at: at(100), restarts: quiet, unready: 0 });
            trial.churn(Churn { at: at(1000), restarts: sampled, unready: 0 });
            assert_eq!(finding(&trial), expect, "{quiet} {sampled}");
        };
        check(0, 0, "clear");
        check(1, 1, "clear");
        check(0, 1, "effect");
        check(1, 0, "clear");
    }
}
