//! How punctual the load's requests were sent.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Highest slip that is told apart: a minute, in microseconds.
const SLIP_MICROS_MAX: u64 = 60_000_000;
/// Beyond this slip, at the 99th percentile, latencies of the load are in part our own.
pub const SLIP_P99_MAX: Duration = Duration::from_millis(10);

/// From intended to sent, over all requests of the load.
#[derive(Debug, Clone)]
pub struct Punctuality {
    slip_micros: Histogram<u64>,
}

impl Default for Punctuality {
    fn default() -> Self {
        Self { slip_micros: Histogram::new_with_bounds(1, SLIP_MICROS_MAX, 3).expect("the bounds are valid") }
    }
}

impl Punctuality {
    pub(crate) fn sent(&mut self, slip: Duration) {
        self.slip_micros.saturating_record(u64::try_from(slip.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.slip_micros.len()
    }

    /// The slip that so large a share of the requests did not exceed, such as 0.99.
    #[must_use]
    pub fn slip(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.slip_micros.value_at_quantile(quantile))
    }

    /// One line for the report.
    #[must_use]
    pub fn note(&self) -> String {
        let millis = |quantile| self.slip(quantile).as_secs_f64() * 1000.0;
        format!(
            "slip of the load: p50 {:.1} ms, p99 {:.1} ms, highest {:.1} ms of {} requests",
            millis(0.5),
            millis(0.99),
            millis(1.0),
            self.requests()
        )
    }
}
