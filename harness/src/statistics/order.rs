//! Quantiles and their bounds from order statistics.
//!
//! Of `n` independent measurements, the number below the true `p`-quantile is binomial with
//! `n` and `p`, whatever the distribution is. So the `k`-th smallest measurement is an upper
//! bound of the quantile with the chance P(B < k), and a lower one with P(B >= k)
//! (Conover, Practical Nonparametric Statistics, section 3.2). A distribution with ties only
//! raises both chances.

use super::Measured;

/// The chance with which each end of an interval holds; both together hold with 90 %.
pub const CONFIDENCE: f64 = 0.95;

/// A quantile of some measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantile {
    /// Its estimate: of the smallest measurement that has the quantile's share at or below it.
    pub estimate: Measured,
    /// The quantile is at least this, by [`CONFIDENCE`]; absent where there are too few
    /// measurements to say.
    pub at_least: Option<Measured>,
    /// The quantile is at most this, by [`CONFIDENCE`]; absent where there are too few
    /// measurements to say.
    pub at_most: Option<Measured>,
}

/// The `share`-quantile of the measurements; nothing without any.
///
/// The `k`-th smallest true value lies between the `k`-th smallest lower and the `k`-th
/// smallest upper end, so ends are sorted by themselves.
#[must_use]
pub fn quantile(measured: &[Measured], share: f64) -> Option<Quantile> {
    let (mut lowers, mut uppers): (Vec<_>, Vec<_>) = measured.iter().map(|one| (one.lower, one.upper)).unzip();
    lowers.sort_unstable();
    uppers.sort_unstable();
    let ranked = |rank: usize| Measured { lower: lowers[rank - 1], upper: uppers[rank - 1] };
    let count = measured.len();
    (count > 0).then(|| Quantile {
        estimate: ranked(rank(count, share)),
        at_least: lower_rank(count, share).map(ranked),
        at_most: upper_rank(count, share).map(ranked),
    })
}

/// The median; of an even number the two in the middle, from the lower to the upper one.
#[must_use]
pub fn median(measured: &[Measured]) -> Option<Measured> {
    let (mut lowers, mut uppers): (Vec<_>, Vec<_>) = measured.iter().map(|one| (one.lower, one.upper)).unzip();
    lowers.sort_unstable();
    uppers.sort_unstable();
    let last = measured.len().checked_sub(1)?;
    Some(Measured { lower: lowers[last / 2], upper: uppers[measured.len() / 2] })
}

/// How many measurements it takes until the largest bounds the `share`-quantile from above.
#[must_use]
pub fn least_count(share: f64) -> usize {
    let (mut count, mut all_below) = (0, 1.0);
    while all_below > 1.0 - CONFIDENCE && count < COUNT_MAX {
        count += 1;
        all_below *= share;
    }
    count
}

/// Beyond this many, [`least_count`] stops counting: the quantile is as good as the maximum.
const COUNT_MAX: usize = 100_000;

/// The nearest rank, from 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is between 0 and it")]
fn rank(count: usize, share: f64) -> usize {
    // A share such as 0.95 is not exact in binary: 0.95 * 20 must not become rank 20.
    ((count as f64 * share - 1e-9).ceil() as usize).clamp(1, count)
}

/// The largest rank that is at most the quantile with [`CONFIDENCE`].
fn lower_rank(count: usize, share: f64) -> Option<usize> {
    (1..=count).rev().find(|rank| 1.0 - at_most(count, share, rank - 1) >= CONFIDENCE)
}

/// The smallest rank that is at least the quantile with [`CONFIDENCE`].
fn upper_rank(count: usize, share: f64) -> Option<usize> {
    (1..=count).find(|rank| at_most(count, share, rank - 1) >= CONFIDENCE)
}

/// P(B <= `successes`) of a binomial B.
fn at_most(count: usize, share: f64, successes: usize) -> f64 {
    if successes >= count {
        return 1.0;
    }
    if share > 0.5 {
        // Counted from the other side: what is summed must not begin with nearly nothing.
        return 1.0 - at_most(count, 1.0 - share, count - successes - 1);
    }
    let odds = share / (1.0 - share);
    let mut chance = (1.0 - share).powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut sum = chance;
    for k in 0..successes {
        chance *= odds * (count - k) as f64 / (k + 1) as f64;
        sum += chance;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const P95: f64 = 0.95;

    fn exact(millis: impl IntoIterator<Item = u64>) -> Vec<Measured> {
        let one = |millis| Measured { lower: Duration::from_millis(millis), upper: Duration::from_millis(millis) };
        millis.into_iter().map(one).collect()
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        #[track_caller]
        fn check(count: usize, share: f64, expect: (usize, Option<usize>, Option<usize>)) {
            assert_eq!(
                (rank(count, share), lower_rank(count, share), upper_rank(count, share)),
                expect,
                "{count} {share}"
            );
        }
        // A median of five is at most the largest with 1 - 1/32 = 97 %; of four with 94 % only.
        check(4, 0.5, (2, None, None));
        check(5, 0.5, (3, Some(1), Some(5)));
        check(10, 0.5, (5, Some(2), Some(9)));
        check(1, P95, (1, Some(1), None));
        check(20, P95, (19, Some(17), None));
        check(58, P95, (56, Some(52), None));
        check(59, P95, (57, Some(53), Some(59)));
        check(100, P95, (95, Some(91), Some(99)));
    }

    #[test]
    fn fifty_nine_measurements_bound_a_p95_and_five_a_median() {
        for (share, expect) in [(P95, 59), (0.5, 5), (0.99, 299)] {
            assert_eq!(least_count(share), expect);
            assert!(upper_rank(expect, share).is_some() && upper_rank(expect - 1, share).is_none(), "{share}");
        }
    }

    #[test]
    fn nothing_measured_says_nothing() {
        assert_eq!(quantile(&[], P95), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_median_of_an_even_number_is_both_in_the_middle() {
        for (millis, expect) in
            [(vec![5], (5, 5)), (vec![9, 1], (1, 9)), (vec![3, 1, 2], (2, 2)), (vec![4, 1, 2, 3], (2, 3))]
        {
            let median = median(&exact(millis.clone())).unwrap();
            assert_eq!((median.lower.as_millis(), median.upper.as_millis()), expect, "{millis:?}");
        }
    }

    #[test]
    fn the_binomial_adds_up() {
        for count in 1..=100 {
            assert!((at_most(count, P95, count) - 1.0).abs() < 1e-9, "{count}");
            let none_missed = 1.0 - at_most(count, P95, count - 1);
            assert!((none_missed - P95.powi(i32::try_from(count).unwrap())).abs() < 1e-9, "{count}");
        }
    }

    proptest! {
        #[test]
        fn intervals_hold_the_quantile_of_any_truth_inside(
            truths in proptest::collection::vec((0_u64..100_000, 0_u64..500, 0_u64..500), 1..90),
            share in 0.05_f64..0.99,
        ) {
            let measured: Vec<_> = truths.iter().map(|(truth, before, after)| Measured {
                lower: Duration::from_millis(truth.saturating_sub(*before)),
                upper: Duration::from_millis(truth + after),
            }).collect();
            let of_truth = quantile(&exact(truths.iter().map(|(truth, ..)| *truth)), share).unwrap();
            let found = quantile(&measured, share).unwrap();
            prop_assert!(found.estimate.lower <= of_truth.estimate.lower && of_truth.estimate.upper <= found.estimate.upper);
            if let (Some(bound), Some(true_bound)) = (found.at_most, of_truth.at_most) {
                prop_assert!(bound.upper >= true_bound.upper && bound.upper >= found.estimate.upper);
            }
            let middle = median(&measured).unwrap();
            let true_middle = median(&exact(truths.iter().map(|(truth, ..)| *truth))).unwrap();
            prop_assert!(middle.lower <= true_middle.lower && true_middle.upper <= middle.upper);
        }
    }
}
