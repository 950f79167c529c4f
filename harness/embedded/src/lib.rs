//! A small Kubernetes that needs no Docker and no root.
//!
//! One separate process serves the part of the Kubernetes API that the harness
//! and the runbook's commands use, runs the controllers behind it and runs pods
//! as namespace sandboxes. What it does not know, it refuses by name.

pub mod api;
pub mod controllers;
pub mod events;
pub mod kinds;
pub mod launch;
pub mod node;
pub mod object;
pub mod shape;
pub mod status;
pub mod store;
