//! When a socket that ended is tried again: pure arithmetic.

use std::time::Duration;

use crate::event::Offset;

/// Time between two attempts while measuring: fixed, so that our back-off is not measured.
pub(crate) const RECONNECT_EVERY: Duration = Duration::from_millis(100);
/// The recommended back-off begins with up to this long.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// And ends with up to this long.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How a socket comes back.
#[derive(Debug, Clone)]
pub(crate) enum Comeback {
    /// On a grid of [`RECONNECT_EVERY`] from its end; its place in the grid's step.
    Grid { place: Duration },
    /// As users' clients should: exponential, with full jitter.
    Backoff { chance: fastrand::Rng, attempts: u32 },
}

impl Comeback {
    /// On the grid. Sockets that end together are spread over its step by their numbers, so
    /// that their return is no burst.
    pub(crate) fn fixed(number: u32, of: u32) -> Self {
        Self::Grid { place: RECONNECT_EVERY * (number % of.max(1)) / of.max(1) }
    }

    /// With the back-off that is recommended to users' clients.
    pub(crate) fn backoff(seed: u64) -> Self {
        Self::Backoff { chance: fastrand::Rng::with_seed(seed), attempts: 0 }
    }

    /// Whether the socket counts for the verdict: what backs off would show its own waiting.
    pub(crate) const fn is_measured(&self) -> bool {
        matches!(self, Self::Grid { .. })
    }

    /// The first attempt after an end.
    pub(crate) fn first(&mut self, away_since: Offset) -> Offset {
        match self {
            Self::Grid { place } => away_since + *place,
            Self::Backoff { .. } => away_since + self.pause(),
        }
    }

    /// The attempt after one that failed.
    pub(crate) fn next(&mut self, attempt: Offset, now: Offset) -> Offset {
        match self {
            Self::Grid { .. } => {
                let passed = now.since(attempt).as_nanos() / RECONNECT_EVERY.as_nanos() + 1;
                attempt + RECONNECT_EVERY * u32::try_from(passed).unwrap_or(u32::MAX)
            }
            Self::Backoff { .. } => now + self.pause(),
        }
    }

    /// It is open again: the next end begins anew.
    pub(crate) fn opened(&mut self) {
        if let Self::Backoff { attempts, .. } = self {
            *attempts = 0;
        }
    }

    /// Full jitter: anything up to the step of the attempt.
    fn pause(&mut self) -> Duration {
        let Self::Backoff { chance, attempts } = self else { return Duration::ZERO };
        let step = BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(*attempts).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
        *attempts += 1;
        step.mul_f64(chance.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn attempts_stay_on_their_grid() {
        let check = |attempt: u64, now: u64, expect: u64| {
            let next = Comeback::fixed(0, 1).next(at(attempt), at(now));
            assert_eq!(next, at(expect), "{attempt} at {now}");
        };
        check(0, 0, 100);
        check(0, 99, 100);
        check(0, 100, 200);
        check(50, 2075, 2150);
    }

    #[test]
    fn sockets_that_end_together_are_spread_over_the_step() {
        let check =
            |number, of, expect| assert_eq!(Comeback::fixed(number, of).first(at(1000)), at(expect), "{number}");
        check(0, 4, 1000);
        check(1, 4, 1025);
        check(3, 4, 1075);
        check(4, 4, 1000);
        check(0, 0, 1000);
    }

    #[test]
    fn the_back_off_grows_to_its_most_and_begins_anew() {
        let mut comeback = Comeback::backoff(7);
        let steps = [1, 2, 4, 8, 16, 30, 30, 30];
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let mut now = comeback.first(at(0));
            assert!(now <= at(1000), "{now}");
            for step in &steps[1..] {
                let next = comeback.next(now, now);
                longest = longest.max(next.since(now));
                assert!(next.since(now) <= Duration::from_secs(*step), "{step}");
                now = next;
            }
            comeback.opened();
        }
        assert!(longest > Duration::from_secs(25), "the jitter is full: {longest:?}");
    }

    #[test]
    fn one_seed_is_one_back_off() {
        let of = |seed| Comeback::backoff(seed).first(at(0));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
