//! What is in force, and until when: pure. Time and connection numbers come from outside.

use std::time::Duration;

use super::LEASE;
use super::trick::{Of, Trick};
use crate::event::Offset;

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orders {
    /// What connections go by.
    effect: Effect,
    /// The load balancer's own idle timeout.
    idle_timeout: Option<Duration>,
    active: Vec<Active>,
    /// Until when whoever set the tricks is taken to be alive.
    lease: Option<Offset>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Active {
    trick: Trick,
    /// The number of the first connection that was not there when it was set.
    live_below: u64,
    until: Option<Offset>,
}

/// What the orders come to for a connection. Connections have numbers, in order; those below
/// a number were there when something was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Effect {
    /// Connections below this one are to be reset.
    pub(super) reset_below: u64,
    /// Connections below this one are to be closed.
    pub(super) cut_below: u64,
    /// Connections below this one are silent.
    pub(super) silent_below: u64,
    pub(super) refuse: bool,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) slow_close: Duration,
}

impl Effect {
    /// Whether bytes are passed on at once.
    pub(super) fn is_plain(&self) -> bool {
        self.latency.is_zero() && self.jitter.is_zero() && self.bytes_per_second.is_none()
    }
}

impl Orders {
    pub(super) fn new(idle_timeout: Option<Duration>) -> Self {
        let mut orders = Self { effect: Effect::default(), idle_timeout, active: Vec::new(), lease: None };
        orders.work_out();
        orders
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// Puts these tricks in place of what is in force. `live_below` is the number that the next
    /// connection will have.
    pub(super) fn set(&mut self, tricks: Vec<Trick>, live_below: u64, now: Offset) {
        self.active.clear();
        for trick in tricks {
            match trick {
                // Done at once, and then over.
                Trick::Reset {} => self.effect.reset_below = live_below,
                Trick::Cut {} => self.effect.cut_below = live_below,
                lasting => {
                    let until = lasting.lasts().map(|lasts| now + lasts);
                    self.active.push(Active { trick: lasting, live_below, until });
                }
            }
        }
        self.lease = Some(now + LEASE);
        self.work_out();
    }

    /// Renews the lease; `false` where there is none.
    pub(super) fn renew(&mut self, now: Offset) -> bool {
        let holds = self.lease.is_some_and(|until| now < until);
        if holds {
            self.lease = Some(now + LEASE);
        }
        holds
    }

    /// Lifts everything; what it was.
    pub(super) fn clear(&mut self) -> Vec<Trick> {
        self.lease = None;
        let lifted = self.active.drain(..).map(|active| active.trick).collect();
        self.work_out();
        lifted
    }

    /// Lifts what is over by now; whether anything changed for connections.
    pub(super) fn expire(&mut self, now: Offset) -> bool {
        if self.lease.is_some_and(|until| until <= now) {
            return !self.clear().is_empty();
        }
        let before = self.active.len();
        self.active.retain(|active| active.until.is_none_or(|until| now < until));
        self.work_out();
        self.active.len() != before
    }

    /// When something will be over, if nobody renews.
    pub(super) fn next_end(&self) -> Option<Offset> {
        self.active.iter().filter_map(|active| active.until).chain(self.lease).min()
    }

    /// Changes the load balancer's own idle timeout; whether that is another one.
    pub(super) fn set_idle_timeout(&mut self, idle_timeout: Option<Duration>) -> bool {
        let changed = self.idle_timeout != idle_timeout;
        self.idle_timeout = idle_timeout;
        self.work_out();
        changed
    }

    /// The tricks in force.
    pub(super) fn tricks(&self) -> Vec<Trick> {
        self.active.iter().map(|active| active.trick.clone()).collect()
    }

    /// Until when the lease lasts, where there is one.
    pub(super) fn lease(&self) -> Option<Offset> {
        self.lease
    }

    fn work_out(&mut self) {
        let Effect { reset_below, cut_below, .. } = self.effect;
        let mut effect = Effect { reset_below, cut_below, idle_timeout: self.idle_timeout, ..Effect::default() };
        for Active { trick, live_below, .. } in &self.active {
            match trick {
                Trick::Reset {} | Trick::Cut {} => {}
                Trick::HalfOpen { of: Of::Live, .. } => effect.silent_below = effect.silent_below.max(*live_below),
                Trick::HalfOpen { of: Of::Every, .. } => effect.silent_below = u64::MAX,
                Trick::Refuse { .. } => effect.refuse = true,
                Trick::Latency { by, jitter, .. } => {
                    effect.latency += *by;
                    effect.jitter += jitter.unwrap_or_default();
                }
                Trick::Bandwidth { bytes_per_second, .. } => effect.bytes_per_second = Some(bytes_per_second.get()),
                Trick::IdleTimeout { after, .. } => effect.idle_timeout = Some(*after),
                Trick::SlowClose { by, .. } => effect.slow_close = *by,
            }
        }
        self.effect = effect;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    fn silence(of: Of, lasts: Option<Duration>) -> Trick {
        Trick::HalfOpen { of, lasts }
    }

    #[test]
    fn tricks_last_as_long_as_their_lease_is_renewed() {
        let mut orders = Orders::new(None);
        assert!(!orders.renew(at(0)), "there is nothing to renew");
        orders.set(vec![Trick::Refuse { lasts: None }], 0, at(0));
        assert!(orders.renew(at(2_999)));
        assert!(!orders.expire(at(5_998)));
        assert!(orders.effect().refuse);
        assert!(orders.expire(at(5_999)));
        assert_eq!((orders.effect(), orders.tricks()), (Effect::default(), Vec::new()));
        assert!(!orders.renew(at(6_000)), "a lease that ran out cannot be renewed");
        assert_eq!(orders.next_end(), None);
    }

    #[test]
    fn a_lease_that_ran_out_is_not_renewed_even_before_anybody_noticed() {
        let mut orders = Orders::new(None);
        orders.set(vec![Trick::Refuse { lasts: None }], 0, at(0));
        assert!(!orders.renew(at(3_000)));
        assert!(orders.expire(at(3_000)));
    }

    #[test]
    fn a_trick_with_a_time_of_its_own_is_over_then_and_the_lease_goes_on() {
        let mut orders = Orders::new(None);
        let lasts = Some(Duration::from_millis(500));
        orders.set(vec![silence(Of::Every, lasts), Trick::Refuse { lasts: None }], 4, at(0));
        assert_eq!((orders.next_end(), orders.effect().silent_below), (Some(at(500)), u64::MAX));
        assert!(orders.expire(at(500)));
        assert_eq!((orders.effect().silent_below, orders.effect().refuse), (0, true));
        assert!(orders.renew(at(600)));
    }

    #[test]
    fn only_connections_that_were_there_are_hit() {
        let mut orders = Orders::new(None);
        orders.set(vec![Trick::Reset {}, Trick::Cut {}, silence(Of::Live, None)], 7, at(0));
        let Effect { reset_below, cut_below, silent_below, .. } = orders.effect();
        assert_eq!((reset_below, cut_below, silent_below), (7, 7, 7));
        assert_eq!(orders.tricks(), [silence(Of::Live, None)], "a reset is over when it is done");
        // A connection that has not run since then must still learn of it.
        orders.set(Vec::new(), 9, at(1));
        assert_eq!((orders.effect().reset_below, orders.effect().silent_below), (7, 0));
    }

    #[test]
    fn the_load_balancers_own_timeout_outlives_every_trick() {
        let minute = Duration::from_secs(60);
        let mut orders = Orders::new(Some(minute));
        let after = Duration::from_secs(1);
        orders.set(vec![Trick::IdleTimeout { after, lasts: None }], 0, at(0));
        assert_eq!(orders.effect().idle_timeout, Some(after));
        assert!(!orders.set_idle_timeout(Some(minute)));
        assert!(orders.set_idle_timeout(Some(minute * 5)));
        assert_eq!(orders.effect().idle_timeout, Some(after), "the trick hides it");
        assert_eq!(orders.clear(), [Trick::IdleTimeout { after, lasts: None }]);
        assert_eq!(orders.effect().idle_timeout, Some(minute * 5));
    }
}
