//! The two channels: results on standard output, narrative on standard error.

use std::io::{self, Write};

use harness::verdict::Exit;

use crate::fail::Failure;

/// Prints a result.
///
/// # Errors
/// Where it cannot be written. A reader that has seen enough, such as `head`, is no error:
/// the exit code says what the result is, not who read it.
pub(crate) fn result(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Environment, format!("print the result: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Tells what is happening.
pub(crate) fn narrative(text: impl std::fmt::Display) {
    // Nobody listens any more. What is being done goes on all the same: there may be
    // something to heal.
    let _ = writeln!(anstream::stderr(), "{text}");
}
