//! Is the observer the fault? The system with our sampling beside the system without it.
//!
//! Windows without and with sampling alternate while the load runs all the time. What is
//! compared is the share of load requests that were slow or failed. Before we accuse
//! ourselves, the difference must be
//!
//! - large enough to matter;
//! - too unlikely to be chance, request by request;
//! - too regular to be chance, round by round: a busy machine stands still in bursts, and one
//!   burst makes many requests slow at once, but it does not come back in every window with
//!   sampling and stay away from every one without;
//! - our doing, as far as can be told: most of the slow requests were meant to be sent while
//!   one of our looks was in flight. A very large difference needs no such witness.

use std::time::Duration;

use crate::event::{Baseline, Offset};
use crate::load::LOST_AFTER;
use crate::system::Request;

/// How long sampling is off, and then on, in one round.
pub const WINDOW: Duration = Duration::from_secs(1);
/// The beginning of each window does not count: looks of the window before are still in flight.
pub const GUARD: Duration = Duration::from_millis(150);
/// How long after the last window answers may still come.
pub const RESULTS_WITHIN: Duration = Duration::from_millis(300);
/// Rounds where nothing looks suspicious.
pub const ROUNDS_MIN: usize = 2;
/// Rounds where something does.
pub const ROUNDS_MAX: usize = 8;
/// The smallest difference of the slow shares that is an effect.
pub const EFFECT_SHARE_MIN: f64 = 0.04;
/// From here on a difference is an effect even where no look was in flight.
pub const EFFECT_SHARE_PLAIN: f64 = 0.25;
/// The share of the slow requests that must have met a look in flight.
pub const WITNESSED_MIN: f64 = 0.6;
/// With so many slow requests even without us, two rounds tell nothing.
const NOISY_SHARE: f64 = 0.05;
/// The largest probability that chance alone made the difference, by single requests.
pub const CHANCE_MAX: f64 = 0.001;
/// The largest probability that chance alone made the difference, by rounds.
pub const CHANCE_OF_ROUNDS_MAX: f64 = 0.01;
/// Requests on each side, below which another round is made.
pub const REQUESTS_MIN: u64 = 60;
/// A difference from here on is worth another round.
const SUSPICIOUS_SHARE: f64 = 0.02;
const SUSPICIOUS_CHANCE: f64 = 0.25;
/// Shares of a round are no more exact than this, however alike the rounds are.
const SHARE_GRAIN: f64 = 0.01;

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
    /// When each of our looks was sent and done.
    looks: Vec<(Offset, Offset)>,
    churn: Vec<Churn>,
}

/// Slow or failed requests among all of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Side {
    requests: u64,
    slow: u64,
    /// Of the slow ones, those that met a look in flight.
    witnessed: u64,
}

impl Side {
    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
    fn share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.slow as f64 / self.requests as f64 }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
    fn witnessed_share(self) -> f64 {
        if self.slow == 0 { 0.0 } else { self.witnessed as f64 / self.slow as f64 }
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

    /// One look of ours.
    pub fn look(&mut self, sent: Offset, done: Offset) {
        self.looks.push((sent, done));
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

        let differences: Vec<f64> = self
            .windows
            .chunks(2)
            .map(|round| {
                let (quiet, sampled) = sides(round);
                sampled.share() - quiet.share()
            })
            .collect();
        let difference = sampled.share() - quiet.share();
        let chance = chance(quiet, sampled);
        let is_witnessed = difference >= EFFECT_SHARE_PLAIN || sampled.witnessed_share() >= WITNESSED_MIN;
        let is_large = difference >= EFFECT_SHARE_MIN && is_witnessed;
        let is_significant = chance <= CHANCE_MAX && comes_back(&differences);
        let is_suspicious =
            quiet.share() >= NOISY_SHARE || (difference >= SUSPICIOUS_SHARE && chance <= SUSPICIOUS_CHANCE);
        let too_few = quiet.requests.min(sampled.requests) < REQUESTS_MIN && quiet.requests > 0;
        if is_large && is_significant {
            let effect = format!(
                "sampling makes the system slower: {} of {} requests took more than {} ms while we sampled \
                 ({} of them met a look in flight), {} of {} while we did not",
                sampled.slow,
                sampled.requests,
                slow_above.as_millis(),
                sampled.witnessed,
                quiet.slow,
                quiet.requests,
            );
            return (baseline(Some(effect.clone())), Finding::Effect(effect));
        }
        let goes_on = (is_suspicious || too_few) && differences.len() < ROUNDS_MAX;
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
                let is_slow = request.latency.is_none_or(|latency| latency > slow_above);
                side.requests += 1;
                side.slow += u64::from(is_slow);
                side.witnessed += u64::from(is_slow && self.is_witnessed(request.intended));
            }
        }
        side
    }

    fn is_witnessed(&self, at: Offset) -> bool {
        self.looks.iter().any(|(sent, done)| *sent <= at && at < *done)
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

/// Whether the rounds' differences are above zero beyond chance: a paired, one-sided t-test,
/// which takes how much rounds differ among themselves for the measure of chance.
#[expect(clippy::cast_precision_loss, reason = "there are few rounds")]
fn comes_back(differences: &[f64]) -> bool {
    let rounds = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / rounds;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    let Some(critical) = differences.len().checked_sub(2).and_then(|place| CRITICAL_T.get(place)) else { return false };
    let deviation = (squares / (rounds - 1.0)).sqrt().max(SHARE_GRAIN);
    mean * rounds.sqrt() / deviation >= *critical
}

/// Student's t at a one-sided probability of [`CHANCE_OF_ROUNDS_MAX`], for 2 to [`ROUNDS_MAX`]
/// rounds: 1 to 7 degrees of freedom.
const CRITICAL_T: [f64; ROUNDS_MAX - 1] = [31.821, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998];

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
            let side = |(slow, requests)| Side { requests, slow, witnessed: 0 };
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
        check(1000, false, Step::Wait(at(2000)));
        check(2000, false, Step::Sampling(true));
        check(2000, true, Step::Wait(at(3000)));
        check(3000, true, Step::Sampling(false));
        check(5000, true, Step::Wait(at(5300)));
        check(5000, false, Step::Sampling(true));
        check(5300, true, Step::Compare);
    }

    /// Rounds of requests every 10 ms; `slow` says of each whether it is.
    fn trial(rounds: usize, mut slow: impl FnMut(usize, bool, u64) -> bool) -> Trial {
        let mut trial = Trial::start(at(0));
        for round in ROUNDS_MIN..rounds {
            trial.add_round(at(2000 * round as u64));
        }
        for intended in (0..2000 * rounds as u64).step_by(10) {
            let (round, within) = ((intended / 2000) as usize, intended % 2000);
            let latency = if slow(round, within >= 1000, within) { 120 } else { 3 };
            trial.request(Request { intended: at(intended), latency: Some(Duration::from_millis(latency)) });
        }
        trial
    }

    /// The same with looks in flight all the time while we sampled.
    fn witnessed(mut trial: Trial) -> Trial {
        let sampled: Vec<Window> = trial.windows.iter().filter(|window| window.sampled).copied().collect();
        sampled.iter().for_each(|window| trial.look(window.from, window.until));
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
        let (tenth, fiftieth) = (every(10), every(50));
        let check = |name: &str, trial: Trial, expect: &str| assert_eq!(finding(&trial), expect, "{name}");
        check("nothing is slow", trial(2, |_, _, _| false), "clear");
        check("a few are, on both sides", trial(2, |_, _, within| fiftieth(within)), "clear");
        check("a third is, on both sides: too noisy to tell", trial(2, |_, _, within| third(within)), "unsure");
        check("the same after eight rounds", trial(8, |_, _, within| third(within)), "clear");
        check("a third is, with us", trial(2, |_, on, within| on && third(within)), "effect");
        check("a tenth is, with us", witnessed(trial(4, |_, on, within| on && tenth(within))), "effect");
        check("a tenth is, but no look was in flight", trial(8, |_, on, within| on && tenth(within)), "clear");
        check(
            "a fiftieth is, with us: too little to matter",
            trial(8, |_, on, within| on && fiftieth(within)),
            "clear",
        );
        check("a third is, without us", trial(8, |_, on, within| !on && third(within)), "clear");
        let burst = |round: usize, on: bool, within: u64| on && round == 0 && within < 1600;
        check("a burst in one window with us", trial(2, burst), "unsure");
        check("the same after four rounds", trial(4, burst), "unsure");
        check("the same after eight", trial(8, burst), "clear");
        check("everything is, with us", trial(3, |_, on, _| on), "effect");
        check("everything is", trial(8, |_, _, _| true), "clear");
    }

    #[test]
    fn rounds_must_agree() {
        let check = |differences: &[f64], expect: bool| assert_eq!(comes_back(differences), expect, "{differences:?}");
        check(&[], false);
        check(&[0.5], false);
        check(&[0.5, 0.5], true);
        check(&[0.1, 0.12, 0.09], true);
        check(&[0.1, 0.2, 0.0], false);
        check(&[0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], false);
        check(&[0.08, 0.03, 0.12, 0.05, 0.1, 0.07, 0.06, 0.09], true);
        check(&[0.0; 8], false);
        check(&[-0.1; 8], false);
    }

    #[test]
    fn failed_requests_count_as_slow() {
        let mut trial = trial(3, |_, _, _| false);
        for request in &mut trial.requests {
            if request.intended.nanos() / 1_000_000 % 2000 >= 1000 {
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
        for intended in (0..4000).step_by(300) {
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
            trial.churn(Churn { at: at(1100), restarts: sampled, unready: 0 });
            assert_eq!(finding(&trial), expect, "{quiet} {sampled}");
        };
        check(0, 0, "clear");
        check(1, 1, "clear");
        check(0, 1, "effect");
        check(1, 0, "clear");
    }
}
