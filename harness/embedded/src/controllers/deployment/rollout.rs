//! The arithmetic of rollouts: how many replicas each ReplicaSet should have. Pure numbers.
//!
//! Formulas follow Kubernetes' deployment controller (`deploymentutil`, `rolling.go`, `sync.go`).

use serde_json::Value;

use crate::controllers::facts::{self, Round};

/// How far a rolling update may leave the wanted number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Replicas that are wanted.
    pub(crate) desired: i64,
    /// Replicas beyond that.
    pub(crate) surge: i64,
    /// Replicas that may be missing.
    pub(crate) unavailable: i64,
}

impl Limits {
    /// The limits of a Deployment; both are zero under `Recreate`.
    pub(crate) fn of(deployment: &Value) -> Self {
        let desired = facts::replicas(deployment);
        if !is_rolling(deployment) {
            return Self { desired, surge: 0, unavailable: 0 };
        }
        let quarter = Value::from("25%");
        let parameters = &deployment["spec"]["strategy"]["rollingUpdate"];
        let or_quarter = |field: &'static str| Some(&parameters[field]).filter(|v| !v.is_null()).unwrap_or(&quarter);
        let surge = facts::share(or_quarter("maxSurge"), desired, Round::Up);
        let unavailable = facts::share(or_quarter("maxUnavailable"), desired, Round::Down);
        // With neither, nothing could ever move.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { desired, surge, unavailable: unavailable.min(desired) }
    }

    /// The most replicas there may be.
    pub(crate) fn most(self) -> i64 {
        self.desired + self.surge
    }

    /// The fewest available replicas there should be.
    pub(crate) fn fewest_available(self) -> i64 {
        self.desired - self.unavailable
    }
}

/// Whether the strategy is `RollingUpdate`, the default.
pub(crate) fn is_rolling(deployment: &Value) -> bool {
    deployment["spec"]["strategy"]["type"] != "Recreate"
}

/// The replicas of one ReplicaSet, as far as the arithmetic needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// `spec.replicas`.
    pub(crate) wanted: i64,
    /// `status.availableReplicas`.
    pub(crate) available: i64,
}

/// The size the new ReplicaSet should have next, given the sum of all sizes (its own included).
pub(crate) fn next_new_size(limits: Limits, rolling: bool, new: i64, total: i64) -> i64 {
    if !rolling || new > limits.desired {
        return limits.desired;
    }
    new + (limits.most() - total).min(limits.desired - new).max(0)
}

/// The sizes the old ReplicaSets (oldest first) should have next in a rolling update.
///
/// What is not available goes first; then available ones, down to the fewest there should be.
/// Pods that a ReplicaSet has yet to delete are not counted as available, so that a late
/// status never lets two of them go where one may.
pub(crate) fn next_old_sizes(limits: Limits, new: Size, old: &[Size]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|size| size.wanted).collect();
    let total = sizes.iter().sum::<i64>() + new.wanted;
    let new_unavailable = new.wanted - new.available;
    let spare = total - limits.fewest_available() - new_unavailable;
    if spare <= 0 {
        return sizes;
    }
    let mut unhealthy_left = spare;
    for (size, old) in sizes.iter_mut().zip(old) {
        let goes = (*size - old.available).clamp(0, unhealthy_left);
        *size -= goes;
        unhealthy_left -= goes;
    }
    let available = |size: &Size| size.available.min(size.wanted);
    let available = old.iter().map(available).sum::<i64>() + available(&new);
    let mut spare_available = (available - limits.fewest_available()).max(0);
    for size in &mut sizes {
        let goes = (*size).min(spare_available);
        *size -= goes;
        spare_available -= goes;
    }
    sizes
}

/// One ReplicaSet's part in a proportional scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its size before.
    pub(crate) size: i64,
    /// The most replicas there could be when its size was chosen (its annotation).
    pub(crate) most_before: i64,
}

/// The sizes after the Deployment was scaled in the middle of a rollout: each ReplicaSet
/// grows or shrinks in proportion, and what rounding leaves goes to the first.
///
/// The largest come first; among equals the newer ones when it grows, the older ones when it shrinks.
pub(crate) fn proportional_sizes(limits: Limits, parts: &[Part]) -> Vec<i64> {
    let mut sizes: Vec<i64> = parts.iter().map(|part| part.size).collect();
    let allowed = if limits.desired > 0 { limits.most() } else { 0 };
    let to_add = allowed - sizes.iter().sum::<i64>();
    let mut added = 0;
    for (size, part) in sizes.iter_mut().zip(parts) {
        let left = to_add - added;
        let fraction = fraction(limits, *part);
        let change = if to_add > 0 { fraction.min(left) } else { fraction.max(left) };
        if *size > 0 && left != 0 {
            *size += change;
            added += change;
        }
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn fraction(limits: Limits, part: Part) -> i64 {
    if limits.desired == 0 {
        return -part.size;
    }
    if part.most_before == 0 {
        return 0;
    }
    // Rounded half up, in whole numbers.
    let (numerator, denominator) = (part.size * limits.most(), part.most_before);
    (2 * numerator + denominator).div_euclid(2 * denominator) - part.size
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(desired: i64, surge: i64, unavailable: i64) -> Limits {
        Limits { desired, surge, unavailable }
    }

    #[test]
    fn limits_of_a_deployment() {
        let check = |strategy: Value, replicas, expect: (i64, i64)| {
            let of = Limits::of(&json!({"spec": {"replicas": replicas, "strategy": strategy}}));
            assert_eq!((of.surge, of.unavailable), expect, "{strategy} of {replicas}");
        };
        let rolling = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        check(rolling(json!(1), json!(0)), 3, (1, 0));
        check(rolling(json!(0), json!(1)), 3, (0, 1));
        check(rolling(json!("25%"), json!("25%")), 4, (1, 1));
        check(rolling(json!("25%"), json!("25%")), 3, (1, 0));
        check(rolling(json!("50%"), json!("50%")), 3, (2, 1));
        check(rolling(json!(0), json!(0)), 3, (0, 1));
        check(rolling(json!(0), json!("10%")), 3, (0, 1));
        check(rolling(json!(1), json!(5)), 3, (1, 3));
        check(rolling(json!("25%"), json!("25%")), 0, (0, 0));
        check(Value::Null, 4, (1, 1));
        check(json!({"type": "Recreate"}), 3, (0, 0));
    }

    #[test]
    fn the_new_replica_set_grows_into_what_is_free() {
        let check = |limits: Limits, rolling, new, total, expect| {
            assert_eq!(next_new_size(limits, rolling, new, total), expect, "{limits:?} {new} of {total}");
        };
        check(limits(3, 1, 0), true, 0, 0, 3); // 501: nothing old
        check(limits(3, 1, 0), true, 0, 3, 1); // 502
        check(limits(3, 1, 0), true, 1, 4, 1);
        check(limits(3, 1, 0), true, 1, 3, 2);
        check(limits(3, 0, 1), true, 0, 3, 0); // 503
        check(limits(4, 1, 1), true, 0, 4, 1); // 504
        check(limits(4, 1, 1), true, 1, 3, 3);
        check(limits(3, 1, 0), true, 0, 4, 0); // 519: the middle one is still there
        check(limits(3, 1, 0), true, 2, 7, 2);
        check(limits(2, 1, 0), true, 3, 3, 2); // 511: scaled by hand
        check(limits(2, 0, 0), false, 0, 0, 2); // 505
    }

    #[test]
    fn old_replica_sets_make_room() {
        let size = |(wanted, available)| Size { wanted, available };
        let check = |limits: Limits, new, old: &[(i64, i64)], expect: &[i64]| {
            let sizes: Vec<_> = old.iter().copied().map(size).collect();
            assert_eq!(next_old_sizes(limits, size(new), &sizes), expect, "{limits:?} {new:?} {old:?}");
        };
        check(limits(3, 1, 0), (1, 0), &[(3, 3)], &[3]); // 502: wait for the new one
        check(limits(3, 1, 0), (1, 1), &[(3, 3)], &[2]);
        check(limits(3, 1, 0), (3, 3), &[(1, 1)], &[0]);
        check(limits(3, 0, 1), (0, 0), &[(3, 3)], &[2]); // 503
        check(limits(4, 1, 1), (1, 0), &[(4, 4)], &[3]); // 504
        check(limits(3, 1, 0), (0, 0), &[(3, 3), (1, 0)], &[3, 0]); // 519: the broken one goes first
        check(limits(2, 1, 0), (2, 2), &[(1, 0)], &[0]); // 506: undo
        check(limits(4, 2, 1), (3, 0), &[(3, 3)], &[3]); // 520: stuck
        check(limits(3, 0, 1), (1, 1), &[(2, 3)], &[1]); // a pod is still to be deleted
        check(limits(3, 1, 1), (1, 1), &[(0, 0), (3, 2)], &[0, 1]);
        check(limits(0, 0, 0), (0, 0), &[(2, 2)], &[0]);
        check(limits(3, 1, 0), (0, 0), &[], &[]);
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_is_proportional() {
        let check = |limits: Limits, parts: &[(i64, i64)], expect: &[i64]| {
            let all: Vec<_> = parts.iter().map(|&(size, most_before)| Part { size, most_before }).collect();
            assert_eq!(proportional_sizes(limits, &all), expect, "{limits:?} {parts:?}");
        };
        check(limits(8, 2, 2), &[(3, 6), (3, 6)], &[5, 5]); // 520: 4 to 8
        check(limits(3, 2, 1), &[(5, 10), (5, 10)], &[2, 3]); // 520: 8 to 3, the older one first
        check(limits(0, 0, 0), &[(3, 5), (2, 5)], &[0, 0]);
        check(limits(10, 3, 2), &[(8, 13), (5, 13)], &[8, 5]);
        check(limits(20, 5, 5), &[(8, 13), (5, 13)], &[15, 10]);
        check(limits(4, 1, 1), &[(3, 0), (1, 0)], &[4, 1]); // no annotation: all to the first
        check(limits(4, 1, 1), &[], &[]);
    }
}
