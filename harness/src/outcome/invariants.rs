//! What must stay good throughout: from the fault until healing begins.

use std::collections::BTreeMap;
use std::time::Duration;

use super::FirstBad;
use super::timeline::{Kind, kind};
use crate::event::{Offset, Sample, Seen};
use crate::scenario::plan::{CheckName, Plan, Role};

/// The checks with the role `invariant`, and what was seen of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invariants {
    fault: Option<Offset>,
    healing: Option<Offset>,
    checks: BTreeMap<CheckName, Watched>,
}

/// All that counts of one check's samples.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Watched {
    /// Of the answers that were there before the fault, the newest, and whether it was good.
    before: Option<(Offset, bool)>,
    /// Good samples sent between the fault and the healing.
    good: u64,
    /// Bad ones, by the time at which they were known to be.
    bad: Vec<FirstBad>,
}

impl Invariants {
    pub(super) fn new(plan: &Plan) -> Self {
        let checks = plan.checks.iter().filter(|planned| planned.role == Role::Invariant);
        let checks = checks.map(|planned| (planned.name.clone(), Watched::default())).collect();
        Self { fault: None, healing: None, checks }
    }

    pub(super) fn fault_sent(&mut self, at: Offset) {
        self.fault = Some(at);
    }

    pub(super) fn heal_sent(&mut self, at: Offset) {
        self.healing.get_or_insert(at);
    }

    pub(super) fn sample(&mut self, sample: &Sample, slow: Duration) {
        let Some(watched) = self.checks.get_mut(&sample.check) else { return };
        let kind = kind(sample, slow);
        let is_after = self.fault.is_some_and(|fault| sample.sent >= fault);
        // What is put right while it is put right is no promise's business.
        if kind == Kind::Missing || self.healing.is_some_and(|healing| sample.sent >= healing) {
            return;
        }
        if !is_after {
            // An answer that came after the fault may already tell of it.
            if self.fault.is_none_or(|fault| sample.done <= fault) {
                watched.before = watched.before.max(Some((sample.sent, kind == Kind::Good)));
            }
            return;
        }
        if kind == Kind::Good {
            watched.good += 1;
            return;
        }
        let reason = match &sample.seen {
            Seen::Bad { reason } | Seen::Missing { reason } => reason.clone(),
            Seen::Good => format!("right, but later than {}", crate::duration::text(slow)),
        };
        let (check, subject) = (sample.check.clone(), sample.subject.clone());
        watched.bad.push(FirstBad { done: sample.done, check, subject, reason });
    }

    /// The first bad sample of any of them; of a check that was good before the fault.
    pub(super) fn broken(&self) -> Option<&FirstBad> {
        let good_before = |watched: &&Watched| watched.before.is_some_and(|(_, good)| good);
        let bad = self.checks.values().filter(good_before).flat_map(|watched| &watched.bad);
        bad.min_by_key(|bad| (bad.done, &bad.subject))
    }

    /// A check of which nobody can say whether it stayed good.
    pub(super) fn unwatched(&self) -> Option<&CheckName> {
        let said_nothing = |watched: &Watched| {
            watched.before.is_none_or(|(_, good)| !good) || watched.good + watched.bad.len() as u64 == 0
        };
        self.checks.iter().find(|(_, watched)| said_nothing(watched)).map(|(name, _)| name)
    }
}
