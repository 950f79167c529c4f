//! Gameday: the release gate that rehearses the runbook.
//!
//! One way only: scenario file → [`scenario::plan::Plan`] → [`engine::run`] against a
//! [`system::System`] → [`event::Event`]s → [`outcome::Outcome`] → [`verdict::Verdict`]
//! → [`report`]. `ARCHITECTURE.md` has the map.

pub mod access;
pub mod checklist;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod descriptors;
pub mod docker;
pub mod doctor;
pub mod double;
pub mod duration;
pub mod engine;
pub mod event;
pub mod fault;
pub mod guardian;
pub mod heal;
pub mod image;
pub mod journal;
pub mod kind;
pub mod load;
pub mod outcome;
pub mod pipeline;
pub mod proxy;
pub mod reference;
pub mod registry;
pub mod report;
pub mod run;
pub mod runbook;
mod salted;
pub mod sample;
pub mod scenario;
pub mod soak;
pub mod statistics;
pub mod system;
mod tls;
pub mod verdict;
