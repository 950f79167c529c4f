//! What a scenario needs of its surroundings, and what is left of it where that is absent.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{CheckName, Plan, Proof};
use super::rules::checks_of;

/// What a scenario needs and a real system has not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A double of the LLM in the system's namespace, which plays a provider in trouble.
    LlmDouble,
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LlmDouble => "double of the LLM",
        })
    }
}

impl Plan {
    /// The plan where something is absent: without the checks that need it, and without the
    /// proof that they would have given. Nothing where the scenario needs it as a whole, or
    /// where nothing would be left to prove the fault.
    #[must_use]
    pub fn without(&self, need: Need) -> Option<Self> {
        let (gone, checks): (Vec<_>, Vec<_>) =
            self.checks.iter().cloned().partition(|planned| planned.check.needs() == Some(need));
        let is_gone = |name: &CheckName| gone.iter().any(|planned| planned.name == *name);
        let proof: Vec<_> = self.proof.iter().filter_map(|rule| left_of(rule, &is_gone)).collect();
        (!self.needs.contains(&need) && !proof.is_empty()).then(|| Self { checks, proof, ..self.clone() })
    }
}

fn left_of(rule: &Proof, is_gone: &impl Fn(&CheckName) -> bool) -> Option<Proof> {
    match rule {
        Proof::AnyOf(rules) => {
            let left: Vec<_> = rules.iter().filter_map(|rule| left_of(rule, is_gone)).collect();
            (!left.is_empty()).then_some(Proof::AnyOf(left))
        }
        rule => checks_of(rule).into_iter().all(|name| !is_gone(name)).then(|| rule.clone()),
    }
}
