//! The runbook as a document: its commands (and later its promises).

mod annotations;
pub mod command;
pub mod words;

pub(crate) use annotations::is_annotation;
