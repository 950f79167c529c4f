//! What all requests of the backend share.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cache::Cache;
use super::catalog::Catalog;
use super::debug::Leak;
use super::flaw::Flaw;
use super::gemini::Gemini;
use super::manual::Manuals;
use super::metrics::Metrics;
use super::redis_link::RedisLink;
use super::usage::Usage;
use crate::log::Log;

/// Memory above this share of the limit makes the backend not ready, in percent.
const MEMORY_PERCENT_MAX: f64 = 95.0;
/// Least confidence with which a price is told.
const PRICE_CONFIDENCE_MIN: f64 = 0.5;

pub(crate) struct App {
    pub(crate) catalog: RwLock<Arc<Catalog>>,
    pub(crate) catalog_directory: PathBuf,
    pub(crate) redis: Arc<RedisLink>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) manuals: Manuals,
    pub(crate) gemini: Gemini,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) usage: Usage,
    pub(crate) started: Instant,
    pub(crate) version: String,
    pub(crate) flaw: Option<Flaw>,
    /// Mean life of a socket in the flaw `drops-sockets`.
    pub(crate) drop_sockets: Option<Duration>,
    pub(crate) log: Log,
    pub(crate) leak: Leak,
}

impl App {
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the catalog again; a catalog that cannot be read leaves the old one in place.
    pub(crate) fn reload_catalog(&self) {
        match Catalog::load(&self.catalog_directory) {
            Ok(catalog) => {
                let products = catalog.product_count();
                *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
                self.log.info("catalog", "catalog reloaded", &[("product_count", products.into())]);
            }
            Err(error) => {
                self.log.error("catalog", "catalog not reloaded, the old one stays", &[("error", error.into())]);
            }
        }
    }

    /// Why no traffic should come here, where there is a reason.
    pub(crate) async fn not_ready(&self) -> Option<&'static str> {
        if self.flaw == Some(Flaw::NeverReady) {
            Some("Starting")
        } else if !self.redis.ping().await {
            Some("Redis not connected")
        } else if self.usage.memory_percent() > MEMORY_PERCENT_MAX {
            Some("Memory usage above 95%")
        } else {
            None
        }
    }

    /// The body of `/health`.
    pub(crate) async fn health(&self) -> Value {
        let redis_connected = self.redis.ping().await;
        let memory = self.usage.memory_percent();
        let products = self.catalog().product_count();
        let status = if !redis_connected {
            "unhealthy"
        } else if memory > MEMORY_PERCENT_MAX || products == 0 || !self.gemini.has_plausible_key() {
            "degraded"
        } else {
            "healthy"
        };
        json!({
            "status": status,
            "redis_connected": redis_connected,
            "memory_usage_percent": memory,
            "cpu_usage_percent": self.usage.cpu_percent(),
            "active_connections": self.metrics.websocket_active.get(),
            "product_count": products,
            "uptime_seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "timestamp": format!("{:.3}", jiff::Timestamp::now()),
            "version": self.version,
        })
    }

    /// Products that fit what was typed, as clients get them.
    pub(crate) async fn predict(&self, typed: &str) -> Value {
        let catalog = self.catalog();
        self.cached(&format!("prediction:{:x}:{typed}", catalog.fingerprint), || Some(json!(catalog.search(typed))))
            .await
            .unwrap_or_else(|| json!([]))
    }

    /// Price and availability of the product that fits best; `None` where none fits well.
    pub(crate) async fn price(&self, query: &str) -> Option<Value> {
        let catalog = self.catalog();
        self.cached(&format!("price:{:x}:{query}", catalog.fingerprint), || {
            let matches = catalog.search(query);
            let best = matches.first().filter(|best| best.confidence >= PRICE_CONFIDENCE_MIN)?;
            Some(json!({
                "product_id": best.product.id,
                "product": best.product.name,
                "brand": best.brand.name,
                "price": best.product.price,
                "currency": "USD",
                "available": best.product.price.is_some(),
                "production_country": best.product.production_country,
            }))
        })
        .await
    }

    /// The cached value, or else the computed one, which is then cached.
    async fn cached(&self, key: &str, compute: impl FnOnce() -> Option<Value>) -> Option<Value> {
        // A value that does not parse was not written by this version: it is computed anew.
        let cached = self.cache.get(key).await.and_then(|text| serde_json::from_str(&text).ok());
        if cached.is_some() {
            return cached;
        }
        let value = compute()?;
        self.cache.put(key, &value.to_string()).await;
        Some(value)
    }
}
