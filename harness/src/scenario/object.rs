//! Objects as kubectl names them: `ingress/hsc-jit`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Kinds of objects whose annotations a scenario can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `deployment`.
    Deployment,
    /// `ingress`.
    Ingress,
    /// `service`.
    Service,
    /// `statefulset`.
    StatefulSet,
}

impl ObjectKind {
    /// `ingress`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Ingress => "ingress",
            Self::Service => "service",
            Self::StatefulSet => "statefulset",
        }
    }

    /// `networking.k8s.io`; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet => "apps",
            Self::Ingress => "networking.k8s.io",
            Self::Service => "",
        }
    }
}

/// The names by which kubectl knows a kind, with or without its group behind a dot.
impl FromStr for ObjectKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, group) = text.split_once('.').map_or((text, None), |(name, group)| (name, Some(group)));
        let kind = match name {
            "deployment" | "deployments" | "deploy" => Self::Deployment,
            "ingress" | "ingresses" | "ing" => Self::Ingress,
            "service" | "services" | "svc" => Self::Service,
            "statefulset" | "statefulsets" | "sts" => Self::StatefulSet,
            _ => return Err(unknown(text)),
        };
        match group {
            Some(group) if group != kind.group() => Err(unknown(text)),
            Some(_) | None => Ok(kind),
        }
    }
}

fn unknown(text: &str) -> String {
    format!("invalid kind `{text}`: understood are deployment, ingress, service and statefulset")
}

/// An object as kubectl names it: `ingress/hsc-jit`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// `ingress.networking.k8s.io/hsc-jit`, as kubectl prints it.
    #[must_use]
    pub fn with_group(&self) -> String {
        let dot = if self.kind.group().is_empty() { "" } else { "." };
        format!("{}{dot}{}/{}", self.kind.singular(), self.kind.group(), self.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind.singular(), self.name)
    }
}

impl FromStr for ObjectRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| format!("invalid object `{text}`: write `ingress/NAME`"))?;
        if name.is_empty() || name.contains('/') {
            return Err(format!("invalid object `{text}`: write `ingress/NAME`"));
        }
        Ok(Self { kind: kind.parse()?, name: name.to_owned() })
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        let check = |text: &str, expect: Result<&str, &str>| {
            let read = text.parse::<ObjectRef>().map(|object| object.with_group());
            match expect {
                Ok(expect) => assert_eq!(read.as_deref(), Ok(expect), "{text}"),
                Err(expect) => assert!(read.as_ref().unwrap_err().starts_with(expect), "{text}: {read:?}"),
            }
        };
        check("ingress/a", Ok("ingress.networking.k8s.io/a"));
        check("ing/a", Ok("ingress.networking.k8s.io/a"));
        check("ingresses.networking.k8s.io/a", Ok("ingress.networking.k8s.io/a"));
        check("svc/a", Ok("service/a"));
        check("deploy/a", Ok("deployment.apps/a"));
        check("sts.apps/a", Ok("statefulset.apps/a"));
        check("ingress.apps/a", Err("invalid kind `ingress.apps`"));
        check("daemonset/a", Err("invalid kind `daemonset`"));
        check("ingress", Err("invalid object `ingress`"));
        check("ingress/a/b", Err("invalid object `ingress/a/b`"));
    }
}
