//! Registries: images of an OCI layout go there over the distribution API, and come from there.
//!
//! Digests stay what they are in the layout. Only blobs that the registry lacks are moved; one
//! that another of its repositories has is mounted from there. A manifest is put last, so that a
//! name never points to a part of an image.

use std::path::Path;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::{Client, Reference};

mod address;
mod credentials;
mod error;
mod present;
mod pull;
mod push;
mod source;

pub use address::Address;
pub(crate) use address::Named;
pub use error::RegistryError;
pub use present::Presence;
pub use pull::Pulled;
pub use push::Image;
pub use source::Source;

use credentials::Credentials;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a registry may take to say that it is there.
const GREET_WITHIN: Duration = Duration::from_secs(5);
/// How long a request that carries no blob may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How many blobs are moved side by side.
const AT_ONCE: usize = 4;
/// The slowest way to a registry that is waited for, in bytes a second.
const SLOWEST_BYTES_PER_SECOND: u64 = 128 << 10;

/// A registry that answers.
pub struct Registry {
    client: Client,
    address: Address,
    credentials: Credentials,
}

impl Registry {
    /// Finds the user's credentials, and asks the registry whether it is there.
    ///
    /// # Errors
    /// [`RegistryError`], within 5 s; credential helpers may take as long as they like.
    pub async fn connect(address: &Address) -> Result<Self, RegistryError> {
        Self::connect_as(address, credentials::file().as_deref()).await
    }

    /// As [`Self::connect`], with Docker's `config.json` where that is.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_as(address: &Address, docker_config: Option<&Path>) -> Result<Self, RegistryError> {
        let (file, host) = (docker_config.map(Path::to_owned), address.host().to_owned());
        let credentials = tokio::task::spawn_blocking(move || credentials::of(file.as_deref(), &host)).await;
        let credentials = credentials.map_err(RegistryError::Worker)?;
        let registry = Self { client: client(address)?, address: address.clone(), credentials };
        registry.greet().await?;
        Ok(registry)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// One request that finds out whether something is there and takes our credentials.
    async fn greet(&self) -> Result<(), RegistryError> {
        let reference = self.reference("gameday", "greeting");
        self.client.store_auth_if_needed(reference.resolve_registry(), &self.credentials.auth).await;
        let asked = self.client.fetch_manifest_digest(&reference, &self.credentials.auth);
        // It has no such image, and what it says of that is all that is wanted here. Some registries
        // refuse names that are not there.
        match self.within(GREET_WITHIN, "greet", asked).await? {
            Ok(_) => Ok(()),
            Err(error) if error::status_of(&error).is_some_and(|status| (400..500).contains(&status)) => Ok(()),
            Err(error) => Err(self.error(error, "greet")),
        }
    }

    /// How long a blob of this size may take.
    fn patience(bytes: u64) -> Duration {
        ANSWER_WITHIN + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
    }

    fn reference(&self, repository: &str, tag: &str) -> Reference {
        Reference::with_tag(self.address.host().to_owned(), self.address.repository(repository), tag.to_owned())
    }

    fn error(&self, error: oci_client::errors::OciDistributionError, what: &str) -> RegistryError {
        RegistryError::of(error, what, self.address.host(), self.credentials.unusable.as_deref())
    }

    /// Waits for an answer, for so long.
    async fn within<T>(&self, time: Duration, what: &str, asked: impl Future<Output = T>) -> Result<T, RegistryError> {
        tokio::time::timeout(time, asked).await.map_err(|_| RegistryError::Slow {
            what: what.to_owned(),
            registry: self.address.host().to_owned(),
            seconds: time.as_secs(),
        })
    }
}

fn client(address: &Address) -> Result<Client, RegistryError> {
    crate::tls::install_provider();
    let config = ClientConfig {
        protocol: if address.plain_http() { ClientProtocol::Http } else { ClientProtocol::Https },
        // One request with the blob's length in it, so that what is moved is what is counted.
        use_monolithic_push: true,
        connect_timeout: Some(CONNECT_WITHIN),
        user_agent: concat!("gameday/", env!("CARGO_PKG_VERSION")),
        // Naming a proxy, if only one that is never asked, switches those of the environment off.
        https_proxy: (address.is_loopback() && address.plain_http()).then(|| "http://127.0.0.1:9".to_owned()),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| RegistryError::of(error, "make a client of", address.host(), None))
}
