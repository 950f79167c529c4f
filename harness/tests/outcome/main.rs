//! The fold of events into an outcome.

mod recovery;
mod rest;
mod rollout;
mod sockets;
mod spread;
mod support;
mod truth;
