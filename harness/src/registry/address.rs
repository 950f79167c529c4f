//! Where images of a registry stand: its host, and what comes before repositories.

use std::fmt;
use std::net::Ipv4Addr;

/// A registry, and the path in it under which images are put: `localhost:5001`,
/// `registry.example.org/team`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    /// Without slashes at its ends; empty where repositories stand directly in the registry.
    path: String,
    plain_http: bool,
}

/// An image as manifests of a cluster name it: `HOST/REPOSITORY[:TAG]@DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) host: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) digest: &'a str,
}

impl Address {
    /// Reads `HOST[:PORT][/PATH]`. A registry on loopback is asked over plain HTTP, as Docker does;
    /// `plain_http` says the same of any other.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!(
                "`{text}` has a scheme: write `HOST/PATH`, and `plain-http = true` where it has no TLS"
            ));
        }
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        if !is_host(host) {
            return Err(format!(
                "`{text}` names no registry: write `HOST/PATH`, such as `registry.example.org/team` or `localhost:5001`"
            ));
        }
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !path.split('/').all(is_path_part) {
            return Err(format!("`{path}` is no path in a registry: lower case, a-z, 0-9, `.`, `_`, `-` and `/`"));
        }
        let plain_http = plain_http || is_loopback(host);
        Ok(Self { host: host.to_owned(), path: path.to_owned(), plain_http })
    }

    /// The registry: `HOST` or `HOST:PORT`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is asked over plain HTTP.
    #[must_use]
    pub fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// Whether it is on this machine, where no proxy leads.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The path of a repository in the registry.
    #[must_use]
    pub fn repository(&self, repository: &str) -> String {
        if self.path.is_empty() { repository.to_owned() } else { format!("{}/{repository}", self.path) }
    }

    /// `repository:tag@digest` as manifests of a cluster name it, with the registry before it.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{self}/{image}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.host)?;
        if self.path.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.path) }
    }
}

impl<'a> Named<'a> {
    /// Reads the image of a container; nothing where it names no registry or no digest.
    pub(crate) fn parse(image: &'a str) -> Option<Self> {
        let (named, digest) = image.split_once('@')?;
        let (host, rest) = named.split_once('/')?;
        let repository = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => rest,
        };
        (is_host(host) && !repository.is_empty()).then_some(Self { host, repository, digest })
    }
}

/// A first part of a name is a host where it cannot be a repository: that is Docker's rule.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let fits = |character: char| character.is_ascii_alphanumeric() || ".-[]:".contains(character);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    !name.is_empty()
        && name.chars().all(fits)
        && port.is_none_or(is_port)
        && (port.is_some() || name == "localhost" || name.contains('.'))
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

fn is_path_part(part: &str) -> bool {
    part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && part
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || "._-".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_path() {
        let check = |text: &str, host: &str, image: &str, plain: bool| {
            let address = Address::parse(text, false).unwrap();
            assert_eq!((address.host(), address.plain_http()), (host, plain), "{text}");
            assert_eq!(address.name("web:v1@sha256:00"), image, "{text}");
        };
        check("localhost:5001", "localhost:5001", "localhost:5001/web:v1@sha256:00", true);
        check("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:80/web:v1@sha256:00", true);
        check("[::1]:5000/a", "[::1]:5000", "[::1]:5000/a/web:v1@sha256:00", true);
        check("ghcr.io/team/product/", "ghcr.io", "ghcr.io/team/product/web:v1@sha256:00", false);
        check("registry:5000", "registry:5000", "registry:5000/web:v1@sha256:00", false);
        assert!(Address::parse("registry:5000", true).unwrap().plain_http());
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        let check = |text: &str, expect: &str| {
            let error = Address::parse(text, false).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("https://ghcr.io/team", "has a scheme");
        check("team/product", "names no registry");
        check("", "names no registry");
        check("ghcr.io:port/x", "names no registry");
        check("ghcr.io/Team", "is no path");
        check("ghcr.io//x", "is no path");
        check("user:password@ghcr.io/x", "names no registry");
    }

    #[test]
    fn an_image_with_a_registry_and_a_digest_is_taken_apart() {
        let check = |image: &str, expect: Option<(&str, &str, &str)>| {
            let found = Named::parse(image).map(|named| (named.host, named.repository, named.digest));
            assert_eq!(found, expect, "{image}");
        };
        check("localhost:5001/a/web:v1@sha256:00", Some(("localhost:5001", "a/web", "sha256:00")));
        check("ghcr.io/web@sha256:00", Some(("ghcr.io", "web", "sha256:00")));
        check("web:v1@sha256:00", None);
        check("library/web:v1@sha256:00", None);
        check("ghcr.io/web:v1", None);
    }

    proptest::proptest! {
        /// What an address names, it finds again.
        #[test]
        fn names_are_taken_apart_as_they_were_made(
            host in "[a-z]{1,8}(\\.[a-z]{1,5}|:[1-9][0-9]{0,3})",
            path in proptest::option::of("[a-z][a-z0-9._-]{0,5}(/[a-z][a-z0-9]{0,3})?"),
            repository in "[a-z][a-z0-9-]{0,5}",
            tag in proptest::option::of("[a-z0-9][a-z0-9.-]{0,5}"),
        ) {
            let text = path.map_or_else(|| host.clone(), |path| format!("{host}/{path}"));
            let address = Address::parse(&text, false).unwrap();
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            let image = address.name(&format!("{repository}{tag}@sha256:00"));
            let named = Named::parse(&image).unwrap();
            proptest::prop_assert_eq!(named.host, address.host());
            proptest::prop_assert_eq!(named.repository, address.repository(&repository));
        }
    }
}
