//! What several measurements say together, each of them an interval.
//!
//! Recovery times have no known distribution, so nothing here assumes one: quantiles are
//! bounded by order statistics, and two groups are compared by permutation, both exactly.

use std::time::Duration;

pub mod compare;
pub mod order;

pub use compare::{Comparison, compare};
pub use order::{Quantile, quantile};

/// A time that is known to lie between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// At least this long.
    pub lower: Duration,
    /// At most this long.
    pub upper: Duration,
}
