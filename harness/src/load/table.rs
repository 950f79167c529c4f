//! Which of the load's WebSockets are open, for everybody who must know: the load writes it,
//! checks read it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{Offset, SocketEnd};

/// How far back the numbers of open sockets are known.
pub const KNOWN_FOR: Duration = Duration::from_secs(5);

/// The load's sockets, and those that checks hold meanwhile.
#[derive(Debug)]
pub struct SocketTable {
    planned: u32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Open ones that count for the verdict.
    measured: u32,
    /// When the last of the planned ones opened; absent while one is missing.
    complete_since: Option<Offset>,
    last_end: Option<SocketEnd>,
    /// All of ours that are open.
    open: Level,
    /// Sockets of checks.
    checks: Level,
}

/// How the planned sockets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// All are open, the last of them since then.
    Complete(Offset),
    /// Some are not.
    Missing {
        /// How many are open.
        open: u32,
        /// How the newest end was.
        last_end: Option<SocketEnd>,
    },
}

/// A number, now and in the last seconds.
#[derive(Debug, Default)]
struct Level {
    now: u32,
    /// What it was before, and until when.
    before: VecDeque<(Offset, u32)>,
}

impl SocketTable {
    /// Nothing is open yet of so many planned sockets.
    #[must_use]
    pub fn new(planned: u32) -> Self {
        Self { planned, known: Mutex::new(Known::default()) }
    }

    /// How many should be open.
    #[must_use]
    pub const fn planned(&self) -> u32 {
        self.planned
    }

    /// A socket of the load opened; one that backs off is not measured.
    pub fn opened(&self, at: Offset, measured: bool) {
        let mut known = self.known();
        known.open.change(at, 1);
        if measured {
            known.measured += 1;
            if known.measured == self.planned {
                known.complete_since = Some(at);
            }
        }
    }

    /// An open socket of the load ended.
    pub fn ended(&self, at: Offset, measured: bool, end: &SocketEnd) {
        let mut known = self.known();
        known.open.change(at, -1);
        if measured {
            known.measured = known.measured.saturating_sub(1);
            known.complete_since = None;
            known.last_end = Some(end.clone());
        }
    }

    /// A check opens a socket of its own.
    pub fn check_began(&self, at: Offset) {
        self.known().checks.change(at, 1);
    }

    /// A check is done with its socket.
    pub fn check_ended(&self, at: Offset) {
        self.known().checks.change(at, -1);
    }

    /// How the planned sockets are now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let known = self.known();
        known.complete_since.map_or_else(
            || Standing::Missing { open: known.measured, last_end: known.last_end.clone() },
            Standing::Complete,
        )
    }

    /// The fewest and the most sockets that a server may rightly have counted at some moment
    /// since then: of ours, and with those of checks.
    #[must_use]
    pub fn open_since(&self, from: Offset) -> (u32, u32) {
        let known = self.known();
        let (fewest, most) = known.open.since(from);
        (fewest, most + known.checks.since(from).1)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that can panic runs while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    fn change(&mut self, at: Offset, by: i32) {
        while self.before.front().is_some_and(|(until, _)| at.since(*until) > KNOWN_FOR) {
            self.before.pop_front();
        }
        self.before.push_back((at, self.now));
        self.now = self.now.saturating_add_signed(by);
    }

    /// The lowest and the highest since then.
    fn since(&self, from: Offset) -> (u32, u32) {
        let before = self.before.iter().filter(|(until, _)| *until >= from).map(|(_, number)| *number);
        before.fold((self.now, self.now), |(low, high), number| (low.min(number), high.max(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn it_is_complete_only_while_every_measured_socket_is_open() {
        let table = SocketTable::new(2);
        let missing = |open, last_end| Standing::Missing { open, last_end };
        table.opened(at(10), true);
        table.opened(at(20), false);
        assert_eq!(table.standing(), missing(1, None), "one that backs off does not stand in for another");
        table.opened(at(30), true);
        assert_eq!(table.standing(), Standing::Complete(at(30)));
        table.ended(at(40), false, &SocketEnd::Reset);
        assert_eq!(table.standing(), Standing::Complete(at(30)));
        table.ended(at(50), true, &SocketEnd::Reset);
        assert_eq!(table.standing(), missing(1, Some(SocketEnd::Reset)));
        table.opened(at(60), true);
        assert_eq!(table.standing(), Standing::Complete(at(60)));
    }

    #[test]
    fn the_numbers_of_the_last_seconds_are_known() {
        let table = SocketTable::new(2);
        table.opened(at(1_000), true);
        table.opened(at(2_000), true);
        table.check_began(at(2_500));
        table.check_ended(at(2_600));
        table.ended(at(3_000), true, &SocketEnd::Reset);
        let check = |from: u64, expect: (u32, u32)| assert_eq!(table.open_since(at(from)), expect, "{from}");
        check(3_001, (1, 1));
        check(2_700, (1, 2));
        check(2_550, (1, 3));
        check(1_500, (1, 3));
        check(500, (0, 3));
    }
}
