//! What an outcome says, as values.

use std::time::Duration;

use crate::event::{Offset, Subject};
use crate::scenario::plan::{BudgetFrom, CheckName};

/// How far the system is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing is decided: no fault yet, no proof yet, or no streak that covered `hold`.
    NotYet,
    /// The fault is proven, and everything was good and watched to the end of the budget and
    /// `hold`. Before a budget that counts from the remedy has started: for `hold` after the proof.
    Absorbed,
    /// The steady state is back.
    Recovered {
        /// When the answer of the streak's first sample was there; with several series, of the last of them.
        first_good: Offset,
        /// When the last bad sample before it was sent; absent where only pods or samples were missing.
        last_bad: Option<Offset>,
        /// It took at least this long.
        lower: Duration,
        /// It took at most this long.
        upper: Duration,
        /// Counted from where.
        from: BudgetFrom,
    },
}

/// The first bad sample after the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBad {
    /// When it was known to be bad.
    pub done: Offset,
    /// Which check.
    pub check: CheckName,
    /// At whom.
    pub subject: Subject,
    /// What it saw.
    pub reason: String,
}

/// What became of one remedy step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepOutcome {
    /// When it was sent.
    pub sent: Option<Offset>,
    /// When it returned or failed.
    pub done: Option<Offset>,
    /// What the command said.
    pub output: String,
    /// Why it could not be carried out.
    pub error: Option<String>,
}

/// Whether a remedy step recovered the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// It was not needed, or not reached.
    NotSent,
    /// Its watch is not over.
    Watching,
    /// The system recovered after it and before the next step.
    Recovered,
    /// The system did not recover in its watch.
    NotRecovered,
}
