//! The only reader of clocks.
//!
//! Offsets come from tokio's clock, which is CLOCK_MONOTONIC, and which tests
//! pause and advance together with the scripted system.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::Offset;

/// The clock of one run: everything that happens is at an offset from its start.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    start: Instant,
    started: jiff::Timestamp,
}

impl RunClock {
    /// Starts a run's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that reads clocks")]
    pub fn start() -> Self {
        Self { start: Instant::now(), started: jiff::Timestamp::now() }
    }

    /// Time since the run's start.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that reads clocks")]
    pub fn now(&self) -> Offset {
        Offset::from_duration(Instant::now().duration_since(self.start))
    }

    /// The instant at an offset, for `tokio::time::sleep_until` and `timeout_at`.
    #[must_use]
    pub fn instant(&self, at: Offset) -> Instant {
        self.start + Duration::from_nanos(at.nanos())
    }

    /// Where a time of somebody else's clock lies, for people to read: that clock may be wrong.
    #[must_use]
    pub fn offset_of(&self, time: jiff::Timestamp) -> Offset {
        Offset::from_duration(Duration::try_from(time.duration_since(self.started)).unwrap_or_default())
    }

    /// The wall clock at the run's start, for people to read; nothing is computed from it.
    #[must_use]
    pub fn started(&self) -> jiff::Timestamp {
        self.started
    }
}

/// The wall clock now, for texts that others read; nothing is computed from it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is the one that reads clocks")]
pub fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
