//! The controllers against timelines that were recorded from a real cluster, and against chance.

#[path = "controllers/budgets.rs"]
mod budgets;
#[path = "controllers/chance.rs"]
mod chance;
#[path = "controllers/deletions.rs"]
mod deletions;
#[path = "controllers/deployments.rs"]
mod deployments;
#[path = "controllers/running.rs"]
mod running;
#[path = "controllers/services.rs"]
mod services;
#[path = "controllers/stateful_sets.rs"]
mod stateful_sets;
#[path = "controllers/world.rs"]
mod world;
