//! The fold of events into an outcome.

mod recovery;
mod rest;
mod support;
mod truth;
