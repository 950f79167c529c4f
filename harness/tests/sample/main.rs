//! The sampler on real sockets.

mod api;
mod server;
mod service;
mod support;
