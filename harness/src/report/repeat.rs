//! The rounds of one variant together: figures over all of them, and one verdict.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Interval, Judged, Millis, ScenarioReport, ScenarioVerdict};
use crate::scenario::plan::ScenarioId;
use crate::scenario::round::RoundRate;
use crate::statistics::{self, Measured, order};

/// The quantile beside the median.
const SHARE: f64 = 0.95;
/// A difference between the two rates counts from this part of the budget on.
const LARGE: u32 = 20;

/// All rounds of one variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RepeatReport {
    /// The variant.
    pub scenario: ScenarioId,
    /// The judgement over all rounds: a round that fails fails them all.
    pub verdict: ScenarioVerdict,
    /// How many rounds were asked for.
    pub rounds_wanted: u32,
    /// Those that ran, each with its raw figure.
    pub rounds: Vec<RoundReport>,
    /// The median recovery; absent where nothing was measured.
    pub median_ms: Option<Interval>,
    /// The time within which 95 of 100 recoveries stay.
    pub p95: Option<P95Report>,
    /// Rounds at the full sampling rate beside those at a quarter of it.
    pub rates: Option<RatesReport>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RoundReport {
    /// Its number, from 1.
    pub number: u32,
    /// How often it looked.
    pub rate: RoundRate,
    /// Its own judgement.
    pub verdict: Judged,
    /// What it measured. Where a fault was not felt: from nothing to the longest outage that
    /// may have fallen between two looks.
    pub recovery_ms: Option<Interval>,
    /// Whether a proven fault was not felt at all.
    pub absorbed: bool,
}

/// The 95th percentile of the recovery, from order statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct P95Report {
    /// Of the rounds that ran.
    pub estimate_ms: Interval,
    /// With 95 % confidence it is at least this; absent with too few rounds.
    pub at_least_ms: Option<Millis>,
    /// With 95 % confidence it is at most this; absent with too few rounds.
    pub at_most_ms: Option<Millis>,
    /// The worst that was seen, which is all that fewer rounds can say.
    pub worst_ms: Millis,
    /// How many rounds it takes to bound it from above.
    pub bounded_from: usize,
}

/// The two sampling rates beside each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RatesReport {
    /// Median recovery of the rounds at the full rate.
    pub full_median_ms: Interval,
    /// Median recovery of the rounds at a quarter of it.
    pub quarter_median_ms: Interval,
    /// How often chance alone makes them differ as much or more.
    pub chance: f64,
    /// Whether so many rounds could show any difference.
    pub could_tell: bool,
    /// How many rounds it takes to show one.
    pub could_tell_from: usize,
    /// How we changed what we measure, where we did.
    pub effect: Option<String>,
}

/// Every variant that ran in rounds, in the order of its first one.
pub(super) fn repeats(scenarios: &[ScenarioReport]) -> Vec<RepeatReport> {
    let mut names: Vec<&ScenarioId> = Vec::new();
    for round in scenarios.iter().filter_map(|scenario| scenario.round.as_ref()) {
        if !names.contains(&&round.of) {
            names.push(&round.of);
        }
    }
    names.into_iter().filter_map(|name| repeat(name, &rounds_of(scenarios, name))).collect()
}

/// The rounds of a variant, in the order of their numbers.
pub(super) fn rounds_of<'a>(scenarios: &'a [ScenarioReport], name: &ScenarioId) -> Vec<&'a ScenarioReport> {
    let number = |scenario: &&ScenarioReport| scenario.round.as_ref().map_or(0, |round| round.number);
    let is_one = |scenario: &&ScenarioReport| scenario.round.as_ref().is_some_and(|round| round.of == *name);
    let mut rounds: Vec<_> = scenarios.iter().filter(is_one).collect();
    rounds.sort_by_key(number);
    rounds
}

fn repeat(name: &ScenarioId, scenarios: &[&ScenarioReport]) -> Option<RepeatReport> {
    let first = scenarios.first()?;
    let rounds: Vec<RoundReport> = scenarios.iter().filter_map(|scenario| round(scenario)).collect();
    let all: Vec<Measured> = rounds.iter().filter_map(measured).collect();
    let rates = rates(&rounds, first.budget_ms.duration() / LARGE);
    let wanted = first.round.as_ref().map_or(0, |round| round.total);
    Some(RepeatReport {
        scenario: name.clone(),
        verdict: verdict(scenarios, wanted, rates.as_ref()),
        rounds_wanted: wanted,
        median_ms: order::median(&all).map(interval),
        p95: p95(&all),
        rates,
        rounds,
    })
}

fn round(scenario: &ScenarioReport) -> Option<RoundReport> {
    let round = scenario.round.as_ref()?;
    let not_felt = || scenario.felt_from_ms.map(|upper| Interval { lower: Millis::default(), upper });
    Some(RoundReport {
        number: round.number,
        rate: round.rate,
        verdict: scenario.verdict.verdict,
        recovery_ms: scenario.recovery_ms.or_else(not_felt),
        absorbed: scenario.absorbed,
    })
}

fn p95(all: &[Measured]) -> Option<P95Report> {
    let found = statistics::quantile(all, SHARE)?;
    Some(P95Report {
        estimate_ms: interval(found.estimate),
        at_least_ms: found.at_least.map(|bound| Millis::floor(bound.lower)),
        at_most_ms: found.at_most.map(|bound| Millis::ceil(bound.upper)),
        worst_ms: Millis::ceil(all.iter().map(|one| one.upper).max()?),
        bounded_from: order::least_count(SHARE),
    })
}

fn rates(rounds: &[RoundReport], large: Duration) -> Option<RatesReport> {
    let of = |rate| rounds.iter().filter(|round| round.rate == rate).filter_map(measured).collect::<Vec<_>>();
    let (full, quarter) = (of(RoundRate::Full), of(RoundRate::Quarter));
    let found = statistics::compare(&full, &quarter)?;
    let (full_median_ms, quarter_median_ms) = (interval(order::median(&full)?), interval(order::median(&quarter)?));
    let longer = match found.first_is {
        Ordering::Greater => "more slowly",
        Ordering::Less | Ordering::Equal => "faster",
    };
    let effect = found.differs(large).then(|| {
        format!(
            "looked at four times as often it recovers {longer}: {} instead of {} in the median",
            Millis::range(full_median_ms.lower, full_median_ms.upper),
            Millis::range(quarter_median_ms.lower, quarter_median_ms.upper)
        )
    });
    Some(RatesReport {
        full_median_ms,
        quarter_median_ms,
        // Four digits say all there is to say, and survive being written and read.
        chance: (found.chance * 10_000.0).round() / 10_000.0,
        could_tell: found.could_tell(),
        could_tell_from: statistics::compare::least_count(),
        effect,
    })
}

/// Passed on retry is failed: the worst round counts. If all pass, the longest that any of them
/// may have taken, which no bound drawn from them exceeds, is within the budget; what is left
/// to doubt is whether all were run, and whether looking changed what was seen.
fn verdict(scenarios: &[&ScenarioReport], wanted: u32, rates: Option<&RatesReport>) -> ScenarioVerdict {
    let worst = scenarios.iter().rev().max_by_key(|scenario| scenario.verdict.verdict);
    let of_round = |scenario: &ScenarioReport| {
        let number = scenario.round.as_ref().map_or(0, |round| round.number);
        let why = scenario.verdict.why.clone().unwrap_or_default();
        Some(format!("round {number} of {wanted}: {why}"))
    };
    let ran = scenarios.len();
    let is_short = u32::try_from(ran).is_ok_and(|ran| ran < wanted);
    match worst.map(|scenario| (scenario.verdict.verdict, scenario)) {
        Some((worst @ (Judged::Fail | Judged::Inconclusive), scenario)) => {
            ScenarioVerdict { verdict: worst, why: of_round(scenario) }
        }
        Some((Judged::Pass, _)) | None if is_short => ScenarioVerdict {
            verdict: Judged::Inconclusive,
            why: Some(format!("only {ran} of {wanted} rounds were run")),
        },
        Some((Judged::Pass, _)) | None => match rates.and_then(|rates| rates.effect.as_ref()) {
            Some(effect) => {
                ScenarioVerdict { verdict: Judged::Inconclusive, why: Some(format!("observer effect: {effect}")) }
            }
            None => ScenarioVerdict { verdict: Judged::Pass, why: None },
        },
    }
}

fn measured(round: &RoundReport) -> Option<Measured> {
    let recovery = round.recovery_ms?;
    Some(Measured { lower: recovery.lower.duration(), upper: recovery.upper.duration() })
}

fn interval(measured: Measured) -> Interval {
    Interval { lower: Millis::floor(measured.lower), upper: Millis::ceil(measured.upper) }
}
