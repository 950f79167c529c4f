//! Scenario files and the plans made of them.

pub mod file;
pub mod needs;
pub mod object;
pub mod plan;
pub mod round;
mod rules;
