//! The reference: recoveries of an earlier run, which later ones are compared against.
//!
//! Figures are comparable only on the same ground: the same sort of cluster, the same context
//! where it is somebody else's, and the same profile. A rehearsed figure is never compared with
//! a measured one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{ClusterFacts, ClusterKind};
use crate::report::Interval;
use crate::scenario::plan::ScenarioId;

/// Earlier recoveries; the file in the repository is this, written out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reference {
    /// One an entry, by scenario and ground.
    pub entries: Vec<Entry>,
}

/// One earlier recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// Of which variant.
    pub scenario: ScenarioId,
    /// Where it was taken.
    pub ground: Ground,
    /// The recovery; of several rounds their median.
    pub recovery_ms: Interval,
    /// Of how many rounds.
    pub rounds: usize,
    /// In which run.
    pub run: String,
}

/// What must agree for two figures to be comparable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ground {
    /// The sort of cluster.
    pub cluster: ClusterKind,
    /// The context, where the cluster is somebody else's: no two of them are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The profile over the manifests.
    pub profile: String,
}

/// From where on a recovery has grown so much that it deserves a warning; both must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WarnAbove {
    /// So many times the reference.
    pub factor: f64,
    /// And so much longer: milliseconds that become more milliseconds are no news.
    #[serde(with = "crate::duration")]
    pub floor: Duration,
}

/// What a run is compared against, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Comparand {
    /// The file, or the run.
    pub source: String,
    /// Its recoveries.
    pub reference: Reference,
    /// When to warn.
    pub warn_above: WarnAbove,
}

impl Default for WarnAbove {
    /// A recovery that has tripled, and by two of the kubelet's periods in a rehearsal.
    fn default() -> Self {
        Self { factor: 3.0, floor: Duration::from_secs(2) }
    }
}

impl WarnAbove {
    /// How many times longer a recovery surely is, where that deserves a warning: its lower end
    /// now beside the upper end then.
    #[must_use]
    pub fn grown(&self, then: Interval, now: Interval) -> Option<f64> {
        let (then, now) = (then.upper.duration(), now.lower.duration());
        let is_much = now.as_secs_f64() > then.as_secs_f64() * self.factor;
        // A reference of nothing at all has no factor.
        let times = now.as_secs_f64() / then.as_secs_f64().max(f64::from(f32::EPSILON));
        (is_much && now.saturating_sub(then) > self.floor).then_some(times)
    }
}

impl Ground {
    /// The ground of a run.
    #[must_use]
    pub fn of(cluster: &ClusterFacts, profile: &str) -> Self {
        let context = (cluster.kind == ClusterKind::Context).then(|| cluster.name.clone());
        Self { cluster: cluster.kind, context, profile: profile.to_owned() }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = match (self.cluster, &self.context) {
            (ClusterKind::Embedded, _) => "embedded",
            (ClusterKind::Kind, _) => "kind",
            (ClusterKind::Context, Some(context)) => context,
            (ClusterKind::Context, None) => "a cluster without a name",
        };
        write!(formatter, "{cluster}, profile {}", self.profile)
    }
}

impl Reference {
    /// Reads a reference file.
    ///
    /// # Errors
    /// A sentence with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (place, entry) in read.entries.iter().enumerate() {
            if read.entries[..place].iter().any(|other| other.is_for(entry)) {
                return Err(format!("`{}` on {} stands there twice", entry.scenario, entry.ground));
            }
        }
        Ok(read)
    }

    /// As the file holds it, in the order of scenarios and grounds, so that a change shows as one.
    #[must_use]
    pub fn text(&self) -> String {
        let mut sorted = self.clone();
        sorted.entries.sort_by(|one, other| (&one.scenario, &one.ground).cmp(&(&other.scenario, &other.ground)));
        let mut text = serde_json::to_string_pretty(&sorted).expect("a reference has no map");
        text.push('\n');
        text
    }

    /// Takes in newer entries; those for another scenario or ground stay.
    pub fn renew(&mut self, newer: Self) {
        self.entries.retain(|old| !newer.entries.iter().any(|new| new.is_for(old)));
        self.entries.extend(newer.entries);
    }

    /// The entry for a scenario on a ground.
    #[must_use]
    pub fn find(&self, scenario: &ScenarioId, ground: &Ground) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.scenario == *scenario && entry.ground == *ground)
    }

    /// The other grounds on which a scenario was taken.
    #[must_use]
    pub fn elsewhere(&self, scenario: &ScenarioId) -> Vec<&Ground> {
        self.entries.iter().filter(|entry| entry.scenario == *scenario).map(|entry| &entry.ground).collect()
    }
}

impl Entry {
    fn is_for(&self, other: &Self) -> bool {
        self.scenario == other.scenario && self.ground == other.ground
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Millis;

    fn took(lower: u64, upper: u64) -> Interval {
        let of = |millis| Millis::floor(Duration::from_millis(millis));
        Interval { lower: of(lower), upper: of(upper) }
    }

    fn entry(scenario: &str, cluster: ClusterKind, upper: u64) -> Entry {
        let ground = Ground { cluster, context: None, profile: "rehearsal".to_owned() };
        let (scenario, recovery_ms) = (ScenarioId(scenario.to_owned()), took(upper - 10, upper));
        Entry { scenario, ground, recovery_ms, rounds: 1, run: "a".to_owned() }
    }

    #[test]
    fn only_what_surely_grew_and_by_enough_is_told() {
        let check = |then: Interval, now: Interval, expect: Option<f64>| {
            let found = WarnAbove::default().grown(then, now).map(|times| (times * 10.0).round() / 10.0);
            assert_eq!(found, expect, "{then:?} {now:?}");
        };
        check(took(900, 1_000), took(50_000, 50_100), Some(50.0));
        check(took(900, 1_000), took(3_001, 3_100), Some(3.0));
        check(took(900, 1_000), took(3_000, 9_000), None);
        check(took(1, 2), took(100, 110), None);
        check(took(1, 2), took(2_003, 2_100), Some(1001.5));
        check(took(20_000, 20_000), took(50_000, 50_000), None);
        check(took(900, 1_000), took(10, 20), None);
        assert!(WarnAbove::default().grown(took(0, 0), took(3_000, 3_000)).is_some(), "from nothing");
    }

    #[test]
    fn what_is_renewed_is_only_the_same_scenario_on_the_same_ground() {
        let (embedded, kind) = (ClusterKind::Embedded, ClusterKind::Kind);
        let mut reference = Reference { entries: vec![entry("a", embedded, 100), entry("a", kind, 100)] };
        reference.renew(Reference { entries: vec![entry("a", embedded, 300), entry("b", embedded, 50)] });
        let seen: Vec<_> = reference.entries.iter().map(|one| (one.scenario.0.as_str(), one.ground.cluster)).collect();
        assert_eq!(seen, [("a", kind), ("a", embedded), ("b", embedded)]);
        assert_eq!(reference.entries[1].recovery_ms, took(290, 300));
        let again = Reference::parse(&reference.text()).unwrap();
        assert_eq!(again.text(), reference.text());
        assert_eq!(again.entries[0].ground.cluster, embedded, "sorted by ground");
    }

    #[test]
    fn a_wrong_file_is_said() {
        let twice = Reference { entries: vec![entry("a", ClusterKind::Kind, 20), entry("a", ClusterKind::Kind, 30)] };
        for (text, expect) in [
            ("{", "line 1 column 1"),
            (r#"{"entries": [], "colour": 1}"#, "unknown field `colour`"),
            (twice.text().as_str(), "`a` on kind, profile rehearsal stands there twice"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
