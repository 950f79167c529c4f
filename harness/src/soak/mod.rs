//! Soak: a release is watched under load for a while, as the runbook says to after a deployment.
//!
//! Every look gives each key metric a value, and the value a level. One critical look is noise;
//! a metric that is critical so many looks in a row as the plan says persists, fails the soak
//! and ends it early. A container that restarts does so at once. A metric without data says
//! nothing, and a soak that cannot say enough is inconclusive. Pure: the fold of what was seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::event::Offset;
use crate::scenario::plan::{LoadPlan, WorkloadRef};
use crate::verdict::Verdict;

pub mod exposition;
pub mod metric;

use metric::{Level, Metric};

/// A metric may lack data in so many of a hundred looks.
const MISSING_PERCENT_MAX: usize = 10;

/// So many looks fit even into a short soak.
const LOOKS_MIN: u32 = 20;

/// How a release is soaked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SoakPlan {
    /// For how long, after the warm-up.
    #[serde(rename = "for", with = "crate::duration")]
    pub length: Duration,
    /// Time between two looks.
    #[serde(with = "crate::duration")]
    pub every: Duration,
    /// How long the load runs before the first look counts: a cold cache is no finding.
    #[serde(with = "crate::duration")]
    pub warm_up: Duration,
    /// After so many critical looks in a row it persists.
    pub persists: u32,
    /// Whose pods are asked.
    pub workload: WorkloadRef,
    /// The Service that the load goes through.
    pub service: String,
    /// The port of the pods.
    pub port: u16,
    /// The load.
    pub load: LoadPlan,
    /// What is watched.
    pub metrics: Vec<Metric>,
    /// Where lengths and bounds come from.
    pub source: String,
}

/// One look at everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Look {
    /// How many pods answered.
    pub pods: usize,
    /// Container restarts since the soak began.
    pub restarts: u32,
    /// Value by metric; one that is absent has no data.
    pub values: BTreeMap<String, f64>,
}

/// What is known of a soak.
#[derive(Debug, Clone, PartialEq)]
pub struct Soak {
    plan: SoakPlan,
    started: Offset,
    looks: Vec<(Offset, Look)>,
}

/// What is known of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Course {
    /// Looks with a healthy value.
    pub healthy: usize,
    /// Looks with a warning.
    pub warning: usize,
    /// Looks with a critical value.
    pub critical: usize,
    /// Looks without data.
    pub missing: usize,
    /// The longest row of critical looks.
    pub critical_in_a_row: u32,
    /// The worst value.
    pub worst: Option<f64>,
    /// The newest value.
    pub last: Option<f64>,
}

impl SoakPlan {
    /// The same for another length. A shorter one looks more often, so that what persists still
    /// has the time to.
    #[must_use]
    pub fn lasting(self, length: Duration) -> Self {
        Self { length, every: self.every.min(length / LOOKS_MIN), ..self }
    }

    /// What makes it impossible although every field of it is of the right form.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        let level = |metric: &Metric| (metric.warning - metric.critical).abs() < f64::EPSILON;
        let names: Vec<&str> = self.metrics.iter().map(|metric| metric.name.as_str()).collect();
        let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
        if self.metrics.is_empty() {
            Some("a soak that watches no metric cannot fail: give it `metrics`".to_owned())
        } else if self.every.is_zero() || self.length < self.every || self.persists == 0 {
            Some("a soak has at least one look, and something persists after at least one: check `for`, `every` and `persists`".to_owned())
        } else if let Some((_, name)) = twice {
            Some(format!("metric `{name}` stands there twice"))
        } else {
            let level = self.metrics.iter().find(|metric| level(metric))?;
            Some(format!(
                "metric `{}` has the same bound for warning and critical: nothing says which way is worse",
                level.name
            ))
        }
    }
}

impl Soak {
    /// Begins; `started` is when looks begin to count.
    #[must_use]
    pub fn new(plan: SoakPlan, started: Offset) -> Self {
        Self { plan, started, looks: Vec::new() }
    }

    /// Takes a look in.
    pub fn look(&mut self, at: Offset, look: Look) {
        self.looks.push((at, look));
    }

    /// How it is soaked.
    #[must_use]
    pub fn plan(&self) -> &SoakPlan {
        &self.plan
    }

    /// How many looks there were.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.looks.len()
    }

    /// How long it has lasted by the newest look.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.looks.last().map_or(Duration::ZERO, |(at, _)| at.since(self.started))
    }

    /// What makes going on pointless, in words.
    #[must_use]
    pub fn ends_early(&self) -> Option<String> {
        if let Some((_, look)) = self.looks.iter().find(|(_, look)| look.restarts > 0) {
            return Some(format!("{} container restarts", look.restarts));
        }
        self.plan.metrics.iter().find_map(|metric| {
            let course = self.course(metric);
            (course.critical_in_a_row >= self.plan.persists).then(|| {
                let worst = course.worst.map_or_else(String::new, |worst| value(worst, &metric.unit));
                let bound = value(metric.critical, &metric.unit);
                let row = course.critical_in_a_row;
                format!("{} is critical in {row} looks in a row: {worst}, critical from {bound} on", metric.name)
            })
        })
    }

    /// Everything known of one metric.
    #[must_use]
    pub fn course(&self, metric: &Metric) -> Course {
        let mut course = Course::default();
        let mut row = 0;
        for (_, look) in &self.looks {
            let Some(seen) = look.values.get(&metric.name).copied() else {
                course.missing += 1;
                // No data is no recovery: it neither adds to a row nor ends it.
                continue;
            };
            let level = metric.level(seen);
            match level {
                Level::Healthy => course.healthy += 1,
                Level::Warning => course.warning += 1,
                Level::Critical => course.critical += 1,
            }
            row = if level == Level::Critical { row + 1 } else { 0 };
            course.critical_in_a_row = course.critical_in_a_row.max(row);
            course.worst = Some(course.worst.map_or(seen, |worst| metric.worst(worst, seen)));
            course.last = Some(seen);
        }
        course
    }

    /// The judgement.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(why) = self.ends_early() {
            return Verdict::Fail { why };
        }
        // The last look may fall right before the end.
        if self.lasted() + self.plan.every < self.plan.length {
            let (lasted, length) = (seconds(self.lasted()), duration::text(self.plan.length));
            return Verdict::Inconclusive { why: format!("it lasted {lasted} of {length}") };
        }
        let lacking = self.plan.metrics.iter().filter_map(|metric| {
            let missing = self.course(metric).missing;
            (missing * 100 > self.looks.len() * MISSING_PERCENT_MAX)
                .then(|| format!("{} has no data in {missing} of {} looks", metric.name, self.looks.len()))
        });
        let lacking: Vec<String> = lacking.collect();
        if lacking.is_empty() { Verdict::Pass } else { Verdict::Inconclusive { why: lacking.join("; ") } }
    }
}

/// A value with its unit.
#[must_use]
pub fn value(value: f64, unit: &str) -> String {
    if value >= metric::OFF_THE_SCALE {
        return "off the scale".to_owned();
    }
    let number = format!("{value:.2}");
    let number = number.trim_end_matches('0').trim_end_matches('.');
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}
