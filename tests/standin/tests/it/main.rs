//! The stand-in from outside: real processes, real sockets, a real Redis.
//!
//! One test program, because each one more would link the same static libraries again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod drain;
mod flaws;
mod frontend;
mod http;
mod llm;
mod manifests;
mod outside;
mod redis;
mod support;
mod websocket;
