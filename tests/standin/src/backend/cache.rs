//! Two layers of cache: an LRU in memory, and Redis.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::metrics::Metrics;
use super::redis_link::RedisLink;

/// A layer of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// In memory: gone with the process.
    L1,
    /// In Redis: shared, and gone after its time to live.
    L2,
}

impl Layer {
    /// Its value of the label `layer`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
        }
    }
}

/// Text by key, in both layers.
pub(crate) struct Cache {
    l1: Mutex<LruCache<String, String>>,
    l2: Arc<RedisLink>,
    metrics: Arc<Metrics>,
}

impl Cache {
    pub(crate) fn new(l1_max_size: NonZeroUsize, l2: Arc<RedisLink>, metrics: Arc<Metrics>) -> Self {
        Self { l1: Mutex::new(LruCache::new(l1_max_size)), l2, metrics }
    }

    /// Looks in memory, then in Redis; what only Redis had is in memory afterwards.
    /// Without a Redis every look-up there is a miss.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let in_memory = self.l1().get(key).cloned();
        self.metrics.looked_up(Layer::L1, in_memory.is_some());
        if in_memory.is_some() {
            return in_memory;
        }
        let in_redis = self.l2.get(key).await;
        self.metrics.looked_up(Layer::L2, in_redis.is_some());
        if let Some(value) = &in_redis {
            self.l1().put(key.to_owned(), value.clone());
        }
        in_redis
    }

    /// Puts into both layers; a Redis that is away is no error here.
    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.l1().put(key.to_owned(), value.to_owned());
        self.l2.set(key, value).await;
    }

    fn l1(&self) -> std::sync::MutexGuard<'_, LruCache<String, String>> {
        self.l1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
