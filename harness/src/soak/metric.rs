//! Key metrics: how each is read from two looks, and from where on it is a warning or critical.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exposition::{Exposition, Selector};

/// Stands for a value beyond a histogram's last bound.
pub const OFF_THE_SCALE: f64 = 1e9;
/// The quantile of response times and the like.
const SHARE: f64 = 0.95;

/// One metric of the runbook's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metric {
    /// Its name in the runbook.
    pub name: String,
    /// The unit of its values and bounds.
    pub unit: String,
    /// How it is read.
    pub read: Reading,
    /// From where on it is a warning.
    pub warning: f64,
    /// From where on it is critical.
    pub critical: f64,
}

/// How a metric is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reading {
    /// The p95 of the load's own requests, in milliseconds from their intended start.
    LoadP95,
    /// The percentage of the load's own requests without a whole good answer in time.
    LoadLost,
    /// The p95 of a histogram of seconds over all pods, in milliseconds: the upper bound of its
    /// bucket.
    HistogramP95(Selector),
    /// What one set of counters grew by, as a percentage of what another grew by, over all pods.
    Share {
        /// The part.
        of: Vec<Selector>,
        /// The whole.
        to: Vec<Selector>,
    },
    /// A number of the health answer, of the pod where it is highest.
    HealthMax(String),
    /// A number of the health answer, summed over all pods.
    HealthSum(String),
}

/// How a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Healthy,
    /// To be watched.
    Warning,
    /// To be acted on.
    Critical,
}

/// What one pod told at one look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodLook {
    /// Its metrics.
    pub metrics: Exposition,
    /// Its health answer.
    pub health: Value,
}

/// Everything seen at one look, by pod.
pub type Looks = BTreeMap<String, PodLook>;

/// The load's own requests since the look before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadWindow {
    /// How long each good one took.
    pub good: Vec<Duration>,
    /// How many were lost.
    pub lost: usize,
}

impl Metric {
    /// How a value is: worse is upwards where `critical` is above `warning`, else downwards.
    #[must_use]
    pub fn level(&self, value: f64) -> Level {
        let worse = |bound: f64| if self.critical >= self.warning { value > bound } else { value < bound };
        match (worse(self.critical), worse(self.warning)) {
            (true, _) => Level::Critical,
            (false, true) => Level::Warning,
            (false, false) => Level::Healthy,
        }
    }

    /// Of two values the worse one.
    #[must_use]
    pub fn worst(&self, one: f64, other: f64) -> f64 {
        if self.critical >= self.warning { one.max(other) } else { one.min(other) }
    }

    /// Its value between two looks; nothing where there is no data.
    #[must_use]
    pub fn value(&self, before: &Looks, now: &Looks, load: &LoadWindow) -> Option<f64> {
        let health = |pointer: &str| -> Vec<f64> {
            now.values().filter_map(|pod| pod.health.pointer(pointer)?.as_f64()).collect()
        };
        match &self.read {
            Reading::LoadP95 => load_p95(load),
            Reading::LoadLost => share(load.lost as f64, (load.good.len() + load.lost) as f64),
            Reading::HistogramP95(histogram) => histogram_p95(before, now, histogram),
            Reading::Share { of, to } => share(increase(before, now, of)?, increase(before, now, to)?),
            Reading::HealthMax(pointer) => health(pointer).into_iter().reduce(f64::max),
            Reading::HealthSum(pointer) => health(pointer).into_iter().reduce(|sum, one| sum + one),
        }
    }
}

fn load_p95(load: &LoadWindow) -> Option<f64> {
    let mut all: Vec<f64> = load.good.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    // A lost request has taken longer than any that was answered.
    all.extend(std::iter::repeat_n(OFF_THE_SCALE, load.lost));
    all.sort_by(f64::total_cmp);
    let rank = rank(all.len() as f64)?;
    all.get(rank - 1).copied()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is between 0 and it")]
fn rank(count: f64) -> Option<usize> {
    (count > 0.0).then(|| (count * SHARE - 1e-9).ceil().max(1.0) as usize)
}

/// In milliseconds.
fn histogram_p95(before: &Looks, now: &Looks, histogram: &Selector) -> Option<f64> {
    let mut bounds: Vec<(f64, f64)> = Vec::new();
    for (earlier, pod) in both(before, now) {
        for (bound, grown) in pod.metrics.buckets(&earlier.metrics, histogram) {
            match bounds.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += grown,
                None => bounds.push((bound, grown)),
            }
        }
    }
    bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = bounds.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let (bound, _) = bounds.into_iter().find(|(_, count)| *count >= all * SHARE - 1e-9)?;
    Some(if bound.is_finite() { bound * 1e3 } else { OFF_THE_SCALE })
}

fn increase(before: &Looks, now: &Looks, meant: &[Selector]) -> Option<f64> {
    let pods: Vec<_> = both(before, now).collect();
    if pods.is_empty() {
        return None;
    }
    // A counter with labels is absent until it counts: that is a zero, if its pod was asked.
    let grown = meant.iter().flat_map(|selector| {
        pods.iter().filter_map(move |(earlier, pod)| pod.metrics.increase(&earlier.metrics, selector))
    });
    // The sum of nothing is minus zero.
    Some(grown.sum::<f64>() + 0.0)
}

/// Pods that were seen at both looks: of others nobody knows what they did in between.
fn both<'a>(before: &'a Looks, now: &'a Looks) -> impl Iterator<Item = (&'a PodLook, &'a PodLook)> {
    now.iter().filter_map(|(pod, look)| Some((before.get(pod)?, look)))
}

fn share(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metric(read: Reading, warning: f64, critical: f64) -> Metric {
        Metric { name: "m".to_owned(), unit: "%".to_owned(), read, warning, critical }
    }

    fn selector(name: &str, labels: &[(&str, &str)]) -> Selector {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        Selector { name: name.to_owned(), labels }
    }

    fn looks(pods: &[(&str, &str, Value)]) -> Looks {
        let look = |(pod, text, health): &(&str, &str, Value)| {
            ((*pod).to_owned(), PodLook { metrics: Exposition::parse(text), health: health.clone() })
        };
        pods.iter().map(look).collect()
    }

    #[test]
    fn bounds_are_those_of_the_runbook() {
        let (up, down) = (metric(Reading::LoadP95, 500.0, 2_000.0), metric(Reading::LoadP95, 80.0, 60.0));
        for (metric, value, expect) in [
            (&up, 499.0, Level::Healthy),
            (&up, 500.0, Level::Healthy),
            (&up, 501.0, Level::Warning),
            (&up, 2_000.0, Level::Warning),
            (&up, OFF_THE_SCALE, Level::Critical),
            (&down, 81.0, Level::Healthy),
            (&down, 79.0, Level::Warning),
            (&down, 59.0, Level::Critical),
        ] {
            assert_eq!(metric.level(value), expect, "{value}");
        }
        assert_eq!((up.worst(1.0, 2.0), down.worst(1.0, 2.0)), (2.0, 1.0));
    }

    #[test]
    fn values_are_of_all_pods_between_two_looks() {
        let text = |fast: u32, all: u32, hits: u32, misses: u32| {
            format!(
                "p_bucket{{le=\"0.005\"}} {fast}\np_bucket{{le=\"0.02\"}} {all}\np_bucket{{le=\"+Inf\"}} {all}\n\
                 hits{{layer=\"l1\"}} {hits}\nmisses{{layer=\"l1\"}} {misses}\n"
            )
        };
        let before =
            looks(&[("a", &text(10, 10, 5, 95), json!({"m": 10})), ("b", &text(0, 0, 0, 0), json!({"m": 20}))]);
        let now = looks(&[
            ("a", &text(100, 100, 95, 105), json!({"m": 30})),
            ("b", &text(4, 10, 0, 0), json!({"m": 20})),
            ("new", &text(0, 900, 0, 900), json!({"m": 1})),
        ]);
        let check = |read: Reading, expect: Option<f64>| {
            let seen = metric(read.clone(), 1.0, 2.0).value(&before, &now, &LoadWindow::default());
            assert_eq!(seen, expect, "{read:?}");
        };
        // 94 of 100 within 5 ms are not 95 %.
        check(Reading::HistogramP95(selector("p", &[])), Some(20.0));
        check(Reading::HistogramP95(selector("absent", &[])), None);
        let (hits, misses) = (selector("hits", &[]), selector("misses", &[("layer", "l1")]));
        check(Reading::Share { of: vec![hits.clone()], to: vec![hits.clone(), misses.clone()] }, Some(90.0));
        check(Reading::Share { of: vec![selector("absent", &[])], to: vec![hits] }, Some(0.0));
        check(Reading::Share { of: vec![misses], to: vec![selector("absent", &[])] }, None);
        check(Reading::HealthMax("/m".to_owned()), Some(30.0));
        check(Reading::HealthSum("/m".to_owned()), Some(51.0));
        check(Reading::HealthMax("/absent".to_owned()), None);
        check(Reading::LoadP95, None);
    }

    #[test]
    fn the_load_is_judged_by_every_request_it_sent() {
        let of = |good: usize, lost: usize| LoadWindow { good: vec![Duration::from_millis(7); good], lost };
        let check = |read: Reading, load: LoadWindow, expect: Option<f64>| {
            assert_eq!(metric(read, 1.0, 2.0).value(&Looks::new(), &Looks::new(), &load), expect);
        };
        check(Reading::LoadP95, of(95, 5), Some(7.0));
        check(Reading::LoadP95, of(94, 6), Some(OFF_THE_SCALE));
        check(Reading::LoadLost, of(99, 1), Some(1.0));
        check(Reading::LoadLost, of(0, 0), None);
    }
}
