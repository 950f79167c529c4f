//! Fetches manuals from their makers' sites.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::time::timeout;

use super::cache::Cache;
use super::gemini::causes;
use super::metrics::{Metrics, seconds};
use super::text::{self, Unreadable};
use crate::log::Log;

/// Longest manual that is read.
const MANUAL_BYTES_MAX: usize = 8 << 20;

/// Reads manuals, from the cache or from their site.
pub(crate) struct Manuals {
    pub(crate) client: Client,
    pub(crate) cache: Arc<Cache>,
    /// Deadline of one fetch.
    pub(crate) timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Log,
}

/// A manual that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManualError {
    #[error("the maker's site did not send it within {0:?}")]
    Timeout(Duration),
    #[error("the maker's site answered {0}")]
    Status(http::StatusCode),
    #[error("the maker's site is out of reach: {0}")]
    Network(String),
    #[error("it is longer than {MANUAL_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Manuals {
    /// The words of the manual at this address.
    pub(crate) async fn words(&self, url: &str) -> Result<String, ManualError> {
        let key = format!("manual:{url}");
        if let Some(words) = self.cache.get(&key).await {
            return Ok(words);
        }
        let started = Instant::now();
        let result = self.fetch(url).await;
        self.metrics.pdf_fetch.observe(seconds(started.elapsed()));
        match &result {
            Ok(words) => {
                let took = started.elapsed().as_millis() as u64;
                self.log.info("fetcher", "pdf_fetch done", &[("url", url.into()), ("milliseconds", took.into())]);
                self.cache.put(&key, words).await;
            }
            Err(error) => {
                self.metrics.pdf_fetch_errors.inc();
                let error = error.to_string();
                self.log.error("fetcher", "pdf_fetch error", &[("url", url.into()), ("error", error.into())]);
            }
        }
        result
    }

    async fn fetch(&self, url: &str) -> Result<String, ManualError> {
        let document =
            timeout(self.timeout, self.download(url)).await.map_err(|_| ManualError::Timeout(self.timeout))??;
        Ok(text::words(&document)?)
    }

    async fn download(&self, url: &str) -> Result<Vec<u8>, ManualError> {
        let network = |error: reqwest::Error| ManualError::Network(causes(&error));
        let mut response = self.client.get(url).send().await.map_err(network)?;
        if !response.status().is_success() {
            return Err(ManualError::Status(response.status()));
        }
        let mut document = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(network)? {
            if document.len() + bytes.len() > MANUAL_BYTES_MAX {
                return Err(ManualError::TooLong);
            }
            document.extend_from_slice(&bytes);
        }
        Ok(document)
    }
}
