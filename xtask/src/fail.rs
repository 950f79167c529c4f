//! Errors at the edge: printed once, with the exit code of their kind.

use std::process::ExitCode;

use harness::verdict::Exit;

/// An error that knows its exit code and what the reader can do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What failed.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: Exit,
}

impl Failure {
    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, exit }
    }

    /// Adds the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints an error and gives its exit code: 70 where nobody thought of it.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    anstream::eprintln!("error: {error:#}");
    let failure = error.downcast_ref::<Failure>();
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
        anstream::eprintln!(" hint: {hint}");
    }
    ExitCode::from(failure.map_or(Exit::Bug, |failure| failure.exit).code())
}
