//! Images between an OCI layout and registries: a real one where its program is installed, a double
//! where something must go wrong.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

mod double;
mod pull;
mod real;
mod stage;
mod support;
mod trouble;
