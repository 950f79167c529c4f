//! The runbook as a document: its commands (and later its promises).

pub mod command;
pub mod words;
