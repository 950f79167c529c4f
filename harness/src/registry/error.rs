//! What can go wrong with a registry.

use oci_client::errors::{OciDistributionError, OciErrorCode};

use crate::image::ImageError;

/// How much of what a registry says is repeated, in characters.
const SAID_MAX: usize = 200;

/// A registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nothing answers there.
    #[error("reach registry `{registry}`: {reason}")]
    Unreachable {
        /// Its host.
        registry: String,
        /// What was last seen.
        reason: String,
    },
    /// It does not let this user do that.
    #[error("{what} registry `{registry}`: {reason}")]
    Refused {
        /// What was asked, as a fragment that ends with `at`, `to` or `of`.
        what: String,
        /// Its host.
        registry: String,
        /// What it said, and what is wrong with our credentials where something is.
        reason: String,
    },
    /// It answered with an error: a full disk, an overload, a bug.
    #[error("{what} registry `{registry}`: it answers {status}{said}")]
    Answer {
        /// What was asked.
        what: String,
        /// Its host.
        registry: String,
        /// The status.
        status: u16,
        /// `: ` and what it said, or nothing.
        said: String,
    },
    /// It did not finish in time.
    #[error("{what} registry `{registry}`: no answer within {seconds} s")]
    Slow {
        /// What was asked.
        what: String,
        /// Its host.
        registry: String,
        /// How long was waited.
        seconds: u64,
    },
    /// It has something else under the name than what was pushed.
    #[error("push `{image}` to registry `{registry}`: it says {theirs} of what is {ours} here")]
    OtherDigest {
        /// The image.
        image: String,
        /// Its host.
        registry: String,
        /// The digest that was pushed.
        ours: String,
        /// What it answers.
        theirs: String,
    },
    /// It breaks the protocol, or the client cannot be made.
    #[error("{what} registry `{registry}`: {reason}")]
    Unusable {
        /// What was asked.
        what: String,
        /// Its host.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// Images on this machine could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A worker thread panicked: a bug.
    #[error("ask for credentials: {0}")]
    Worker(tokio::task::JoinError),
}

impl RegistryError {
    /// What a person can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreachable { registry, .. } | Self::Slow { registry, .. } => {
                format!("is it up? `curl http://{registry}/v2/` or `curl https://{registry}/v2/` asks it the same")
            }
            Self::Refused { registry, .. } => {
                format!("`docker login {registry}` with a user who may do that, and again")
            }
            Self::Answer { registry, .. } => {
                format!("the log of {registry} says why; a full disk is the usual reason")
            }
            Self::OtherDigest { .. } | Self::Unusable { .. } => {
                "name another registry: this one does not keep to the OCI distribution API".to_owned()
            }
            Self::Image(_) => "check space and permissions under target/gate".to_owned(),
            Self::Worker(_) => "this is a bug of this program".to_owned(),
        }
    }

    /// What the client library says, as one of ours. `what` is a fragment that the registry's name ends.
    pub(super) fn of(error: OciDistributionError, what: &str, registry: &str, unusable: Option<&str>) -> Self {
        let (what, registry) = (what.to_owned(), registry.to_owned());
        match status_of(&error) {
            Some(401 | 403) => {
                let said = unusable.map_or_else(
                    || "it refuses the credentials, or the lack of them".to_owned(),
                    |unusable| format!("it wants credentials, and {unusable}"),
                );
                Self::Refused { what, registry, reason: said }
            }
            Some(status) => Self::Answer { what, registry, status, said: said(&error) },
            None => match error {
                OciDistributionError::AuthenticationFailure(_) => {
                    let reason = "it refuses the credentials, or the lack of them".to_owned();
                    Self::Refused { what, registry, reason }
                }
                OciDistributionError::RequestError(error) => {
                    Self::Unreachable { registry, reason: causes(&error.without_url()) }
                }
                error => Self::Unusable { what, registry, reason: first_line(&error.to_string()) },
            },
        }
    }
}

/// The HTTP status behind an error.
pub(super) fn status_of(error: &OciDistributionError) -> Option<u16> {
    match error {
        OciDistributionError::ServerError { code, .. } => Some(*code),
        OciDistributionError::UnauthorizedError { .. } => Some(401),
        OciDistributionError::RequestError(error) => error.status().map(|status| status.as_u16()),
        OciDistributionError::RegistryError { envelope, .. } => {
            Some(envelope.errors.first().map_or(400, |error| match error.code {
                OciErrorCode::Unauthorized => 401,
                OciErrorCode::Denied => 403,
                OciErrorCode::BlobUnknown
                | OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::NotFound => 404,
                OciErrorCode::Toomanyrequests => 429,
                _ => 400,
            }))
        }
        _ => None,
    }
}

fn said(error: &OciDistributionError) -> String {
    let text = match error {
        OciDistributionError::ServerError { message, .. } => message.clone(),
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.first().map_or_else(String::new, |error| error.message.clone())
        }
        _ => String::new(),
    };
    let line = first_line(&text);
    if line.is_empty() { line } else { format!(": {line}") }
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(SAID_MAX).collect()
}

/// An error with what caused it: the outermost says little.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    let mut told: Vec<String> = Vec::new();
    for one in all {
        if !told.iter().any(|before| before.contains(&one)) {
            told.push(one);
        }
    }
    told.join(": ")
}
