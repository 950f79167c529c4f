//! The environment check: a salted hash of a variable, read where a pod's process has it.

use super::door::{Door, Failure};
use super::exec::exec;
use crate::salted;

/// A variable of one pod.
pub(crate) struct EnvironmentLook {
    pub(crate) door: Door,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) variable: String,
    pub(crate) salt: String,
}

impl EnvironmentLook {
    /// One look; the value is the hash. It tells whether the variable is another one than
    /// before, and nothing else.
    ///
    /// # Errors
    /// [`Failure`] where it could not be read.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        let command = salted::of_variable(&self.salt, &self.variable);
        let output = exec(&self.door, &self.namespace, &self.pod, &command).await?;
        let hash = salted::printed(&output);
        hash.map(Some).ok_or_else(|| Failure::Theirs("the container has no `sha256sum`".to_owned()))
    }
}
