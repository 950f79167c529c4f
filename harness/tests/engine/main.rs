//! The engine against systems that follow a script, in virtual time.

mod cancel;
mod chance;
mod observer;
mod stories;
mod support;
