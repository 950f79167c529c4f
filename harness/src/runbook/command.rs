//! kubectl command lines, as they stand in a runbook, as values.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::scenario::plan::WorkloadRef;

/// A runbook command that the harness can carry out itself.
///
/// It keeps the text it was read from; that text is what reports show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The command line as written.
    pub text: String,
    /// What it does.
    pub action: Action,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `kubectl rollout restart KIND/NAME`.
    RolloutRestart(WorkloadRef),
    /// `kubectl scale KIND/NAME --replicas=N`.
    Scale {
        /// Which workload.
        workload: WorkloadRef,
        /// To how many replicas.
        replicas: u32,
    },
    /// `kubectl delete pod NAME`.
    DeletePod {
        /// Its name.
        name: String,
    },
}

impl FromStr for Command {
    type Err = String;

    fn from_str(_text: &str) -> Result<Self, String> {
        Err("stub".to_owned())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
