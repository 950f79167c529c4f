//! From the fault on, in the order of sending: is the steady state back?
//!
//! A scanner holds one streak a series. It is cheap to copy, so that the part of the
//! record that can no longer change is scanned once and the last seconds at each query.

use std::time::Duration;

use super::timeline::{Kind, Point, SeriesId};
use crate::event::Offset;

/// Something about the pods that changes what recovery needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// From now on this series must be good.
    Required(SeriesId),
    /// Its pod leaves.
    Dropped(SeriesId),
    /// The workload has as many ready pods as before the fault.
    Complete,
    /// It has fewer.
    Incomplete,
}

/// The first streak that covered the hold window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// When the last series had answered right for the first time.
    pub(super) first_good: Offset,
    /// When the last bad sample before it was sent.
    pub(super) last_bad: Option<Offset>,
}

/// One series since its last bad sample or gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Streak {
    /// Since when it must be good, where it must.
    required: Option<Offset>,
    /// `sent` and `done` of its first good sample.
    first: Option<(Offset, Offset)>,
    /// Its newest good sample.
    last: Option<Point>,
    /// Newest intended start, whatever came of it.
    intended: Option<(Offset, Duration)>,
    /// A sample inside the streak is still on its way.
    open: bool,
}

/// How far the system is on its way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scanner {
    hold: Duration,
    streaks: Vec<Streak>,
    /// Absent while pods are missing.
    complete_since: Option<Offset>,
    /// Until when pods that have left stood in the way.
    cleared: Offset,
    last_bad: Option<Offset>,
    /// Pods were missing, or nobody looked for a while.
    disturbed: bool,
    held: Option<Held>,
}

impl Scanner {
    pub(super) fn new(hold: Duration, start: Offset, complete: bool) -> Self {
        Self {
            hold,
            streaks: Vec::new(),
            complete_since: complete.then_some(start),
            cleared: start,
            last_bad: None,
            disturbed: !complete,
            held: None,
        }
    }

    pub(super) fn held(&self) -> Option<Held> {
        self.held
    }

    pub(super) fn last_bad(&self) -> Option<Offset> {
        self.last_bad
    }

    /// Since when everything is good without a break, where it is so at the end.
    pub(super) fn good_since(&self) -> Option<Offset> {
        self.span().map(|(since, _)| since)
    }

    /// Whether everything is good without a break from one time to another, at the end of the record.
    pub(super) fn good_from_until(&self, from: Offset, until: Offset) -> bool {
        self.span().is_some_and(|(since, to)| since <= from && to >= until)
    }

    /// Up to where everything was good and watched since the fault.
    pub(super) fn untouched_until(&self) -> Option<Offset> {
        if self.last_bad.is_some() || self.disturbed {
            return None;
        }
        self.span().map(|(_, until)| until)
    }

    /// Takes in the next change; changes and points come in order of time.
    pub(super) fn change(&mut self, at: Offset, change: Change) {
        match change {
            Change::Required(series) => {
                self.streak(series).required.get_or_insert(at);
            }
            Change::Dropped(series) => {
                let streak = std::mem::take(self.streak(series));
                if streak.required.is_some() {
                    // It stood in the way until it was good, or until it left.
                    self.cleared = self.cleared.max(streak.first.map_or(at, |(_, done)| done));
                }
            }
            Change::Complete => {
                self.complete_since.get_or_insert(at);
            }
            Change::Incomplete => {
                self.complete_since = None;
                self.disturbed = true;
            }
        }
    }

    /// Takes in the next sample. Where it is not `settled`, samples sent before it may still come.
    pub(super) fn point(&mut self, point: &Point, settled: bool) {
        let streak = self.streak(point.series);
        let mut blind = false;
        if let Some((intended, interval)) = streak.intended {
            let step = interval.max(point.interval);
            streak.open |= !settled && point.intended.since(intended) > step + step / 2;
        } else {
            blind = streak.required.is_some_and(|since| point.intended.since(since) > point.gap_max());
        }
        let newest = streak.intended.map_or(point.intended, |(intended, _)| intended.max(point.intended));
        streak.intended = Some((newest, point.interval));
        match point.kind {
            Kind::Missing => return,
            Kind::Bad => {
                streak.first = None;
                streak.last = None;
                streak.open = false;
                if streak.required.is_some() {
                    self.last_bad = self.last_bad.max(Some(point.sent));
                }
            }
            Kind::Good => {
                let gap = streak.last.is_some_and(|last| last.is_gap_before(point));
                if gap || streak.first.is_none() {
                    streak.first = Some((point.sent, point.done));
                    streak.open = false;
                }
                streak.last = Some(*point);
                blind |= gap && streak.required.is_some();
            }
        }
        self.disturbed |= blind;
        self.judge();
    }

    fn streak(&mut self, series: SeriesId) -> &mut Streak {
        if self.streaks.len() <= series.0 {
            self.streaks.resize_with(series.0 + 1, Streak::default);
        }
        &mut self.streaks[series.0]
    }

    /// From the latest beginning to the earliest end of the series' streaks.
    fn span(&self) -> Option<(Offset, Offset)> {
        let mut since = self.complete_since?.max(self.cleared);
        let mut until = None;
        for streak in self.streaks.iter().filter(|streak| streak.required.is_some()) {
            let (first, last) = (streak.first?, streak.last?);
            since = since.max(first.0);
            until = Some(until.map_or(last.sent, |until: Offset| until.min(last.sent)));
        }
        until.map(|until| (since, until))
    }

    fn judge(&mut self) {
        if self.held.is_some() || (self.last_bad.is_none() && !self.disturbed) {
            return;
        }
        let Some((since, until)) = self.span() else { return };
        let mut required = self.streaks.iter().filter(|streak| streak.required.is_some());
        // `since` itself may also stand for what needs no sample: pods complete, a bad pod gone.
        if until >= since + self.hold && required.clone().all(|streak| !streak.open) {
            let answered = required.by_ref().filter_map(|streak| streak.first).map(|(_, done)| done).max();
            let first_good = answered.map_or(since, |done| done.max(since));
            self.held = Some(Held { first_good, last_bad: self.last_bad });
        }
    }
}
