//! Scenario files and the plans made of them.

pub mod file;
pub mod plan;
mod rules;
