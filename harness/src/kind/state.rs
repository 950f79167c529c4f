//! What is found under a cluster's name, and what follows from it.

use std::path::Path;

use super::config::MARK;
use crate::docker::Container;

/// What is found under a cluster's name, before anything is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No node of it.
    Nothing,
    /// Our own, whole as far as containers and kubeconfig tell.
    Ours,
    /// Our own, and `kind` never came to its end: whoever made it was interrupted.
    HalfMade,
    /// Somebody else made it.
    Others,
    /// Some nodes are ours and some are not, which we never make.
    Mixed,
}

impl Found {
    /// Decides from the nodes, from the directory that ours have mounted as their mark, from whether
    /// there is a kubeconfig, which `kind` writes last, and from how many nodes a whole one has.
    #[must_use]
    pub(super) fn of(nodes: &[Container], mark: &Path, has_kubeconfig: bool, whole: usize) -> Self {
        let ours = nodes.iter().filter(|node| is_marked(node, mark)).count();
        match (nodes.len(), ours) {
            (0, _) => Self::Nothing,
            (_, 0) => Self::Others,
            (all, ours) if all != ours => Self::Mixed,
            (all, _) if all == whole && has_kubeconfig => Self::Ours,
            _ => Self::HalfMade,
        }
    }
}

/// Whether a node is one that we made, from this state directory.
pub(super) fn is_marked(node: &Container, mark: &Path) -> bool {
    // Docker Desktop shows paths of this machine below one of its own.
    node.mounts.get(MARK).is_some_and(|source| Path::new(source) == mark || source.ends_with(&*mark.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_what_carries_our_mark_is_ours() {
        let node = |mark: Option<&str>| Container {
            id: "1".to_owned(),
            name: "a-worker".to_owned(),
            running: true,
            labels: BTreeMap::new(),
            mounts: mark.map(|mark| (MARK.to_owned(), mark.to_owned())).into_iter().collect(),
            ports: BTreeMap::new(),
            addresses: BTreeMap::new(),
        };
        let (ours, theirs) = (|| node(Some("/state/kind/a/mark")), || node(None));
        let check = |nodes: &[Container], has_kubeconfig, expect| {
            let found = Found::of(nodes, Path::new("/state/kind/a/mark"), has_kubeconfig, 3);
            assert_eq!(found, expect, "{nodes:?}, kubeconfig: {has_kubeconfig}");
        };
        check(&[], false, Found::Nothing);
        check(&[], true, Found::Nothing);
        check(&[ours(), ours(), ours()], true, Found::Ours);
        check(&[ours(), ours(), ours()], false, Found::HalfMade);
        check(&[ours(), ours()], true, Found::HalfMade);
        check(&[ours()], false, Found::HalfMade);
        check(&[theirs()], true, Found::Others);
        check(&[theirs(), theirs(), theirs()], false, Found::Others);
        check(&[node(Some("/other/kind/a/mark"))], true, Found::Others);
        check(&[node(Some("/host_mnt/state/kind/a/mark")), ours(), ours()], true, Found::Ours);
        check(&[ours(), theirs(), ours()], true, Found::Mixed);
    }
}
