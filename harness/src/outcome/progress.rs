//! How far the record has been scanned: once what is settled, again and again the rest.

use std::time::Duration;

use super::Outcome;
use super::scan::{Change, Scanner};
use super::timeline::{Point, SeriesId};
use crate::event::Offset;

/// The system as it was when the fault was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FaultMark {
    pub(super) at: Offset,
    pub(super) complete: bool,
    pub(super) required: Vec<SeriesId>,
}

/// A scan, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    scanner: Scanner,
    /// Samples scanned.
    pub(super) points: usize,
    /// Changes scanned.
    changes: usize,
}

/// How long after the longest timeout of a check its samples may still be on their way to us.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

impl Outcome {
    /// The scan of everything known, what may still change included.
    pub(super) fn scan(&self) -> Option<Scanner> {
        let mut progress = self.scanned.clone().or_else(|| self.unscanned())?;
        self.advance(&mut progress, None);
        Some(progress.scanner)
    }

    /// Scans what has become settled since the last event.
    pub(super) fn scan_settled(&mut self) {
        let Some(mut progress) = self.scanned.take().or_else(|| self.unscanned()) else { return };
        self.advance(&mut progress, Some(self.settled_until()));
        self.scanned = Some(progress);
    }

    fn unscanned(&self) -> Option<Progress> {
        let fault = self.fault.as_ref()?;
        let mut scanner = Scanner::new(self.plan.hold, fault.at, fault.complete);
        for series in &fault.required {
            scanner.change(fault.at, Change::Required(*series));
        }
        Some(Progress { scanner, points: self.timeline.first_from(fault.at), changes: 0 })
    }

    /// Samples sent before this have come in, or never will.
    fn settled_until(&self) -> Offset {
        if self.ended.is_some() {
            return Offset::MAX;
        }
        let timeout = self.plan.checks.iter().map(|check| check.timeout).max().unwrap_or_default();
        Offset::from_duration(self.now.since(Offset::ZERO).saturating_sub(timeout + DELIVERY_MAX))
    }

    /// Scans on, up to `until` or to the end.
    fn advance(&self, progress: &mut Progress, until: Option<Offset>) {
        let settled = self.settled_until();
        let end = until.unwrap_or(Offset::MAX);
        let points = self.timeline.points();
        loop {
            let point = points.get(progress.points).filter(|point| point.sent < end);
            let change = self.changes.get(progress.changes).filter(|(at, _)| *at < end);
            match (point, change) {
                (Some(point), None) => self.take_point(progress, point, settled),
                (Some(point), Some((at, _))) if point.sent < *at => self.take_point(progress, point, settled),
                (_, Some((at, change))) => {
                    progress.scanner.change(*at, *change);
                    progress.changes += 1;
                }
                (None, None) => return,
            }
        }
    }

    fn take_point(&self, progress: &mut Progress, point: &Point, settled: Offset) {
        progress.scanner.point(point, point.sent < settled);
        progress.points += 1;
    }
}
