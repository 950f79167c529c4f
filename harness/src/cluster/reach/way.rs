//! What is known of the way to pods through the API server: when it worked, and when it broke.
//!
//! A forwarded connection ends for one of two reasons. The pod's side ended it: then the kubelet,
//! which speaks for the pod, says goodbye with a close frame or names an error first. Or the way
//! broke: then the connection to the API server ends without a goodbye, is refused, or falls
//! silent. What a client lost to the second says nothing about the system, so whoever judges asks
//! here first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::RunClock;
use crate::event::Offset;

/// Time between two looks at whether the API server answers.
pub(super) const PULSE_EVERY: Duration = Duration::from_millis(250);
/// An API server without an answer for longer may have taken any connection with it, and nobody
/// has been told yet.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// How long after the way works again clients may still meet connections that it took along:
/// what stands between them and the forward hands an end on a little later.
const SETTLES: Duration = Duration::from_millis(500);
/// Breaks that are remembered: more than a look can live to see.
const BREAKS_MAX: usize = 64;

/// The way to pods through the API server.
#[derive(Debug)]
pub struct Way {
    clock: RunClock,
    known: Mutex<Known>,
}

/// What is known: pure, at offsets.
#[derive(Debug, Default)]
struct Known {
    /// When the newest question that was answered had been asked.
    alive: Offset,
    /// Breaks, the newest last; only the last one can be open.
    breaks: VecDeque<Break>,
}

/// A time in which the way did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Break {
    from: Offset,
    /// The newest sign of it.
    seen: Offset,
    /// When clients no longer meet what it left; absent while it lasts.
    until: Option<Offset>,
    reason: String,
}

impl Way {
    /// A way that works now.
    pub(super) fn new() -> Self {
        let clock = RunClock::start();
        Self { clock, known: Mutex::default() }
    }

    /// Now, on the clock of this way.
    pub(super) fn now(&self) -> Offset {
        self.clock.now()
    }

    /// What was asked then has been answered.
    pub(super) fn answered(&self, asked: Offset) {
        self.known().answered(asked, self.clock.now());
    }

    /// It broke. To be called before any client can see it.
    pub(super) fn broke(&self, reason: &str) {
        self.known().broke(self.clock.now(), reason);
    }

    /// Why what went wrong between these instants may be the way's doing; `None` where it is
    /// the system's.
    #[must_use]
    pub fn excuse(&self, from: Instant, until: Instant) -> Option<String> {
        self.known().excuse(self.offset(from), self.offset(until))
    }

    fn offset(&self, at: Instant) -> Offset {
        Offset::from_duration(at.saturating_duration_since(self.clock.instant(Offset::ZERO)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that can panic runs while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn answered(&mut self, asked: Offset, now: Offset) {
        self.alive = self.alive.max(asked);
        // An answer to what was asked before the break says nothing of the time after it.
        if let Some(last) = self.breaks.back_mut().filter(|last| last.until.is_none() && asked > last.seen) {
            last.until = Some(now + SETTLES);
        }
    }

    fn broke(&mut self, at: Offset, reason: &str) {
        if let Some(last) = self.breaks.back_mut().filter(|last| last.until.is_none_or(|until| at <= until)) {
            (last.seen, last.until) = (at, None);
            return;
        }
        if self.breaks.len() >= BREAKS_MAX {
            self.breaks.pop_front();
        }
        // It may have broken right after it was last seen to work.
        self.breaks.push_back(Break { from: self.alive, seen: at, until: None, reason: reason.to_owned() });
    }

    fn excuse(&self, from: Offset, until: Offset) -> Option<String> {
        let meets = |one: &&Break| one.from <= until && one.until.is_none_or(|end| from <= end);
        if let Some(met) = self.breaks.iter().rev().find(meets) {
            return Some(format!("the port-forward broke: {}", met.reason));
        }
        let silent = until.since(self.alive);
        (silent > SILENT_AFTER)
            .then(|| format!("the port-forward: no answer of the API server for {:.1} s", silent.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    /// Pulses that are answered at once.
    fn pulses(known: &mut Known, from: u64, until: u64) {
        (from..until).step_by(250).for_each(|asked| known.answered(at(asked), at(asked + 5)));
    }

    #[test]
    fn what_met_a_break_is_excused_and_nothing_else() {
        let mut known = Known::default();
        pulses(&mut known, 0, 2_000);
        known.broke(at(2_100), "reset");
        known.broke(at(2_300), "refused");
        // Asked before the newest sign of the break, so it says nothing.
        known.answered(at(2_200), at(2_350));
        assert!(known.excuse(at(2_400), at(2_500)).is_some(), "it lasts");
        pulses(&mut known, 2_500, 6_000);
        let check = |from: u64, until: u64, expect: bool| {
            assert_eq!(known.excuse(at(from), at(until)).is_some(), expect, "{from}..{until}");
        };
        // It may have broken right after the last sign of life, at 1,750.
        check(1_000, 1_749, false);
        check(1_000, 1_750, true);
        check(2_200, 2_210, true);
        check(1_000, 5_000, true);
        check(3_005, 3_100, true);
        check(3_006, 3_100, false);
        check(5_000, 5_900, false);
        assert_eq!(known.excuse(at(2_200), at(2_300)).as_deref(), Some("the port-forward broke: reset"));
    }

    #[test]
    fn a_silent_api_server_excuses_whoever_waited_meanwhile() {
        let mut known = Known::default();
        pulses(&mut known, 0, 1_001);
        let check = |until: u64, expect: Option<&str>| assert_eq!(known.excuse(at(900), at(until)).as_deref(), expect);
        check(2_000, None);
        check(3_000, Some("the port-forward: no answer of the API server for 2.0 s"));
    }

    proptest! {
        #[test]
        fn whatever_a_break_took_is_excused_for_ever(
            breaks in prop::collection::vec(1u64..10_000, 1..20),
            waits in 0u64..3_000,
        ) {
            let mut breaks = breaks;
            breaks.sort_unstable();
            let mut known = Known::default();
            let mut last = 0;
            for broke in &breaks {
                pulses(&mut known, last, *broke);
                known.broke(at(*broke), "reset");
                last = *broke + 1;
            }
            pulses(&mut known, last, last + 5_000);
            for broke in breaks {
                prop_assert!(known.excuse(at(broke.saturating_sub(waits)), at(broke + waits)).is_some());
            }
            prop_assert!(known.excuse(at(last + 4_500), at(last + 4_600)).is_none());
        }
    }
}
