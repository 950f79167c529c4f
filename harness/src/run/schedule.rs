//! Which scenario goes next: the longest first, never the same one twice at a time, and alone
//! what must be alone.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::scenario::plan::{Plan, ScenarioId};

/// What one remedy step takes beside being watched: a pod's grace, a new pod's start.
const STEP: Duration = Duration::from_secs(10);

/// What is still to be rehearsed, and what is under way.
#[derive(Debug)]
pub(super) struct Schedule {
    waiting: Vec<Plan>,
    running: BTreeSet<ScenarioId>,
    /// What is under way wants no neighbours.
    alone: bool,
}

impl Schedule {
    /// In one lane the order is that of the plans. In several, the one that is expected to take
    /// longest goes first, so that the lanes end at about the same time, and those that run
    /// alone go last, when every lane is idle anyway.
    pub(super) fn new(mut plans: Vec<Plan>, lanes: u32) -> Self {
        if lanes > 1 {
            plans.sort_by_key(|plan| (plan.exclusive, Reverse(expected(plan))));
        }
        Self { waiting: plans, running: BTreeSet::new(), alone: false }
    }

    /// What starts now on a lane that is free; nothing where all that is left must wait.
    pub(super) fn next(&mut self) -> Option<Plan> {
        let place = self.waiting.iter().position(|plan| self.may_start(plan))?;
        let plan = self.waiting.remove(place);
        self.alone = plan.exclusive;
        self.running.insert(plan.id.clone());
        Some(plan)
    }

    /// What was under way has ended.
    pub(super) fn ended(&mut self, id: &ScenarioId) {
        self.running.remove(id);
        self.alone = false;
    }

    fn may_start(&self, plan: &Plan) -> bool {
        // A report tells scenarios apart by name; two of a name would be one.
        let is_other = !self.running.contains(&plan.id);
        !self.alone && is_other && (!plan.exclusive || self.running.is_empty())
    }
}

/// What a plan takes, besides what every plan takes; a budget says nothing about it.
fn expected(plan: &Plan) -> Duration {
    let steps: Duration = plan.remedy.iter().map(|step| step.watch + STEP).sum();
    plan.hold + steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::test_plan;
    use crate::scenario::plan::{Expect, Step};

    fn plan(id: &str, watch_seconds: u64, exclusive: bool) -> Plan {
        let step = Step {
            command: "kubectl delete pod redis-0".parse().unwrap(),
            expect: Expect::Recovery,
            watch: Duration::from_secs(watch_seconds),
        };
        let remedy = if watch_seconds == 0 { Vec::new() } else { vec![step] };
        Plan { id: ScenarioId(id.to_owned()), remedy, exclusive, ..test_plan(0) }
    }

    /// The order of starts, where each lane ends in its turn; `(` opens and `)` closes a scenario.
    fn story(plans: Vec<Plan>, lanes: u32) -> String {
        let mut schedule = Schedule::new(plans, lanes);
        let mut running = std::collections::VecDeque::new();
        let mut told = Vec::new();
        loop {
            while running.len() < lanes as usize
                && let Some(plan) = schedule.next()
            {
                told.push(format!("({}", plan.id));
                running.push_back(plan.id);
            }
            let Some(id) = running.pop_front() else { break };
            schedule.ended(&id);
            told.push(format!("{id})"));
        }
        told.join(" ")
    }

    #[test]
    fn the_longest_go_first_and_alone_is_alone() {
        let check = |plans: &[(&str, u64, bool)], lanes: u32, expect: &str| {
            let plans = plans.iter().map(|(id, watch, exclusive)| plan(id, *watch, *exclusive)).collect();
            assert_eq!(story(plans, lanes), expect);
        };
        check(&[], 2, "");
        check(&[("a", 0, false), ("b", 9, false)], 1, "(a a) (b b)");
        check(&[("a", 0, false), ("b", 9, false), ("c", 5, false)], 2, "(b (c b) (a c) a)");
        check(&[("a", 0, false), ("b", 9, true), ("c", 5, false)], 2, "(c (a c) a) (b b)");
        check(&[("a", 9, true), ("b", 9, true)], 4, "(a a) (b b)");
        check(&[("a", 1, false), ("a", 1, false), ("b", 0, false)], 2, "(a (b a) (a b) a)");
    }

    proptest! {
        #[test]
        fn every_plan_runs_once_and_never_beside_what_it_must_not(
            plans in proptest::collection::vec((0_u8..4, 0_u64..4, any::<bool>()), 0..12),
            lanes in 1_u32..5,
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let plans: Vec<Plan> =
                plans.iter().map(|(id, watch, exclusive)| plan(&id.to_string(), *watch, *exclusive)).collect();
            let mut expected: Vec<ScenarioId> = plans.iter().map(|plan| plan.id.clone()).collect();
            let mut schedule = Schedule::new(plans, lanes);
            let (mut running, mut ran) = (Vec::<Plan>::new(), Vec::new());
            let mut ends = ends.into_iter();
            loop {
                while running.len() < lanes as usize && let Some(plan) = schedule.next() {
                    prop_assert!(running.iter().all(|other| other.id != plan.id));
                    running.push(plan);
                    prop_assert!(running.len() == 1 || running.iter().all(|plan| !plan.exclusive));
                }
                if running.is_empty() {
                    break;
                }
                let ended = running.swap_remove(ends.next().expect("one end a plan").index(running.len()));
                schedule.ended(&ended.id);
                ran.push(ended.id);
            }
            ran.sort();
            expected.sort();
            prop_assert_eq!(ran, expected);
        }
    }
}
