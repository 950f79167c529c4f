//! From what a look brought back to good, bad or missing.

use std::time::Duration;

use super::door::Failure;
use crate::duration;
use crate::event::{Offset, Seen};

/// What a look brought back: the value it read on the way, where there is one.
pub type Answer = Result<Option<String>, Failure>;

/// The times of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the schedule wanted it sent.
    pub intended: Offset,
    /// When its answer, or its end without one, was there.
    pub done: Offset,
    /// How long, of the time between, we ourselves stood still.
    pub stalled: Duration,
}

/// Judges a look. `answer` is absent where none came within `timeout` of the intended start.
///
/// A right answer counts only within `slow` of the *intended* start: a queue in front of
/// the system is time that a user waits. Where it would have been in time without our own
/// standing still, nobody knows whether it was.
#[must_use]
pub fn judge(answer: Option<&Answer>, times: Times, slow: Duration, timeout: Duration) -> Seen {
    let took = times.done.since(times.intended);
    let is_late = took > slow;
    let is_ours = is_late && took.saturating_sub(times.stalled) <= slow;
    let stalled = || format!("we stood still for {:.3} s ourselves", times.stalled.as_secs_f64());
    match answer {
        Some(Err(Failure::Theirs(reason))) => Seen::Bad { reason: reason.clone() },
        Some(Err(Failure::Ours(reason))) => Seen::Missing { reason: reason.clone() },
        None | Some(Ok(_)) if is_ours => Seen::Missing { reason: stalled() },
        None => Seen::Bad { reason: format!("no answer within {}", duration::text(timeout)) },
        Some(Ok(_)) if is_late => Seen::Bad { reason: format!("right answer after {:.3} s", took.as_secs_f64()) },
        Some(Ok(_)) => Seen::Good,
    }
}

/// Whether a look was sent so late, by our own doing, that it says nothing of its intended time.
#[must_use]
pub fn slipped(intended: Offset, sent: Offset, interval: Duration) -> Option<Seen> {
    let slip = sent.since(intended);
    (slip > interval).then(|| Seen::Missing { reason: format!("our own slip of {:.3} s", slip.as_secs_f64()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_answer_in_time_is_good() {
        let slow = Duration::from_millis(1000);
        let timeout = Duration::from_secs(2);
        let check = |answer: Option<Answer>, done: u64, stalled: u64, expect: &str| {
            let (intended, done) = (Offset::from_millis(500), Offset::from_millis(done));
            let times = Times { intended, done, stalled: Duration::from_millis(stalled) };
            let text = match judge(answer.as_ref(), times, slow, timeout) {
                Seen::Good => "good".to_owned(),
                Seen::Bad { reason } => format!("bad: {reason}"),
                Seen::Missing { reason } => format!("missing: {reason}"),
            };
            assert_eq!(text, expect);
        };
        check(Some(Ok(None)), 500, 0, "good");
        check(Some(Ok(None)), 1500, 0, "good");
        check(Some(Ok(None)), 1500, 300, "good");
        check(Some(Ok(None)), 1501, 0, "bad: right answer after 1.001 s");
        check(Some(Ok(None)), 1700, 199, "bad: right answer after 1.200 s");
        check(Some(Ok(None)), 1700, 200, "missing: we stood still for 0.200 s ourselves");
        check(Some(Err(Failure::Theirs("refused".to_owned()))), 1900, 900, "bad: refused");
        check(Some(Err(Failure::Ours("no descriptors".to_owned()))), 501, 0, "missing: no descriptors");
        check(None, 2500, 0, "bad: no answer within 2s");
        check(None, 2500, 999, "bad: no answer within 2s");
        check(None, 2500, 1900, "missing: we stood still for 1.900 s ourselves");
    }

    #[test]
    fn a_slip_beyond_one_interval_is_ours() {
        let interval = Duration::from_millis(20);
        let check = |sent: u64, expect: bool| {
            assert_eq!(
                slipped(Offset::from_millis(100), Offset::from_millis(sent), interval).is_some(),
                expect,
                "{sent}"
            );
        };
        check(100, false);
        check(120, false);
        check(121, true);
    }
}
