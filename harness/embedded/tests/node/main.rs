//! Pods on a real embedded cluster: namespaces, network, probes, volumes, ends.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without, it fails without")]

mod isolation;
mod lifecycle;
mod network;
#[expect(unreachable_pub, reason = "shared with the tests of the launcher")]
mod support;
mod volumes;
