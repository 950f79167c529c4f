//! What became of the load's WebSockets: sums that decide nothing by themselves. Those that back
//! off do not count: only for how long they were away is told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Offset, SocketChange, SocketEnd, SocketEndKind, SocketEvent};

/// Kinds of end that are told apart; what comes after them is counted with the last one.
const ENDS_MAX: usize = 32;
/// The number of open sockets is kept at this grain.
const GRAIN: Duration = Duration::from_millis(100);

/// The load's WebSockets, from the fault on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sockets {
    /// Those that were ever open, by number.
    held: BTreeMap<u32, Held>,
    /// How those that count ended, and how many so, in the order in which each was first seen.
    ends: Vec<(SocketEnd, EndCount)>,
    /// Ends before the fault.
    ended_before: u64,
    /// Times without a connection, of those that count and of those that back off.
    away: Vec<Duration>,
    away_backing_off: Vec<Duration>,
    overdue: u64,
    open: u32,
    /// The number of open sockets that count, whenever it changed.
    levels: Vec<(Offset, u32)>,
}

/// How many sockets ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndCount {
    /// All.
    pub count: u64,
    /// Those whose answer was cut.
    pub cut: u64,
    /// Those that count as lost.
    pub lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    backs_off: bool,
    /// Since when it is away, and whether that began after the fault; absent while it is open.
    away_since: Option<(Offset, bool)>,
}

impl Sockets {
    pub(super) fn take(&mut self, event: &SocketEvent, fault: Option<Offset>) {
        let is_after = fault.is_some_and(|fault| event.at >= fault);
        let held = self.held.entry(event.socket).or_default();
        held.backs_off = event.backs_off;
        match &event.what {
            SocketChange::Opened { .. } => {
                if let Some((since, true)) = held.away_since.take() {
                    let away = if event.backs_off { &mut self.away_backing_off } else { &mut self.away };
                    away.push(event.at.since(since));
                }
                self.level(event, 1);
            }
            SocketChange::Ended { end, cut, lost } => {
                // How long the way kept it away is not the system's doing either.
                held.away_since = Some((event.at, is_after && end.kind() != SocketEndKind::Way));
                match (event.backs_off, is_after) {
                    (true, _) => {}
                    (false, true) => self.count(end, *cut, *lost),
                    (false, false) => self.ended_before += 1,
                }
                self.level(event, -1);
            }
            SocketChange::Overdue if is_after => self.overdue += 1,
            SocketChange::Overdue => {}
        }
    }

    fn count(&mut self, end: &SocketEnd, cut: bool, lost: bool) {
        let known = self.ends.iter().position(|(known, _)| known == end);
        let place = known.unwrap_or_else(|| {
            if self.ends.len() < ENDS_MAX {
                self.ends.push((end.clone(), EndCount::default()));
            }
            self.ends.len() - 1
        });
        let count = &mut self.ends[place].1;
        count.count += 1;
        count.cut += u64::from(cut);
        count.lost += u64::from(lost);
    }

    fn level(&mut self, event: &SocketEvent, by: i32) {
        if event.backs_off {
            return;
        }
        self.open = self.open.saturating_add_signed(by);
        match self.levels.last_mut() {
            Some((at, level)) if event.at.since(*at) < GRAIN => *level = self.open,
            _ => self.levels.push((event.at, self.open)),
        }
    }

    /// Sockets that were ever open: those that count, and those that back off.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let backing_off = self.held.values().filter(|held| held.backs_off).count();
        (self.held.len() - backing_off, backing_off)
    }

    /// How the sockets that count ended from the fault on, the most frequent way first.
    #[must_use]
    pub fn ends(&self) -> Vec<(&SocketEnd, EndCount)> {
        let mut ends: Vec<_> = self.ends.iter().map(|(end, count)| (end, *count)).collect();
        ends.sort_by_key(|(_, count)| std::cmp::Reverse(count.count));
        ends
    }

    /// Ends before the fault.
    #[must_use]
    pub const fn ended_before(&self) -> u64 {
        self.ended_before
    }

    /// Of the sockets that count, those lost from the fault on: by their end, or because they were not back in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.overdue + self.ends.iter().map(|(_, count)| count.lost).sum::<u64>()
    }

    /// Of the sockets that count, those that are open at the end of the record.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// The median and the longest time without a connection, of those that came back after the
    /// fault: of the sockets that count, or of those that back off.
    #[must_use]
    pub fn away(&self, backing_off: bool) -> Option<(Duration, Duration)> {
        let mut away = if backing_off { self.away_backing_off.clone() } else { self.away.clone() };
        away.sort_unstable();
        Some((*away.get(away.len() / 2)?, *away.last()?))
    }

    /// The number of open sockets that count, whenever it changed, at a grain of 100 ms.
    #[must_use]
    pub fn levels(&self) -> &[(Offset, u32)] {
        &self.levels
    }
}
