//! Do we stand still ourselves? The sampler's loop says when it means to wake, and when it did.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Offset;

/// The loop means to wake at least this often: a stall between two beats is not seen.
pub(crate) const BEAT: Duration = Duration::from_millis(20);
/// Waking late by less is the grain of timers, not a stall.
const STALL_MIN: Duration = Duration::from_millis(5);
/// Stalls that are remembered: more than a look can live to see.
const STALLS_MAX: usize = 256;

/// When the sampler's only thread stood still, as far as its own loop can tell.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the loop means to wake next.
    next: Option<Offset>,
    stalls: VecDeque<(Offset, Offset)>,
}

impl Pulse {
    /// The loop wakes, and means to wake again at `next`.
    pub(crate) fn beat(&self, now: Offset, next: Offset) {
        let mut known = self.known();
        if let Some(meant) = known.next.filter(|meant| now.since(*meant) > STALL_MIN) {
            if known.stalls.len() >= STALLS_MAX {
                known.stalls.pop_front();
            }
            known.stalls.push_back((meant, now));
        }
        known.next = Some(next);
    }

    /// How long of the time between the thread stood still, including a stall that has just
    /// ended and that the loop has not heard of yet.
    pub(crate) fn stalled(&self, from: Offset, until: Offset) -> Duration {
        let known = self.known();
        let current = known.next.filter(|meant| until.since(*meant) > STALL_MIN).map(|meant| (meant, until));
        let within = |(began, ended): (Offset, Offset)| ended.min(until).since(began.max(from));
        known.stalls.iter().copied().chain(current).map(within).sum()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that can panic runs while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn stalls_count_where_they_overlap() {
        let pulse = Pulse::default();
        pulse.beat(at(0), at(20));
        pulse.beat(at(21), at(40));
        pulse.beat(at(140), at(160));
        pulse.beat(at(161), at(180));
        let check = |from: u64, until: u64, expect: u64| {
            assert_eq!(pulse.stalled(at(from), at(until)), Duration::from_millis(expect), "{from}..{until}");
        };
        check(0, 30, 0);
        check(0, 170, 100);
        check(100, 170, 40);
        check(100, 120, 20);
        check(150, 170, 0);
        // The loop meant to wake at 180 and did not yet.
        check(150, 184, 0);
        check(150, 250, 70);
        check(0, 250, 170);
    }
}
