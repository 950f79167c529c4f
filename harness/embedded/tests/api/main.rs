//! The API server, asked over TLS on a loopback port as its clients ask it.

mod client;
mod paging;
mod recordings;
mod support;
mod watches;
