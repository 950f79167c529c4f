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
    /// Switches below `/debug` in the workload's pods, which only a stand-in has.
    Debug,
    /// Nodes that may be broken: a kind cluster, and on this machine the Docker engine that runs it.
    Nodes,
    /// A local registry beside such a cluster, which may be broken as well.
    Registry,
    /// NetworkPolicies in the cluster's API. Whether its network enforces them shows in the proof.
    NetworkPolicy,
    /// Chaos Mesh.
    ChaosMesh,
}

impl Need {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::LlmDouble, Self::Debug, Self::Nodes, Self::Registry, Self::NetworkPolicy, Self::ChaosMesh];

    /// How a scenario file names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlmDouble => "llm-double",
            Self::Debug => "debug",
            Self::Nodes => "nodes",
            Self::Registry => "registry",
            Self::NetworkPolicy => "network-policy",
            Self::ChaosMesh => "chaos-mesh",
        }
    }

    /// Whether it is looked for in the system's namespace, and not in the cluster.
    #[must_use]
    pub fn is_of_namespace(self) -> bool {
        match self {
            Self::LlmDouble | Self::Debug => true,
            Self::Nodes | Self::Registry | Self::NetworkPolicy | Self::ChaosMesh => false,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LlmDouble => "double of the LLM",
            Self::Debug => "debug switches in its pods",
            Self::Nodes => "nodes that may be broken, as those of a kind cluster on this machine",
            Self::Registry => "local registry that may be stopped",
            Self::NetworkPolicy => "NetworkPolicies",
            Self::ChaosMesh => "Chaos Mesh",
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
