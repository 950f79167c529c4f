//! The user's own credentials: `~/.docker/config.json` and the helpers that it names.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

/// What a registry is asked with, and why it is nothing where it could have been something.
pub(super) struct Credentials {
    pub(super) auth: RegistryAuth,
    /// What kept credentials from being used; no part of them stands in it.
    pub(super) unusable: Option<String>,
}

/// Docker's own file: `$DOCKER_CONFIG/config.json`, else that of the home directory.
pub(super) fn file() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?;
    Some(directory.join("config.json"))
}

/// Credentials of a file for a host. Runs the helper that the file names, so it may take as
/// long as that does.
pub(super) fn of(file: Option<&Path>, host: &str) -> Credentials {
    let found = match file.map(File::open) {
        Some(Ok(opened)) => get_credential_from_reader(BufReader::new(opened), server(host)),
        Some(Err(_)) | None => Err(CredentialRetrievalError::ConfigNotFound),
    };
    let (auth, unusable) = match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => (RegistryAuth::Basic(user, password), None),
        Ok(DockerCredential::IdentityToken(_)) => {
            let reason = "what Docker keeps for it is an identity token, and those cannot be used here";
            (RegistryAuth::Anonymous, Some(reason.to_owned()))
        }
        Err(error) => (RegistryAuth::Anonymous, unusable(&error)),
    };
    Credentials { auth, unusable }
}

/// The key under which Docker keeps what belongs to a host.
fn server(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
        host => host,
    }
}

/// That there are none is no finding. What a helper prints is not repeated: it may be a secret.
fn unusable(error: &CredentialRetrievalError) -> Option<String> {
    const ABSENT: &str = "credentials not found";
    match error {
        CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound => None,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. }
            if stdout.contains(ABSENT) || stderr.contains(ABSENT) =>
        {
            None
        }
        CredentialRetrievalError::HelperFailure { helper, .. } => Some(format!("`{helper}` failed")),
        CredentialRetrievalError::HelperCommunicationError => Some("the credential helper cannot be run".to_owned()),
        CredentialRetrievalError::MalformedHelperResponse => {
            Some("the credential helper's answer cannot be read".to_owned())
        }
        CredentialRetrievalError::CredentialDecodingError | CredentialRetrievalError::CredentialMismatchError => {
            Some("what Docker's config.json has for it cannot be decoded".to_owned())
        }
        CredentialRetrievalError::ConfigReadError => Some("Docker's config.json cannot be read".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str, host: &str) -> Credentials {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        of(Some(&file), host)
    }

    #[test]
    fn credentials_are_those_of_dockers_file() {
        // `me:secret`
        let auth =
            r#"{"auths":{"ghcr.io":{"auth":"bWU6c2VjcmV0"},"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"}}}"#;
        let check = |host: &str, has: bool| {
            let found = of_text(auth, host);
            let expect = RegistryAuth::Basic("me".to_owned(), "secret".to_owned());
            assert_eq!(found.auth == expect, has, "{host}");
            assert_eq!(found.unusable, None, "{host}");
        };
        check("ghcr.io", true);
        check("docker.io", true);
        check("quay.io", false);
    }

    #[test]
    fn what_cannot_be_used_is_said_without_the_secret() {
        let check = |text: &str, expect: &str| {
            let found = of_text(text, "ghcr.io");
            assert!(found.auth == RegistryAuth::Anonymous, "{text}");
            let said = found.unusable.unwrap();
            assert!(said.contains(expect) && !said.contains("hush"), "{said}");
        };
        check(r#"{"auths":{"ghcr.io":{"identitytoken":"hush"}}}"#, "identity token");
        check(r#"{"auths":{"ghcr.io":{"auth":"hush"}}}"#, "cannot be decoded");
        check(r#"{"credHelpers":{"ghcr.io":"of-nobody-hush-at-all"}}"#.replace("hush-", "").as_str(), "cannot be run");
        check("hush", "cannot be read");
    }

    #[test]
    fn without_a_file_nothing_is_amiss() {
        assert_eq!(of(Some(Path::new("/nowhere/config.json")), "ghcr.io").unusable, None);
        assert_eq!(of(None, "ghcr.io").unusable, None);
    }
}
