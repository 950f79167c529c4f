//! One promise as tables show it: rehearsed once, or in rounds.

use super::{Judged, Millis, P95Report, RatesReport, RepeatReport, Report, ScenarioReport, repeat, words};

/// What one line of a table is about.
pub(super) enum Row<'a> {
    /// A scenario that ran once.
    Once(&'a ScenarioReport),
    /// A scenario that ran in rounds.
    Rounds(&'a RepeatReport, Vec<&'a ScenarioReport>),
}

impl Report {
    /// Every promise, in the order in which it was first rehearsed.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for scenario in &self.scenarios {
            let Some(round) = &scenario.round else {
                rows.push(Row::Once(scenario));
                continue;
            };
            let is_known = rows.iter().any(|row| matches!(row, Row::Rounds(known, _) if known.scenario == round.of));
            if let Some(repeat) = self.repeats.iter().find(|repeat| repeat.scenario == round.of).filter(|_| !is_known) {
                rows.push(Row::Rounds(repeat, repeat::rounds_of(&self.scenarios, &round.of)));
            }
        }
        rows
    }

    /// Every promise with the worst first; equals stay in their order.
    pub(super) fn rows_worst_first(&self) -> Vec<Row<'_>> {
        let mut rows = self.rows();
        rows.sort_by_key(|row| std::cmp::Reverse(row.judged()));
        rows
    }
}

impl<'a> Row<'a> {
    /// What is the same in all rounds: the promise, its budget, its place.
    pub(super) fn scenario(&self) -> Option<&'a ScenarioReport> {
        match self {
            Self::Once(scenario) => Some(scenario),
            Self::Rounds(_, rounds) => rounds.first().copied(),
        }
    }

    pub(super) fn id(&self) -> &'a str {
        match self {
            Self::Once(scenario) => &scenario.id.0,
            Self::Rounds(repeat, _) => &repeat.scenario.0,
        }
    }

    pub(super) fn judged(&self) -> Judged {
        match self {
            Self::Once(scenario) => scenario.verdict.verdict,
            Self::Rounds(repeat, _) => repeat.verdict.verdict,
        }
    }

    pub(super) fn why(&self) -> Option<&'a str> {
        match self {
            Self::Once(scenario) => scenario.verdict.why.as_deref(),
            Self::Rounds(repeat, _) => repeat.verdict.why.as_deref(),
        }
    }

    /// Why it was judged as it was.
    pub(super) fn because(&self) -> String {
        match self {
            Self::Once(scenario) => words::because(scenario),
            Self::Rounds(repeat, _) => repeat.verdict.why.clone().unwrap_or_else(|| self.measured()),
        }
    }

    /// What was measured, short enough for a table.
    pub(super) fn measured(&self) -> String {
        match self {
            Self::Once(scenario) => words::measured(scenario),
            Self::Rounds(repeat, _) => measured(repeat),
        }
    }

    /// The time to the symptom; of rounds the longest.
    pub(super) fn detection(&self) -> Option<Millis> {
        match self {
            Self::Once(scenario) => scenario.detection_ms,
            Self::Rounds(_, rounds) => rounds.iter().filter_map(|round| round.detection_ms).max(),
        }
    }

    /// One line for the end of a report.
    pub(super) fn summary(&self) -> String {
        let budget = self.scenario().map(words::budget).unwrap_or_default();
        let told = format!("{}: {}, budget {budget}", self.id(), self.measured());
        self.why().map_or(told.clone(), |why| format!("{told}; {why}"))
    }
}

fn measured(repeat: &RepeatReport) -> String {
    let ran = format!("{} rounds", repeat.rounds.len());
    match (&repeat.median_ms, &repeat.p95) {
        (Some(median), Some(p95)) => {
            let upper = match p95.at_most_ms {
                Some(bound) => format!("p95 at most {bound}"),
                None => format!("worst {}", p95.worst_ms),
            };
            format!("{ran}: median {}, {upper}", Millis::range(median.lower, median.upper))
        }
        _ => format!("{ran}, nothing measured"),
    }
}

/// One labelled line after the other: everything known of the rounds together.
pub(super) fn details(repeat: &RepeatReport) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(why) = &repeat.verdict.why {
        lines.push(("because", why.clone()));
    }
    if let Some(median) = &repeat.median_ms {
        lines.push(("median", Millis::range(median.lower, median.upper)));
    }
    if let Some(p95) = &repeat.p95 {
        lines.push(("p95", self::p95(p95, repeat.rounds.len())));
    }
    lines.push(("rates", rates(repeat.rates.as_ref())));
    lines.extend(repeat.rounds.iter().map(|round| {
        let measured = match (round.recovery_ms, round.absorbed) {
            (Some(longest), true) => format!("not felt, so at most {}", longest.upper),
            (Some(recovery), false) => Millis::range(recovery.lower, recovery.upper),
            (None, _) => "not measured".to_owned(),
        };
        ("round", format!("{} at {}: {}, {measured}", round.number, round.rate.words(), words::judged(round.verdict)))
    }));
    lines
}

fn p95(p95: &P95Report, rounds: usize) -> String {
    let estimate = Millis::range(p95.estimate_ms.lower, p95.estimate_ms.upper);
    let lower = p95.at_least_ms.map_or_else(String::new, |bound| format!("at least {}", bound.at_least()));
    match p95.at_most_ms {
        Some(upper) => format!("{estimate}; with 95 % confidence each: {lower}, at most {upper}"),
        None => format!(
            "{estimate}, not bounded from above: {rounds} rounds are too few, {} would do; the worst seen took at most {}{}",
            p95.bounded_from,
            p95.worst_ms,
            if lower.is_empty() { lower } else { format!("; with 95 % confidence {lower}") }
        ),
    }
}

fn rates(rates: Option<&RatesReport>) -> String {
    let Some(rates) = rates else { return "not compared: nothing was measured at one of the two rates".to_owned() };
    let told = format!(
        "full {}, a quarter {} in the median",
        Millis::range(rates.full_median_ms.lower, rates.full_median_ms.upper),
        Millis::range(rates.quarter_median_ms.lower, rates.quarter_median_ms.upper)
    );
    match (&rates.effect, rates.could_tell) {
        (Some(effect), _) => format!("we changed what we measure: {effect} (by chance in {} of 1)", rates.chance),
        (None, true) => format!("the same story at both: {told} (by chance in {} of 1)", rates.chance),
        (None, false) => format!("{told}; too few rounds to tell a difference, {} would do", rates.could_tell_from),
    }
}
