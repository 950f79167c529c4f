//! What a path points at.

use crate::api::query::decode_segment;
use crate::kinds::{self, Kind};
use crate::object::Key;

/// A collection, an object or a subresource, from a path below `/api/v1` or `/apis/G/V`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: &'static Kind,
    /// Absent for cluster-wide kinds and for a list over all namespaces.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    /// What follows the subresource, as it came, with its leading slash.
    pub(super) rest: String,
}

impl Place {
    /// The object's key; empty name for a collection.
    pub(super) fn key(&self) -> Key {
        Key::new(self.kind, self.namespace.as_deref().unwrap_or_default(), self.name.as_deref().unwrap_or_default())
    }

    /// Reads what follows `/api/v1/` or `/apis/GROUP/VERSION/`.
    pub(super) fn parse(group: &str, version: &str, path: &str) -> Option<Self> {
        let mut segments = path.splitn(5, '/');
        let first = segments.next()?;
        let (namespace, plural) = match first {
            "namespaces" if group.is_empty() => match (segments.next(), segments.next()) {
                // A namespace is both an object and a place for others.
                (Some(name), None) if !name.is_empty() => return Self::of_namespace(name, None),
                (Some(name), Some(sub @ ("status" | "finalize"))) => return Self::of_namespace(name, Some(sub)),
                (Some(namespace), Some(plural)) => (Some(decode_segment(namespace)), plural),
                _ => (None, first),
            },
            "namespaces" => (Some(decode_segment(segments.next()?)), segments.next()?),
            _ => (None, first),
        };
        let kind = kinds::by_plural(group, version, plural)?;
        let below: Vec<&str> = segments.collect();
        let below = below.join("/");
        let mut below = below.splitn(3, '/');
        let name = below.next().filter(|name| !name.is_empty()).map(decode_segment);
        let subresource = below.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let rest = below.next().map(|rest| format!("/{rest}")).unwrap_or_default();
        // An object of a namespaced kind stands in a namespace, and a cluster-wide one does not.
        if (name.is_some() && kind.namespaced != namespace.is_some()) || (!kind.namespaced && namespace.is_some()) {
            return None;
        }
        Some(Self { kind, namespace, name, subresource, rest })
    }

    fn of_namespace(name: &str, subresource: Option<&str>) -> Option<Self> {
        Some(Self {
            kind: &kinds::NAMESPACE,
            namespace: None,
            name: Some(decode_segment(name)),
            subresource: subresource.map(str::to_owned),
            rest: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_places() {
        let check = |group: &str, path: &str, expected: Option<&str>| {
            let place = Place::parse(group, "v1", path);
            let text = place.map(|place| {
                let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                let Place { kind, namespace, name, subresource, rest } = place;
                format!("{} {} {} {} {rest}", kind.plural, or(namespace), or(name), or(subresource))
            });
            assert_eq!(text.as_deref().map(str::trim_end), expected, "{group} {path}");
        };
        check("", "pods", Some("pods - - -"));
        check("", "namespaces", Some("namespaces - - -"));
        check("", "namespaces/", Some("namespaces - - -"));
        check("", "namespaces/a", Some("namespaces - a -"));
        check("", "namespaces/a/status", Some("namespaces - a status"));
        check("", "namespaces/a/finalize", Some("namespaces - a finalize"));
        check("", "namespaces/a/pods", Some("pods a - -"));
        check("", "namespaces/a/pods/p", Some("pods a p -"));
        check("", "namespaces/a/pods/p/log", Some("pods a p log"));
        check("", "namespaces/a/services/web:80/proxy/", Some("services a web:80 proxy /"));
        check("", "namespaces/a/pods/p%3A80/proxy/x//y%20z", Some("pods a p:80 proxy /x//y%20z"));
        check("", "nodes/n", Some("nodes - n -"));
        check("", "nodes/n/status", Some("nodes - n status"));
        check("", "pods/p", None);
        check("", "namespaces/a/nodes", None);
        check("", "nonsense", None);
        check("apps", "deployments", Some("deployments - - -"));
        check("apps", "namespaces/a/deployments/d/scale", Some("deployments a d scale"));
        check("apps", "namespaces/a", None);
    }
}
