//! kind: a real Kubernetes whose nodes are containers of this machine's Docker engine.
//!
//! There is no library for kind, so its program is run. Everything of ours about a cluster lies in
//! one directory of the state directory: never in the user's kubeconfig, never as his current context.

mod files;

pub use files::Running;

use files::Files;

/// The kind cluster of this name that `cluster up` made or adopted, if there is one. Whether it
/// answers is another question; nothing is asked here but a file.
#[must_use]
pub fn find(name: &str) -> Option<Running> {
    Files::of(name).ok()?.running()
}

/// What a cluster of this name is called in reports, and in kubeconfigs that kind writes.
#[must_use]
pub fn context(name: &str) -> String {
    format!("kind-{name}")
}
