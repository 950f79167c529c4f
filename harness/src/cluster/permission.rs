//! Whether a run may write to a cluster. On clusters that we made: yes. On any other, only
//! where `gate.toml` pins context and uid, a person labelled the namespace, and whoever started
//! the run consents to this context, server and namespace.

use std::io;

use crate::config::PinnedCluster;
use crate::event::{ClusterFacts, ClusterKind};

/// The label that a person puts on a namespace in which things may be broken.
pub const ALLOW_LABEL: &str = "gameday.dev/allow-rehearsal";

/// Why a run may not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `gate.toml` does not pin this context.
    #[error("write to context `{context}`: gate.toml does not list it")]
    NotPinned {
        /// The context.
        context: String,
        /// uid of the cluster behind it.
        uid: String,
    },
    /// The context leads to another cluster than the one that was pinned.
    #[error("write to context `{context}`: it leads to cluster {uid}, and gate.toml pins {pinned}")]
    OtherCluster {
        /// The context.
        context: String,
        /// uid of the cluster behind it.
        uid: String,
        /// The pinned uid.
        pinned: String,
    },
    /// The namespace does not carry the label.
    #[error("write to namespace `{namespace}` on `{context}`: nobody allowed it")]
    NotLabelled {
        /// The context.
        context: String,
        /// The namespace.
        namespace: String,
    },
    /// Nobody said that it is meant, and there is nobody to ask.
    #[error(
        "write to namespace `{namespace}` on `{context}` ({server}): nobody consented, and there is no terminal to ask on"
    )]
    NotConsented {
        /// The context.
        context: String,
        /// The API server.
        server: String,
        /// The namespace.
        namespace: String,
    },
    /// Whoever was asked said no.
    #[error("write to namespace `{namespace}` on `{context}` ({server}): you said no")]
    Declined {
        /// The context.
        context: String,
        /// The API server.
        server: String,
        /// The namespace.
        namespace: String,
    },
}

/// What whoever started the run says about a cluster of others.
#[derive(Debug, Clone, Copy)]
pub enum Consent {
    /// That it is meant.
    Given,
    /// Nothing yet: this asks, on a terminal.
    Ask(fn(&ClusterFacts) -> io::Result<bool>),
    /// Nothing, and there is nobody to ask.
    Missing,
}

/// Insists on consent to a cluster of others; asks for it where that is possible.
///
/// # Errors
/// [`Refused::NotConsented`], [`Refused::Declined`].
pub fn consented(facts: &ClusterFacts, consent: Consent) -> Result<(), Refused> {
    match facts.kind {
        ClusterKind::Embedded | ClusterKind::Kind => return Ok(()),
        ClusterKind::Context => {}
    }
    let (context, server, namespace) = (facts.name.clone(), facts.server.clone(), facts.namespace.clone());
    match consent {
        Consent::Given => Ok(()),
        Consent::Ask(ask) => match ask(facts) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refused::Declined { context, server, namespace }),
            Err(_) => Err(Refused::NotConsented { context, server, namespace }),
        },
        Consent::Missing => Err(Refused::NotConsented { context, server, namespace }),
    }
}

impl Refused {
    /// What a person does who wants it allowed.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotPinned { context, uid } => format!(
                "if things may be broken there, add to gate.toml: [clusters.NAME] context = \"{context}\" uid = \"{uid}\""
            ),
            Self::OtherCluster { .. } => "check which cluster the context leads to; if it was made anew on purpose, \
                correct the uid in gate.toml"
                .to_owned(),
            Self::NotLabelled { context, namespace } => format!(
                "if things may be broken there: kubectl --context {context} label namespace {namespace} {ALLOW_LABEL}=true"
            ),
            Self::NotConsented { .. } => "add --yes if this context, server and namespace are meant".to_owned(),
            Self::Declined { .. } => "nothing was changed".to_owned(),
        }
    }
}

/// Decides from facts alone; `label` is the value of [`ALLOW_LABEL`] on the namespace.
///
/// # Errors
/// [`Refused`], with the next step.
pub fn may_write<'a>(
    facts: &ClusterFacts,
    pinned: impl IntoIterator<Item = &'a PinnedCluster>,
    label: Option<&str>,
) -> Result<(), Refused> {
    match facts.kind {
        ClusterKind::Embedded | ClusterKind::Kind => return Ok(()),
        ClusterKind::Context => {}
    }
    let context = facts.name.clone();
    let mut of_context = pinned.into_iter().filter(|cluster| cluster.context == context).peekable();
    let Some(first) = of_context.peek().map(|cluster| cluster.uid.clone()) else {
        return Err(Refused::NotPinned { context, uid: facts.uid.clone() });
    };
    if !of_context.any(|cluster| cluster.uid == facts.uid) {
        return Err(Refused::OtherCluster { context, uid: facts.uid.clone(), pinned: first });
    }
    if label != Some("true") {
        return Err(Refused::NotLabelled { context, namespace: facts.namespace.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_clusters_need_context_uid_and_label() {
        let pinned = [PinnedCluster { context: "staging".to_owned(), uid: "u1".to_owned(), registry: None }];
        for (kind, name, uid, label, allowed) in [
            (ClusterKind::Embedded, "gameday", "any", None, true),
            (ClusterKind::Kind, "kind-gate", "any", None, true),
            (ClusterKind::Context, "staging", "u1", Some("true"), true),
            (ClusterKind::Context, "staging", "u1", Some("false"), false),
            (ClusterKind::Context, "staging", "u1", None, false),
            (ClusterKind::Context, "staging", "u2", Some("true"), false),
            (ClusterKind::Context, "production", "u1", Some("true"), false),
        ] {
            assert_eq!(
                may_write(&facts(kind, name, uid), &pinned, label).is_ok(),
                allowed,
                "{kind:?} {name} {uid} {label:?}"
            );
        }
    }

    fn facts(kind: ClusterKind, name: &str, uid: &str) -> ClusterFacts {
        ClusterFacts {
            kind,
            name: name.to_owned(),
            server: "https://192.0.2.1".to_owned(),
            version: String::new(),
            uid: uid.to_owned(),
            namespace: "hsc-jit".to_owned(),
        }
    }

    #[test]
    fn a_cluster_of_others_needs_consent_and_ours_do_not() {
        let check = |kind, consent, expect: Result<(), &str>| {
            let said = consented(&facts(kind, "staging", "u1"), consent).map_err(|refused| refused.to_string());
            match (&said, expect) {
                (Ok(()), Ok(())) => {}
                (Err(said), Err(expect)) => assert!(said.ends_with(expect), "{said}"),
                _ => panic!("{kind:?} {consent:?}: {said:?}"),
            }
        };
        check(ClusterKind::Embedded, Consent::Missing, Ok(()));
        check(ClusterKind::Kind, Consent::Missing, Ok(()));
        check(ClusterKind::Context, Consent::Given, Ok(()));
        check(ClusterKind::Context, Consent::Ask(|_| Ok(true)), Ok(()));
        check(ClusterKind::Context, Consent::Ask(|_| Ok(false)), Err("you said no"));
        check(
            ClusterKind::Context,
            Consent::Ask(|_| Err(io::ErrorKind::UnexpectedEof.into())),
            Err("no terminal to ask on"),
        );
        let missing = "write to namespace `hsc-jit` on `staging` (https://192.0.2.1): nobody consented, \
            and there is no terminal to ask on";
        check(ClusterKind::Context, Consent::Missing, Err(missing));
    }
}
