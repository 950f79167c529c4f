//! From single requests and sockets to seconds of the record: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::LOST_AFTER;
use crate::event::{LoadSecond, Offset};

/// Longest latency that is told apart, in microseconds: what takes longer is lost.
const LATENCY_MICROS_MAX: u64 = 10_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// Counts what belongs to each second of intended start times.
#[derive(Debug)]
pub struct Tally {
    start: Offset,
    /// The first second that was not handed out yet.
    next: u64,
    seconds: BTreeMap<u64, Second>,
    sockets_open: u32,
}

#[derive(Debug)]
struct Second {
    lost: u32,
    missing: u32,
    latencies: Histogram<u64>,
    sockets_lost: u32,
    /// Open at its end; filled in when its end has passed.
    sockets_open: Option<u32>,
}

impl Second {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds are valid");
        Self { lost: 0, missing: 0, latencies, sockets_lost: 0, sockets_open: None }
    }
}

impl Tally {
    /// Seconds are counted from here.
    #[must_use]
    pub const fn new(start: Offset) -> Self {
        Self { start, next: 0, seconds: BTreeMap::new(), sockets_open: 0 }
    }

    /// One request: its latency from the intended start, or `None` where it was lost.
    pub fn request(&mut self, intended: Offset, latency: Option<Duration>) {
        let second = self.second(intended);
        match latency {
            Some(latency) => {
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                second.latencies.saturating_record(micros);
            }
            None => second.lost += 1,
        }
    }

    /// One request that we could not send: nobody knows what would have become of it.
    pub fn missing(&mut self, intended: Offset) {
        self.second(intended).missing += 1;
    }

    /// How many sockets are open.
    #[must_use]
    pub const fn sockets_open(&self) -> u32 {
        self.sockets_open
    }

    /// A socket was opened.
    pub fn socket_opened(&mut self, at: Offset) {
        self.close_seconds(at);
        self.sockets_open += 1;
    }

    /// An open socket ended, however it did.
    pub fn socket_ended(&mut self, at: Offset) {
        self.close_seconds(at);
        self.sockets_open = self.sockets_open.saturating_sub(1);
    }

    /// A socket was lost.
    pub fn socket_lost(&mut self, at: Offset) {
        self.second(at).sockets_lost += 1;
    }

    /// The seconds that are complete: every request of theirs has ended or is lost by now.
    pub fn complete(&mut self, now: Offset) -> Vec<LoadSecond> {
        self.close_seconds(now);
        let settled = now.since(self.start).saturating_sub(LOST_AFTER).as_secs();
        self.hand_out(settled)
    }

    /// Every second that began, complete or not: the load ended.
    pub fn finish(&mut self, now: Offset) -> Vec<LoadSecond> {
        self.close_seconds(now);
        self.hand_out(now.since(self.start).as_secs() + 1)
    }

    fn hand_out(&mut self, until: u64) -> Vec<LoadSecond> {
        let from = self.next;
        self.next = self.next.max(until);
        (from..until).map(|index| self.seconds(index)).collect()
    }

    fn seconds(&mut self, index: u64) -> LoadSecond {
        let second = self.seconds.remove(&index).unwrap_or_else(Second::new);
        let good = second.latencies.len();
        LoadSecond {
            from: self.start + SECOND * u32::try_from(index).unwrap_or(u32::MAX),
            requests_good: u32::try_from(good).unwrap_or(u32::MAX),
            requests_lost: second.lost,
            requests_missing: second.missing,
            p50_micros: if good == 0 { 0 } else { second.latencies.value_at_quantile(0.5) },
            max_micros: second.latencies.max(),
            sockets_open: second.sockets_open.unwrap_or(self.sockets_open),
            sockets_lost: second.sockets_lost,
        }
    }

    fn second(&mut self, at: Offset) -> &mut Second {
        // What comes after its second was handed out counts in the first one that is left.
        let index = at.since(self.start).as_secs().max(self.next);
        self.seconds.entry(index).or_insert_with(Second::new)
    }

    /// Writes the number of open sockets into the seconds that ended before `now`.
    fn close_seconds(&mut self, now: Offset) {
        let open = self.sockets_open;
        for index in (self.next..now.since(self.start).as_secs()).rev() {
            let second = self.seconds.entry(index).or_insert_with(Second::new);
            if second.sockets_open.is_some() {
                break;
            }
            second.sockets_open = Some(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn requests_count_in_the_second_they_were_meant_for() {
        let mut tally = Tally::new(at(500));
        tally.request(at(500), Some(Duration::from_millis(2)));
        tally.request(at(1499), Some(Duration::from_millis(4)));
        tally.request(at(1499), None);
        tally.request(at(1500), Some(Duration::from_millis(1)));
        tally.missing(at(1200));
        assert_eq!(tally.complete(at(3499)), []);
        let first = tally.complete(at(3500));
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].from, first[0].requests_good, first[0].requests_lost), (at(500), 2, 1));
        assert_eq!(first[0].requests_missing, 1);
        assert!(first[0].max_micros.abs_diff(4000) < 10, "{}", first[0].max_micros);
        let rest = tally.finish(at(3600));
        assert_eq!(rest.iter().map(|second| second.requests_good).collect::<Vec<_>>(), [1, 0, 0]);
        assert_eq!(tally.finish(at(3600)), []);
    }

    #[test]
    fn sockets_are_counted_at_the_end_of_their_second() {
        let mut tally = Tally::new(at(0));
        tally.socket_opened(at(100));
        tally.socket_opened(at(200));
        tally.socket_ended(at(1100));
        tally.socket_lost(at(1100));
        tally.socket_opened(at(1300));
        tally.socket_ended(at(3500));
        let seconds = tally.finish(at(3900));
        let open: Vec<_> = seconds.iter().map(|second| (second.sockets_open, second.sockets_lost)).collect();
        assert_eq!(open, [(2, 0), (2, 1), (2, 0), (1, 0)]);
    }

    proptest! {
        #[test]
        fn nothing_is_counted_twice_or_forgotten(
            requests in prop::collection::vec((0u64..8_000, prop::option::of(0u64..2_000)), 0..200),
            looks in prop::collection::vec(0u64..12_000, 0..20),
        ) {
            let mut tally = Tally::new(at(0));
            let mut looks = looks;
            looks.sort_unstable();
            let mut seconds = Vec::new();
            for (intended, latency) in &requests {
                tally.request(at(*intended), latency.map(Duration::from_millis));
            }
            for look in looks {
                seconds.extend(tally.complete(at(look)));
            }
            seconds.extend(tally.finish(at(12_000)));
            let good: u32 = seconds.iter().map(|second| second.requests_good).sum();
            let lost: u32 = seconds.iter().map(|second| second.requests_lost).sum();
            let expected = requests.iter().filter(|(_, latency)| latency.is_some()).count();
            prop_assert_eq!(good as usize, expected);
            prop_assert_eq!(lost as usize, requests.len() - expected);
            prop_assert!(seconds.windows(2).all(|two| two[1].from.since(two[0].from) == SECOND));
        }
    }
}
