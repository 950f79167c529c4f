//! Whether two groups of measurements differ, by the exact permutation test of Gehan.
//!
//! Measurements are intervals, so only pairs that do not overlap say which is longer (Gehan,
//! Biometrika 52, 1965, made Wilcoxon's rank sum so). A measurement's score is how many others
//! it is surely longer than, less how many are surely longer than it; a group's is the sum.
//! If the groups do not differ, every way to deal the measurements out to them is as likely,
//! and all of them are counted.

use std::cmp::Ordering;
use std::time::Duration;

use super::Measured;
use super::order::median;

/// A difference that chance makes as often as this is none.
pub const CHANCE_MAX: f64 = 0.05;

/// Two groups beside each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// How often chance alone makes groups of these sizes differ as much or more.
    pub chance: f64,
    /// How small that is at best, with all of one group surely longer and no ties; ties in groups
    /// of unequal size can halve it.
    pub least_chance: f64,
    /// How far the medians are apart at least; zero where their intervals overlap.
    pub apart: Duration,
    /// Which median is the longer one: of the first group beside the second.
    pub first_is: Ordering,
}

impl Comparison {
    /// Whether groups of these sizes could show any difference.
    #[must_use]
    pub fn could_tell(&self) -> bool {
        self.least_chance <= CHANCE_MAX
    }

    /// Whether they differ by more than `large`, and not by chance.
    #[must_use]
    pub fn differs(&self, large: Duration) -> bool {
        self.chance <= CHANCE_MAX && self.apart > large
    }
}

/// Compares two groups; nothing where one is empty.
#[must_use]
pub fn compare(first: &[Measured], second: &[Measured]) -> Option<Comparison> {
    let (middle, other) = (median(first)?, median(second)?);
    let all: Vec<Measured> = first.iter().chain(second).copied().collect();
    let scores: Vec<i64> = all.iter().map(|one| all.iter().map(|other| surely_longer(*one, *other)).sum()).collect();
    let observed: i64 = scores[..first.len()].iter().sum();
    let apart = middle.lower.saturating_sub(other.upper).max(other.lower.saturating_sub(middle.upper));
    let first_is = match surely_longer(middle, other) {
        1 => Ordering::Greater,
        -1 => Ordering::Less,
        _ => Ordering::Equal,
    };
    Some(Comparison {
        chance: chance(&scores, first.len(), observed.unsigned_abs()),
        least_chance: (2.0 / ways(all.len(), first.len())).min(1.0),
        apart,
        first_is,
    })
}

/// The fewest measurements, half of them in each group, that can show a difference.
#[must_use]
pub fn least_count() -> usize {
    (1..).map(|half| 2 * half).find(|count| 2.0 / ways(*count, count / 2) <= CHANCE_MAX).unwrap_or(usize::MAX)
}

fn surely_longer(one: Measured, other: Measured) -> i64 {
    i64::from(one.lower > other.upper) - i64::from(other.lower > one.upper)
}

/// The share of all ways to choose `chosen` scores whose sum is at least as far from zero,
/// which is its mean: every pair adds 1 to one score and -1 to the other.
fn chance(scores: &[i64], chosen: usize, distance: u64) -> f64 {
    let middle = scores.iter().map(|score| usize::try_from(score.unsigned_abs()).unwrap_or(0)).sum::<usize>();
    // How many ways there are to choose so many scores with this sum, from -middle to middle.
    let mut ways = vec![vec![0.0_f64; 2 * middle + 1]; chosen + 1];
    ways[0][middle] = 1.0;
    for (seen, score) in scores.iter().enumerate() {
        // The most first, so that no score is chosen twice.
        for size in (0..chosen.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(size + 1);
            for (place, count) in fewer[size].iter().enumerate().filter(|(_, count)| **count > 0.0) {
                if let Some(into) = place.checked_add_signed(isize::try_from(*score).unwrap_or(0)) {
                    more[0][into] += count;
                }
            }
        }
    }
    let far = |place: usize| u64::try_from(place.abs_diff(middle)).is_ok_and(|from_zero| from_zero >= distance);
    let all: f64 = ways[chosen].iter().sum();
    let as_far: f64 = ways[chosen].iter().enumerate().filter(|(place, _)| far(*place)).map(|(_, count)| count).sum();
    as_far / all
}

/// How many ways there are to choose so many of so many.
fn ways(all: usize, chosen: usize) -> f64 {
    (1..=chosen).map(|k| (all - chosen + k) as f64 / k as f64).product()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64, width: u64) -> Measured {
        Measured { lower: Duration::from_millis(millis), upper: Duration::from_millis(millis + width) }
    }

    fn group(millis: &[u64], width: u64) -> Vec<Measured> {
        millis.iter().map(|millis| at(*millis, width)).collect()
    }

    #[track_caller]
    fn check(first: &[u64], second: &[u64], width: u64, chance: f64, apart: u64, first_is: Ordering) {
        let found = compare(&group(first, width), &group(second, width)).unwrap();
        assert!((found.chance - chance).abs() < 1e-9, "{first:?} {second:?}: {found:?}");
        assert_eq!((found.apart, found.first_is), (Duration::from_millis(apart), first_is), "{first:?} {second:?}");
    }

    #[test]
    fn chances_are_those_of_wilcoxons_tables() {
        check(&[1], &[100], 0, 1.0, 99, Ordering::Less);
        check(&[1, 2, 3], &[100, 101, 102], 0, 2.0 / 20.0, 99, Ordering::Less);
        check(&[100, 101, 102, 103], &[1, 2, 3, 4], 0, 2.0 / 70.0, 98, Ordering::Greater);
        // Rank sum 11 of 1, 2, 3, 5: 2 of the 70 ways are lower or equal on each side.
        check(&[1, 2, 3, 5], &[4, 6, 7, 8], 0, 4.0 / 70.0, 3, Ordering::Less);
        check(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 0, 1.0, 0, Ordering::Equal);
    }

    #[test]
    fn what_overlaps_does_not_differ() {
        check(&[10, 20, 30, 40], &[50, 60, 70, 80], 100, 1.0, 0, Ordering::Equal);
    }

    #[test]
    fn eight_rounds_can_tell_and_six_cannot() {
        assert_eq!(least_count(), 8);
        let of = |half: u64| {
            let (low, high): (Vec<_>, Vec<_>) = ((0..half).collect(), (1_000..1_000 + half).collect());
            compare(&group(&low, 0), &group(&high, 0)).unwrap()
        };
        assert!(!of(3).could_tell() && !of(3).differs(Duration::ZERO));
        assert!(of(4).could_tell() && of(4).differs(Duration::ZERO));
        assert!(!of(4).differs(Duration::from_secs(5)), "a small difference is none");
        assert_eq!(compare(&[], &group(&[1], 0)), None);
    }

    /// Counting every way, one by one.
    fn counted(scores: &[i64], chosen: usize, distance: u64) -> f64 {
        let (mut all, mut far) = (0.0, 0.0);
        for set in 0_u32..1 << scores.len() {
            if set.count_ones() as usize == chosen {
                let sum: i64 = (0..scores.len()).filter(|place| set >> place & 1 == 1).map(|place| scores[place]).sum();
                all += 1.0;
                far += if sum.unsigned_abs() >= distance { 1.0 } else { 0.0 };
            }
        }
        far / all
    }

    proptest! {
        #[test]
        fn the_chance_is_what_counting_gives(
            scores in proptest::collection::vec(-9_i64..=9, 1..10), chosen in 0_usize..10, distance in 0_u64..40,
        ) {
            let chosen = chosen.min(scores.len());
            prop_assert!((chance(&scores, chosen, distance) - counted(&scores, chosen, distance)).abs() < 1e-9);
        }

        #[test]
        fn order_and_sides_do_not_matter(
            first in proptest::collection::vec((0_u64..5_000, 0_u64..300), 1..8),
            second in proptest::collection::vec((0_u64..5_000, 0_u64..300), 1..8),
        ) {
            let of = |group: &[(u64, u64)]| group.iter().map(|(millis, width)| at(*millis, *width)).collect::<Vec<_>>();
            let one = compare(&of(&first), &of(&second)).unwrap();
            let other = compare(&of(&second), &of(&first)).unwrap();
            prop_assert!((one.chance - other.chance).abs() < 1e-9);
            prop_assert_eq!((one.apart, one.first_is), (other.apart, other.first_is.reverse()));
            prop_assert!(one.chance >= one.least_chance / 2.0 - 1e-9 && one.chance <= 1.0 + 1e-9);
        }
    }
}
