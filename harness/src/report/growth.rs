//! A run's recoveries beside those of the reference.

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::{Interval, Judged, Millis, Report};
use crate::reference::{Comparand, Entry, Ground, Reference};
use crate::scenario::plan::ScenarioId;

/// The comparison with a reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReferenceReport {
    /// What was compared against: a file, or a run.
    pub source: String,
    /// One a promise.
    pub growth: Vec<GrowthReport>,
}

/// One recovery beside that of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GrowthReport {
    /// Which variant.
    pub scenario: ScenarioId,
    /// The recovery in the reference; absent where it has none for this ground.
    pub then_ms: Option<Interval>,
    /// The recovery now; absent where none was measured.
    pub now_ms: Option<Interval>,
    /// What came of it, in words.
    pub says: String,
    /// Whether it grew so much that it deserves a warning.
    pub warns: bool,
}

impl ReferenceReport {
    /// How many recoveries grew so much that they deserve a warning.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.growth.iter().filter(|one| one.warns).count()
    }
}

impl Report {
    /// Compares with a reference, and judges again: with `strict` a warning fails the gate.
    pub fn compare(&mut self, comparand: &Comparand) {
        let ground = self.ground();
        let growth = self.rows().iter().map(|row| growth(row, ground.as_ref(), comparand)).collect();
        self.reference = Some(ReferenceReport { source: comparand.source.clone(), growth });
        self.judge();
    }

    /// The recoveries of this run as a reference for later ones: of promises that were kept.
    #[must_use]
    pub fn as_reference(&self) -> Reference {
        let (Some(ground), Some(run)) = (self.ground(), &self.run) else { return Reference::default() };
        let entry = |row: Row<'_>| {
            let recovery_ms = recovery(&row).filter(|_| row.judged() == Judged::Pass)?;
            let rounds = match &row {
                Row::Once(_) => 1,
                Row::Rounds(repeat, _) => repeat.rounds.len(),
            };
            let scenario = ScenarioId(row.id().to_owned());
            Some(Entry { scenario, ground: ground.clone(), recovery_ms, rounds, run: run.run.clone() })
        };
        Reference { entries: self.rows().into_iter().filter_map(entry).collect() }
    }

    fn ground(&self) -> Option<Ground> {
        Some(Ground::of(self.cluster.as_ref()?, &self.run.as_ref()?.profile))
    }
}

fn growth(row: &Row<'_>, ground: Option<&Ground>, comparand: &Comparand) -> GrowthReport {
    let scenario = ScenarioId(row.id().to_owned());
    let now = recovery(row);
    let then = ground.and_then(|ground| comparand.reference.find(&scenario, ground)).map(|entry| entry.recovery_ms);
    let range = |interval: Interval| Millis::range(interval.lower, interval.upper);
    let grown = then.zip(now).and_then(|(then, now)| comparand.warn_above.grown(then, now));
    // What is red already needs no warning.
    let warns = grown.is_some() && row.judged() == Judged::Pass;
    let says = match (then, now, grown) {
        (Some(then), Some(now), Some(times)) => {
            format!("{}, at least {times:.1} times the {} of the reference", range(now), range(then))
        }
        (Some(then), Some(now), None) => format!("{}, {} in the reference", range(now), range(then)),
        (Some(then), None, _) => format!("not measured now, {} in the reference", range(then)),
        (None, _, _) => absent(&scenario, ground, &comparand.reference),
    };
    GrowthReport { scenario, then_ms: then, now_ms: now, says, warns }
}

fn absent(scenario: &ScenarioId, ground: Option<&Ground>, reference: &Reference) -> String {
    let here = ground.map_or_else(|| "an unknown ground".to_owned(), ToString::to_string);
    let elsewhere: Vec<String> = reference.elsewhere(scenario).iter().map(ToString::to_string).collect();
    if elsewhere.is_empty() {
        format!("not in the reference for {here}")
    } else {
        format!("not in the reference for {here}; what it has is of {} and cannot be compared", elsewhere.join("; "))
    }
}

fn recovery(row: &Row<'_>) -> Option<Interval> {
    match row {
        Row::Once(scenario) => scenario.recovery_ms,
        Row::Rounds(repeat, _) => repeat.median_ms,
    }
}
