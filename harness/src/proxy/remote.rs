//! A proxy's API from the other side: setting tricks, renewing the lease, verifying.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::api::{Instance, State, Wanted};
use super::trick::Trick;
use crate::tls;

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The API did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing, or nothing of use, came back.
    #[error("reach the fault proxy at {api}: {reason}")]
    Silent {
        /// Its address.
        api: SocketAddr,
        /// What was seen.
        reason: String,
    },
    /// It refused.
    #[error("the fault proxy refused: {status} {said}")]
    Refused {
        /// The status.
        status: u16,
        /// Its reason.
        said: String,
    },
    /// The lease ran out before it was renewed, so the tricks were lifted.
    #[error("the lease of the fault proxy ran out: what it did to the traffic ended before its time")]
    LeaseLost,
}

/// One who may set tricks. Clones share whether they have set some.
#[derive(Clone)]
pub struct Remote {
    api: SocketAddr,
    proxy: String,
    token: SecretString,
    client: reqwest::Client,
    holds_lease: Arc<AtomicBool>,
}

impl Remote {
    pub(super) fn new(api: SocketAddr, proxy: String, token: SecretString) -> Self {
        Self { api, proxy, token, client: client(), holds_lease: Arc::default() }
    }

    /// Where the API is.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Which proxy it is.
    #[must_use]
    pub fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Puts these tricks in force, under a lease that must be [renewed](Self::renew).
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn set(&self, tricks: &[Trick]) -> Result<State, RemoteError> {
        let wanted = Wanted { tricks: tricks.to_vec() };
        let body = serde_json::to_vec(&wanted).expect("tricks have string keys only");
        let state = self.ask(Method::PUT, "tricks", body).await?;
        self.holds_lease.store(true, Ordering::Relaxed);
        Ok(state)
    }

    /// What is in force.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn state(&self) -> Result<State, RemoteError> {
        self.ask(Method::GET, "tricks", Vec::new()).await
    }

    /// Renews the lease where tricks were set and not lifted since.
    ///
    /// # Errors
    /// [`RemoteError::LeaseLost`] where it was too late, and as any other request.
    pub async fn renew(&self) -> Result<(), RemoteError> {
        if !self.holds_lease.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.ask::<State>(Method::POST, "lease", Vec::new()).await {
            Err(RemoteError::Refused { status: 409, .. }) if self.holds_lease.load(Ordering::Relaxed) => {
                Err(RemoteError::LeaseLost)
            }
            // They were lifted while this was on its way.
            Err(RemoteError::Refused { status: 409, .. }) => Ok(()),
            renewed => renewed.map(drop),
        }
    }

    /// Lifts everything; returns what was in force. Safe to repeat.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn clear(&self) -> Result<Vec<Trick>, RemoteError> {
        self.holds_lease.store(false, Ordering::Relaxed);
        let lifted: Wanted = self.ask(Method::DELETE, "tricks", Vec::new()).await?;
        Ok(lifted.tricks)
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, what: &str, body: Vec<u8>) -> Result<T, RemoteError> {
        let silent = |error: reqwest::Error| RemoteError::Silent { api: self.api, reason: error.to_string() };
        let request = self.client.request(method, format!("http://{}/v1/{what}", self.api));
        let answer = request.bearer_auth(self.token.expose_secret()).body(body).send().await.map_err(silent)?;
        let status = answer.status();
        if !status.is_success() {
            let said = answer.text().await.unwrap_or_default().trim().to_owned();
            return Err(RemoteError::Refused { status: status.as_u16(), said });
        }
        answer.json().await.map_err(silent)
    }
}

/// Which proxy answers at an address, asked without a token; `None` where nobody listens there,
/// or somebody else does.
///
/// # Errors
/// [`RemoteError::Silent`] where somebody is there and does not answer.
pub async fn instance(api: SocketAddr) -> Result<Option<Instance>, RemoteError> {
    let answered = client().get(format!("http://{api}/v1/instance")).send().await;
    match answered {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(answer.json().await.ok()),
        Ok(_) => Ok(None),
        Err(error) if error.is_connect() => Ok(None),
        Err(error) => Err(RemoteError::Silent { api, reason: error.to_string() }),
    }
}

/// A client that goes straight to loopback, whatever proxies this machine is set to use.
fn client() -> reqwest::Client {
    tls::install_provider();
    let built = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(ANSWER_WITHIN).build();
    built.expect("a client that trusts nobody and knows no proxies can be built")
}
