//! The samples that decide recovery, in the order in which they were sent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Offset, Sample, Seen, Subject};
use crate::sample::Target;
use crate::scenario::plan::{CheckName, Plan, Role};

/// One series of samples: a check at the Service, or a check at one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeriesId(pub(super) usize);

/// What a sample says about its subject at some instant between `sent` and `done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    Bad,
    Missing,
}

/// A sample as far as recovery is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) series: SeriesId,
    pub(super) kind: Kind,
    pub(super) intended: Offset,
    pub(super) sent: Offset,
    pub(super) done: Offset,
    /// The time between intended starts that was in force when it came in.
    pub(super) interval: Duration,
}

impl Point {
    /// Streaks end at gaps of more than this many intervals.
    const GAP_MAX: u32 = 3;

    /// The longest time without a sample that is no gap.
    pub(super) fn gap_max(&self) -> Duration {
        self.interval * Self::GAP_MAX
    }

    /// Whether nobody looked for too long between this sample and the next of the series.
    /// Gaps are measured on the schedule: by the times of sending, a slip of a millisecond
    /// would decide whether two missing samples are a gap.
    pub(super) fn is_gap_before(&self, next: &Self) -> bool {
        next.intended.since(self.intended) > self.gap_max().max(next.gap_max())
    }
}

/// The series of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// One series, whoever answers.
    One(SeriesId),
    /// One series for each pod of the workload, by uid.
    EachPod(BTreeMap<String, SeriesId>),
}

/// All samples of the recovery checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    scopes: BTreeMap<CheckName, (Scope, Duration)>,
    series_count: usize,
    points: Vec<Point>,
}

impl Timeline {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut timeline = Self { scopes: BTreeMap::new(), series_count: 0, points: Vec::new() };
        for planned in plan.checks.iter().filter(|planned| planned.role == Role::Recovery) {
            let scope = match planned.check.target() {
                Some(Target::EachPod) => Scope::EachPod(BTreeMap::new()),
                Some(Target::Service) | None => Scope::One(timeline.new_series()),
            };
            timeline.scopes.insert(planned.name.clone(), (scope, planned.interval));
        }
        timeline
    }

    fn new_series(&mut self) -> SeriesId {
        self.series_count += 1;
        SeriesId(self.series_count - 1)
    }

    /// The series that are there whichever pods are.
    pub(super) fn fixed(&self) -> impl Iterator<Item = SeriesId> {
        self.scopes.values().filter_map(|(scope, _)| match scope {
            Scope::One(series) => Some(*series),
            Scope::EachPod(_) => None,
        })
    }

    /// The series of one pod, made where they are new.
    pub(super) fn of_pod(&mut self, uid: &str) -> Vec<SeriesId> {
        let mut found = Vec::new();
        for (scope, _) in self.scopes.values_mut() {
            if let Scope::EachPod(pods) = scope {
                let next = SeriesId(self.series_count);
                let series = *pods.entry(uid.to_owned()).or_insert(next);
                if series == next {
                    self.series_count += 1;
                }
                found.push(series);
            }
        }
        found
    }

    /// The series of one pod that are known.
    pub(super) fn known_of_pod<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = Option<SeriesId>> + 'a {
        self.scopes.values().filter_map(move |(scope, _)| match scope {
            Scope::One(_) => None,
            Scope::EachPod(pods) => Some(pods.get(uid).copied()),
        })
    }

    pub(super) fn set_interval(&mut self, check: &CheckName, interval: Duration) {
        if let Some((_, current)) = self.scopes.get_mut(check) {
            *current = interval;
        }
    }

    /// The longest time between samples of any series now.
    pub(super) fn interval_max(&self) -> Duration {
        self.scopes.values().map(|(_, interval)| *interval).max().unwrap_or_default()
    }

    /// Takes a sample in; returns its place, or nothing where its check decides no recovery.
    pub(super) fn insert(&mut self, sample: &Sample, slow: Duration) -> Option<usize> {
        let kind = kind(sample, slow);
        let interval = self.scopes.get(&sample.check)?.1;
        let series = self.series_of(sample)?;
        // What was never sent stands where the schedule wanted it.
        let sent = if kind == Kind::Missing { sample.intended } else { sample.sent };
        let point = Point { series, kind, intended: sample.intended, sent, done: sample.done, interval };
        let place = self.points.partition_point(|other| key(other) <= key(&point));
        self.points.insert(place, point);
        Some(place)
    }

    fn series_of(&mut self, sample: &Sample) -> Option<SeriesId> {
        let next = SeriesId(self.series_count);
        let (scope, _) = self.scopes.get_mut(&sample.check)?;
        let series = match (scope, &sample.subject) {
            (Scope::One(series), _) => *series,
            (Scope::EachPod(pods), Subject::Pod { uid, .. }) => match pods.get(uid) {
                Some(series) => *series,
                None => *pods.entry(uid.clone()).or_insert(next),
            },
            (Scope::EachPod(_), Subject::Service) => return None,
        };
        self.series_count = self.series_count.max(series.0 + 1);
        Some(series)
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// The place of the first sample sent at `from` or later.
    pub(super) fn first_from(&self, from: Offset) -> usize {
        self.points.partition_point(|point| point.sent < from)
    }
}

/// Ties are broken so that no order of arrival shows.
fn key(point: &Point) -> (Offset, usize, Offset, Offset) {
    (point.sent, point.series.0, point.intended, point.done)
}

/// What a sample says: "good" counts only within `slow` of the intended start.
pub(crate) fn kind(sample: &Sample, slow: Duration) -> Kind {
    match sample.seen {
        Seen::Good if sample.done.since(sample.intended) <= slow => Kind::Good,
        Seen::Good | Seen::Bad { .. } => Kind::Bad,
        Seen::Missing { .. } => Kind::Missing,
    }
}
