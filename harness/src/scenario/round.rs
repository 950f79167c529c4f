//! Rounds: the same plan several times, so that a figure is more than an anecdote.
//!
//! Rounds alternate between the full sampling rate and a quarter of it. If looking changes
//! what is looked at, the two tell different stories; the report compares them.

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Role, ScenarioId, Symptom};
use super::rules;

/// Most rounds of one variant: beyond it a night is over, and nothing more is learned.
pub const ROUNDS_MAX: u32 = 100;
/// How many times more seldom a round at a quarter of the rate looks.
const QUARTER: u32 = 4;

/// Which repetition a plan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Round {
    /// The variant that is repeated; the plan's own id has the round's number behind it.
    pub of: ScenarioId,
    /// Which one, from 1.
    pub number: u32,
    /// Of how many.
    pub total: u32,
    /// How often it looks.
    pub rate: RoundRate,
}

/// How often a round looks, compared with the plan it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundRate {
    /// As the plan says.
    Full,
    /// A quarter as often, all checks alike.
    Quarter,
}

impl RoundRate {
    /// Odd rounds look at the full rate, even ones at a quarter: a single round is a full one.
    #[must_use]
    pub const fn of_round(number: u32) -> Self {
        if number.is_multiple_of(2) { Self::Quarter } else { Self::Full }
    }

    /// `full rate`, `quarter rate`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Full => "full rate",
            Self::Quarter => "quarter rate",
        }
    }
}

/// Every plan `total` times, round by round: what changes slowly on a machine then touches all
/// variants and both rates alike. Plans that run once stay as they are, without a round.
#[must_use]
pub fn rounds(plans: Vec<Plan>, total: u32) -> Vec<Plan> {
    if total <= 1 {
        return plans;
    }
    let numbers = 1..=total;
    numbers.flat_map(|number| plans.iter().map(move |plan| in_round(plan, number, total))).collect()
}

fn in_round(plan: &Plan, number: u32, total: u32) -> Plan {
    let rate = RoundRate::of_round(number);
    let round = Round { of: plan.id.clone(), number, total, rate };
    let plan = Plan { id: ScenarioId(format!("{}#{number}", plan.id)), round: Some(round), ..plan.clone() };
    match rate {
        RoundRate::Full => plan,
        RoundRate::Quarter => at_a_quarter(plan),
    }
}

/// Looks a quarter as often. What is good must then last as many looks as before, and a short
/// outage may fall between two of them: not feeling it is no failure of the proof.
fn at_a_quarter(mut plan: Plan) -> Plan {
    for check in &mut plan.checks {
        check.interval *= QUARTER;
        if check.role == Role::Recovery {
            plan.hold = plan.hold.max(rules::hold_least(check));
        }
    }
    plan.samples_per_pod_second_max /= f64::from(QUARTER);
    plan.symptom = Symptom::Optional;
    plan
}
