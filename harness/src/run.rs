//! One run from its first event to its exit code.

pub mod recorder;
