//! Pods on a real embedded cluster: namespaces, network, probes, volumes, ends.

mod isolation;
mod lifecycle;
mod network;
#[expect(unreachable_pub, reason = "shared with the tests of the launcher")]
mod support;
mod volumes;
