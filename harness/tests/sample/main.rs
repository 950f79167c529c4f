//! The sampler on real sockets.

mod api;
mod question;
mod server;
mod service;
mod support;
