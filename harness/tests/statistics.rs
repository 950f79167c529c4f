//! Bounds and comparisons hold as often as they say, on simulated measurements.

use std::time::Duration;

use harness::statistics::order::CONFIDENCE;
use harness::statistics::{Measured, compare, quantile};

const P95: f64 = 0.95;

#[test]
fn bounds_hold_as_often_as_they_say() {
    const TRIALS: u32 = 4_000;
    let mut random = fastrand::Rng::with_seed(7);
    // Skewed, as recoveries are: the square of a uniform number has its p95 at 0.95^2.
    let at = |square_root: f64| Duration::from_secs_f64(square_root.powi(2));
    for count in [59, 80, 100] {
        let (mut below, mut above) = (0, 0);
        for _ in 0..TRIALS {
            let drawn = (0..count).map(|_| at(random.f64())).map(|time| Measured { lower: time, upper: time });
            let found = quantile(&drawn.collect::<Vec<_>>(), P95).unwrap();
            below += u32::from(found.at_least.is_some_and(|bound| bound.lower <= at(P95)));
            above += u32::from(found.at_most.is_some_and(|bound| bound.upper >= at(P95)));
        }
        // Three standard deviations of a binomial count below what is promised.
        let trials = f64::from(TRIALS);
        let least = trials * CONFIDENCE - 3.0 * (trials * CONFIDENCE * (1.0 - CONFIDENCE)).sqrt();
        assert!(f64::from(below) >= least && f64::from(above) >= least, "{count}: {below} and {above} of {TRIALS}");
    }
}

/// Groups of five from one distribution, one of them measured more coarsely.
#[test]
fn equal_groups_seldom_differ_and_other_ones_do() {
    const TRIALS: u32 = 1_000;
    let mut random = fastrand::Rng::with_seed(11);
    let mut differ = |slower: u64| -> u32 {
        (0..TRIALS)
            .filter(|_| {
                let mut draw = |width: u64, slower: u64| -> Vec<Measured> {
                    (0..5)
                        .map(|_| {
                            let truth = random.u64(0..2_000) + slower;
                            let lower = Duration::from_millis(truth.saturating_sub(random.u64(0..width)));
                            Measured { lower, upper: lower + Duration::from_millis(width) }
                        })
                        .collect()
                };
                let (full, quarter) = (draw(100, slower), draw(400, 0));
                compare(&full, &quarter).unwrap().differs(Duration::from_millis(100))
            })
            .map(|_| 1)
            .sum()
    };
    let (equal, other) = (differ(0), differ(2_500));
    assert!(f64::from(equal) <= 0.05 * f64::from(TRIALS), "{equal} of {TRIALS} without a difference");
    assert!(f64::from(other) >= 0.95 * f64::from(TRIALS), "{other} of {TRIALS} with one");
}
