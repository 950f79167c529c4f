//! The LLM's double switched to answer as a provider in trouble.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Receipt;
use crate::cluster::Cluster;
use crate::double::{self, Answers};
use crate::system::SystemError;

/// Switches how the LLM's double answers; healed by switching it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LlmDouble {
    /// How it answers.
    pub answers: Answers,
    /// How long the trouble lasts at least before the provider comes back.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub lasts: Duration,
}

/// What healing needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DoubleReceipt {
    /// Namespace of the double.
    pub namespace: String,
    /// How it answered before.
    pub before: Answers,
    /// How it answers by the fault.
    pub fault: Answers,
    /// The workload behind it.
    pub of: crate::scenario::plan::WorkloadRef,
}

impl LlmDouble {
    /// Reads how it answers now. Changes nothing.
    ///
    /// # Errors
    /// [`SystemError`] where there is no double.
    pub async fn prepare(&self, cluster: &Cluster) -> Result<Receipt, SystemError> {
        let before = double::answers(cluster).await?;
        let namespace = cluster.namespace.clone();
        Ok(Receipt::LlmDouble(DoubleReceipt { namespace, before, fault: self.answers, of: double::workload() }))
    }
}

impl DoubleReceipt {
    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<(), SystemError> {
        double::switch(cluster, self.fault).await
    }

    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
        // Any other answer is somebody's decision since then: the remedy's, or a person's. A
        // double that was replaced meanwhile has forgotten the fault.
        if self.before == self.fault || double::answers(cluster).await? != self.fault {
            return Ok(Vec::new());
        }
        double::switch(cluster, self.before).await?;
        Ok(vec![format!("the LLM's double switched back from `{}` to `{}`", self.fault, self.before)])
    }
}
