//! Sums that decide nothing by themselves but stand in the report.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::timeline::{Kind, kind};
use crate::event::{LoadSecond, Offset, Phase, Sample, Seen};
use crate::scenario::plan::{CheckName, Plan};

/// How one check was sampled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckTally {
    /// Right answers in time.
    pub good: u64,
    /// Wrong answers, late ones, and none.
    pub bad: u64,
    /// Samples that we could not take.
    pub missing: u64,
    /// Why the first missing one was missing.
    pub missing_reason: Option<String>,
    /// Time between intended starts on one series, as it was in the end.
    pub interval: Duration,
    /// Why it was not sampled faster, where something slowed it.
    pub slowed_by: Option<String>,
}

/// Load, summed over some seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadTotals {
    /// How many seconds.
    pub seconds: u64,
    /// Requests with a complete 2xx in time.
    pub requests_good: u64,
    /// Requests without one.
    pub requests_lost: u64,
    /// Sockets lost.
    pub sockets_lost: u64,
    /// Most sockets open at the end of a second.
    pub sockets_open_max: u32,
    /// Highest latency from the intended start.
    pub latency_max: Duration,
}

impl LoadTotals {
    fn add(&mut self, second: &LoadSecond) {
        self.seconds += 1;
        self.requests_good += u64::from(second.requests_good);
        self.requests_lost += u64::from(second.requests_lost);
        self.sockets_lost += u64::from(second.sockets_lost);
        self.sockets_open_max = self.sockets_open_max.max(second.sockets_open);
        self.latency_max = self.latency_max.max(Duration::from_micros(second.max_micros));
    }
}

/// How far samples were sent behind their schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slip {
    /// Half of the samples slipped less.
    pub p50: Duration,
    /// 99 of 100 slipped less.
    pub p99: Duration,
    /// The worst.
    pub max: Duration,
}

/// All sums of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    pub(super) checks: BTreeMap<CheckName, CheckTally>,
    /// Seconds that began before the fault.
    pub(super) load_before: LoadTotals,
    /// Seconds that ended after the fault.
    pub(super) load_after: LoadTotals,
    slip_micros: Histogram<u64>,
    phases: Vec<(Phase, Offset)>,
}

impl Tally {
    pub(super) fn new(plan: &Plan) -> Self {
        let planned = |interval| CheckTally { interval, ..CheckTally::default() };
        Self {
            checks: plan.checks.iter().map(|check| (check.name.clone(), planned(check.interval))).collect(),
            load_before: LoadTotals::default(),
            load_after: LoadTotals::default(),
            slip_micros: Histogram::new_with_bounds(1, SLIP_MICROS_MAX, 3).expect("the bounds are constants that fit"),
            phases: Vec::new(),
        }
    }

    pub(super) fn sample(&mut self, sample: &Sample, slow: Duration) {
        let kind = kind(sample, slow);
        if kind != Kind::Missing {
            let slip = sample.sent.since(sample.intended).as_micros();
            self.slip_micros.saturating_record(u64::try_from(slip).unwrap_or(u64::MAX));
        }
        let Some(check) = self.checks.get_mut(&sample.check) else { return };
        match kind {
            Kind::Good => check.good += 1,
            Kind::Bad => check.bad += 1,
            Kind::Missing => check.missing += 1,
        }
        if let (Seen::Missing { reason }, None) = (&sample.seen, &check.missing_reason) {
            check.missing_reason = Some(reason.clone());
        }
    }

    pub(super) fn sampling_at(&mut self, check: &CheckName, interval: Duration, reason: Option<&String>) {
        if let Some(check) = self.checks.get_mut(check) {
            check.interval = interval;
            check.slowed_by = reason.cloned();
        }
    }

    pub(super) fn load(&mut self, second: &LoadSecond, fault: Option<Offset>) {
        let is_after = fault.is_some_and(|fault| second.from + Duration::from_secs(1) > fault);
        let totals = if is_after { &mut self.load_after } else { &mut self.load_before };
        totals.add(second);
    }

    pub(super) fn phase(&mut self, at: Offset, phase: Phase) {
        self.phases.push((phase, at));
    }

    /// Time spent in each phase, in the order in which they were first entered.
    pub(super) fn times(&self, end: Offset) -> Vec<(Phase, Duration)> {
        let mut times: Vec<(Phase, Duration)> = Vec::new();
        for (place, (phase, from)) in self.phases.iter().enumerate() {
            let until = self.phases.get(place + 1).map_or(end, |(_, next)| *next);
            let took = until.since(*from);
            match times.iter_mut().find(|(known, _)| known == phase) {
                Some((_, time)) => *time += took,
                None => times.push((*phase, took)),
            }
        }
        times
    }

    pub(super) fn slip(&self) -> Slip {
        let at = |micros: u64| Duration::from_micros(micros);
        Slip {
            p50: at(self.slip_micros.value_at_quantile(0.5)),
            p99: at(self.slip_micros.value_at_quantile(0.99)),
            max: at(self.slip_micros.max()),
        }
    }
}

/// A slip of a minute is as bad as any longer one.
const SLIP_MICROS_MAX: u64 = 60_000_000;
