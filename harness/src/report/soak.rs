//! What came of a soak, metric by metric.

use serde::{Deserialize, Serialize};

use super::{Judged, Millis, ScenarioVerdict};
use crate::soak::metric::Metric;
use crate::soak::{Soak, value};
use crate::verdict::Verdict;

/// A soak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SoakReport {
    /// The judgement.
    pub verdict: ScenarioVerdict,
    /// How long it was to last.
    pub length_ms: Millis,
    /// How long it lasted, by its newest look.
    pub lasted_ms: Millis,
    /// How many looks there were.
    pub looks: usize,
    /// Why it ended before its time, where it did.
    pub ended_early: Option<String>,
    /// Each metric.
    pub metrics: Vec<MetricReport>,
    /// Where its length and bounds come from.
    pub source: String,
}

/// One metric of a soak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricReport {
    /// Its name in the runbook.
    pub name: String,
    /// The unit of its values.
    pub unit: String,
    /// The worst value; absent without data.
    pub worst: Option<f64>,
    /// The newest value.
    pub last: Option<f64>,
    /// From where on it is a warning.
    pub warning_from: f64,
    /// From where on it is critical.
    pub critical_from: f64,
    /// Looks with a healthy value.
    pub healthy: usize,
    /// Looks with a warning.
    pub warning: usize,
    /// Looks with a critical value.
    pub critical: usize,
    /// Looks without data.
    pub missing: usize,
}

impl SoakReport {
    /// What a soak came to.
    #[must_use]
    pub fn of(soak: &Soak) -> Self {
        let plan = soak.plan();
        let verdict = soak.verdict();
        let judged = match verdict {
            Verdict::Pass => Judged::Pass,
            Verdict::Inconclusive { .. } => Judged::Inconclusive,
            Verdict::Fail { .. } => Judged::Fail,
        };
        Self {
            verdict: ScenarioVerdict { verdict: judged, why: verdict.why().map(str::to_owned) },
            length_ms: Millis::floor(plan.length),
            lasted_ms: Millis::floor(soak.lasted()),
            looks: soak.looks(),
            ended_early: soak.ends_early(),
            metrics: plan.metrics.iter().map(|metric| metric_report(soak, metric)).collect(),
            source: plan.source.clone(),
        }
    }

    /// How many metrics were not healthy at some look.
    pub(super) fn warnings(&self) -> usize {
        self.metrics.iter().filter(|metric| metric.warning + metric.critical > 0).count()
    }

    /// One line about the whole.
    pub(super) fn says(&self) -> String {
        let looked = format!("{} looks in {} of {}", self.looks, self.lasted_ms, self.length_ms);
        self.verdict.why.as_ref().map_or(looked.clone(), |why| format!("{looked}; {why}"))
    }
}

impl MetricReport {
    /// Its course in words.
    pub(super) fn says(&self) -> String {
        let Some(worst) = self.worst else { return "no data".to_owned() };
        let last = self.last.map_or_else(|| "unknown".to_owned(), |last| value(last, &self.unit));
        let bound = |bound: f64| value(bound, &self.unit);
        format!(
            "worst {}, last {last} (warning from {}, critical from {}); {} healthy, {} warning, {} critical, {} without data",
            value(worst, &self.unit),
            bound(self.warning_from),
            bound(self.critical_from),
            self.healthy,
            self.warning,
            self.critical,
            self.missing
        )
    }

    /// How it was at its worst, as one of three.
    pub(super) fn judged(&self) -> Judged {
        match (self.critical, self.warning + self.missing) {
            (0, 0) => Judged::Pass,
            (0, _) => Judged::Inconclusive,
            _ => Judged::Fail,
        }
    }
}

fn metric_report(soak: &Soak, metric: &Metric) -> MetricReport {
    let course = soak.course(metric);
    MetricReport {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        worst: course.worst,
        last: course.last,
        warning_from: metric.warning,
        critical_from: metric.critical,
        healthy: course.healthy,
        warning: course.warning,
        critical: course.critical,
        missing: course.missing,
    }
}
