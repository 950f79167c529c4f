//! The metrics that the runbook and its dashboards query, under the names they use.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::cache::Layer;

/// Seconds, for what takes microseconds when all is well (a PING, a prediction).
const FAST: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Seconds, for HTTP requests; the bounds include those that the runbook judges p95 by.
const REQUEST: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];
/// Seconds, for what waits on somebody outside.
const OUTSIDE: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0];

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) http_request_duration: HistogramVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    cache_hit_rate: Gauge,
    pub(crate) websocket_active: IntGauge,
    pub(crate) websocket_errors: IntCounterVec,
    pub(crate) websocket_latency: Histogram,
    pub(crate) llm_errors: IntCounterVec,
    pub(crate) answer_generation: Histogram,
    pub(crate) pdf_fetch: Histogram,
    pub(crate) pdf_fetch_errors: IntCounter,
    pub(crate) redis_errors: IntCounterVec,
    pub(crate) redis_ping: Histogram,
    pub(crate) messages_processed: IntCounterVec,
    pub(crate) prediction_latency: Histogram,
    pub(crate) background_tasks: IntGauge,
}

impl Metrics {
    /// # Errors
    /// A sentence, where a name or label is not one that Prometheus allows.
    pub(crate) fn new() -> Result<Self, String> {
        Self::register().map_err(|error| format!("register the metrics: {error}"))
    }

    fn register() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Self {
            http_requests: counters(
                &registry,
                "http_requests_total",
                "HTTP requests",
                &["method", "endpoint", "status"],
            )?,
            http_request_duration: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new("http_request_duration_seconds", "Time to an HTTP answer")
                        .buckets(REQUEST.into()),
                    &["method", "endpoint"],
                )?,
            )?,
            cache_hits: counters(&registry, "cache_hits_total", "Look-ups that a layer answered", &["layer"])?,
            cache_misses: counters(
                &registry,
                "cache_misses_total",
                "Look-ups that a layer did not answer",
                &["layer"],
            )?,
            cache_hit_rate: add(
                &registry,
                Gauge::new("cache_hit_rate", "Share of look-ups that either layer answered; 0 before the first")?,
            )?,
            websocket_active: gauge(&registry, "websocket_active_connections", "Open WebSockets")?,
            websocket_errors: counters(&registry, "websocket_errors_total", "WebSocket errors", &["error_type"])?,
            websocket_latency: histogram(
                &registry,
                "websocket_message_latency_seconds",
                "Time from a client's message to the first reply to it",
                FAST,
            )?,
            llm_errors: counters(
                &registry,
                "llm_errors_total",
                "LLM requests without a whole answer",
                &["error_type"],
            )?,
            answer_generation: histogram(&registry, "answer_generation_seconds", "Time to a whole answer", OUTSIDE)?,
            pdf_fetch: histogram(&registry, "pdf_fetch_seconds", "Time to fetch a manual", OUTSIDE)?,
            pdf_fetch_errors: add(
                &registry,
                IntCounter::new("pdf_fetch_errors_total", "Manuals that could not be fetched or read")?,
            )?,
            redis_errors: counters(&registry, "redis_errors_total", "Failed Redis operations", &["operation"])?,
            redis_ping: histogram(&registry, "redis_ping_seconds", "Time to the answer of a Redis PING", FAST)?,
            messages_processed: counters(
                &registry,
                "messages_processed_total",
                "Messages from clients",
                &["message_type"],
            )?,
            prediction_latency: histogram(&registry, "prediction_latency_seconds", "Time to a prediction", FAST)?,
            background_tasks: gauge(&registry, "background_tasks_active", "Background tasks")?,
            registry,
        };
        // Series exist from the start, so that the first error is a rise from 0 and not a new series.
        for layer in [Layer::L1, Layer::L2] {
            metrics.cache_hits.with_label_values(&[layer.label()]);
            metrics.cache_misses.with_label_values(&[layer.label()]);
        }
        for operation in ["connect", "ping", "get", "set"] {
            metrics.redis_errors.with_label_values(&[operation]);
        }
        Ok(metrics)
    }

    /// Counts one look-up in one layer.
    pub(crate) fn looked_up(&self, layer: Layer, hit: bool) {
        let counters = if hit { &self.cache_hits } else { &self.cache_misses };
        counters.with_label_values(&[layer.label()]).inc();
    }

    /// Prometheus text format.
    ///
    /// # Errors
    /// A sentence, where the encoder fails.
    pub(crate) fn render(&self) -> Result<String, String> {
        self.cache_hit_rate.set(self.hit_rate());
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| format!("encode the metrics: {error}"))?;
        String::from_utf8(text).map_err(|error| format!("encode the metrics: {error}"))
    }

    fn hit_rate(&self) -> f64 {
        let count = |counters: &IntCounterVec, layer: Layer| counters.with_label_values(&[layer.label()]).get();
        let hits = count(&self.cache_hits, Layer::L1) + count(&self.cache_hits, Layer::L2);
        // Every look-up asks L1 first.
        let lookups = count(&self.cache_hits, Layer::L1) + count(&self.cache_misses, Layer::L1);
        if lookups == 0 { 0.0 } else { hits as f64 / lookups as f64 }
    }
}

/// Seconds, as Prometheus wants them.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    add(registry, IntGauge::new(name, help)?)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    add(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.into()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hit_rate_counts_each_look_up_once() {
        let metrics = Metrics::new().unwrap();
        let rows: &[(Option<(Layer, bool)>, f64)] = &[
            (None, 0.0),
            (Some((Layer::L1, true)), 1.0),
            (Some((Layer::L1, false)), 0.5),
            (Some((Layer::L2, true)), 1.0),
            (Some((Layer::L1, false)), 2.0 / 3.0),
            (Some((Layer::L2, false)), 2.0 / 3.0),
        ];
        for (lookup, expect) in rows {
            if let Some((layer, hit)) = lookup {
                metrics.looked_up(*layer, *hit);
            }
            assert!((metrics.hit_rate() - expect).abs() < 1e-9, "after {lookup:?}: {}", metrics.hit_rate());
        }
    }
}
