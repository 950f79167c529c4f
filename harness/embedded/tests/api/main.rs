//! The API server, asked over TLS on a loopback port as its clients ask it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod client;
mod pods;
mod recordings;
mod support;
mod watches;
