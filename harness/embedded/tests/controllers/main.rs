//! The controllers against timelines that were recorded from a real cluster, and against chance.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may unwrap as tests do")]

mod budgets;
mod chance;
mod deletions;
mod deployments;
mod rollouts;
mod running;
mod services;
mod stateful_sets;
mod world;
