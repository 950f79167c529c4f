//! Where an image of others comes from.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use super::Address;

/// An image of others: `docker.io/library/redis:7.2@sha256:…`. Short names are read as Docker reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(Reference);

impl Source {
    /// Its registry.
    ///
    /// # Panics
    /// Never: a source whose host is none cannot be made.
    #[must_use]
    pub fn registry(&self) -> Address {
        Address::parse(self.0.registry(), false).expect("checked when it was read")
    }

    /// Its tag, where it has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// As the client library wants it: by its digest where it has one.
    pub(super) fn reference(&self) -> &Reference {
        &self.0
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reference: Reference = text.parse().map_err(|error| {
            format!("`{text}` is no image: {error}; write one such as `docker.io/library/redis:7.2@sha256:…`")
        })?;
        Address::parse(reference.registry(), false)?;
        Ok(Self(reference))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_read_as_docker_reads_them() {
        let check = |text: &str, host: &str, tag: Option<&str>| {
            let source: Source = text.parse().unwrap();
            assert_eq!((source.registry().host(), source.tag()), (host, tag), "{text}");
        };
        check("redis:7.2", "docker.io", Some("7.2"));
        check("localhost:5001/team/redis:7", "localhost:5001", Some("7"));
        let digest = format!("sha256:{}", "0".repeat(64));
        check(&format!("ghcr.io/a/b@{digest}"), "ghcr.io", None);
        check(&format!("ghcr.io/a/b:v1@{digest}"), "ghcr.io", Some("v1"));
        assert!("Redis:7".parse::<Source>().unwrap_err().contains("is no image"));
    }
}
