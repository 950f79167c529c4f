//! One run from its first event to its exit code.

pub mod directory;
pub mod recorder;
pub mod select;
