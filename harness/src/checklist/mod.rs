//! The pre-deployment checklist of the runbook, each item with its finding.
//!
//! An item is passed only by evidence, or by a statement of a person that the report keeps.
//! What nobody can tell is not passed. Pure: evidence is read elsewhere and judged here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::duration;

pub mod evidence;

use evidence::{BackupEvidence, Read, SmokeEvidence, Source, TestEvidence};

/// Evidence may be so much younger than now: clocks of two machines differ.
const FUTURE_MAX: Duration = Duration::from_secs(60);

/// An item of the runbook's "Pre-Deployment Checklist", in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// All tests passing in CI/CD.
    TestsPassed,
    /// Smoke test in staging environment.
    SmokeInStaging,
    /// Backup completed (automatic daily backup verified).
    BackupVerified,
    /// Rollback plan confirmed.
    RollbackPlan,
    /// Team notified of deployment window.
    WindowAnnounced,
}

impl Item {
    /// Every item.
    pub const ALL: [Self; 5] =
        [Self::TestsPassed, Self::SmokeInStaging, Self::BackupVerified, Self::RollbackPlan, Self::WindowAnnounced];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TestsPassed => "tests-passed",
            Self::SmokeInStaging => "smoke-in-staging",
            Self::BackupVerified => "backup-verified",
            Self::RollbackPlan => "rollback-plan",
            Self::WindowAnnounced => "window-announced",
        }
    }

    /// The runbook's own words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::TestsPassed => "All tests passing in CI/CD",
            Self::SmokeInStaging => "Smoke test in staging environment",
            Self::BackupVerified => "Backup completed (automatic daily backup verified)",
            Self::RollbackPlan => "Rollback plan confirmed",
            Self::WindowAnnounced => "Team notified of deployment window",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|item| item.name() == text)
            .ok_or_else(|| format!("no item `{text}`: there are {}", known()))
    }
}

/// A person's decision that an item need not be passed this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Which item.
    pub item: Item,
    /// Why.
    pub reason: String,
}

impl FromStr for Waiver {
    type Err = String;

    /// `ITEM=REASON`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (item, reason) = text.split_once('=').ok_or("write ITEM=REASON, such as `backup-verified=no data yet`")?;
        let reason = reason.trim();
        if reason.is_empty() {
            return Err("a waiver needs a reason, which the report shows".to_owned());
        }
        Ok(Self { item: item.parse()?, reason: reason.to_owned() })
    }
}

/// What came of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// There is evidence.
    Passed {
        /// Which.
        evidence: String,
    },
    /// A person says so; nothing else can.
    Stated {
        /// Their words.
        words: String,
    },
    /// There is evidence against it, or its evidence does not count.
    NotPassed {
        /// Why.
        why: String,
    },
    /// There is no evidence either way.
    Unknown {
        /// What is missing.
        why: String,
    },
    /// A person decided that it need not be passed.
    Waived {
        /// Their reason.
        reason: String,
        /// What was found all the same.
        found: String,
    },
}

impl Finding {
    /// Whether a deployment may go on.
    #[must_use]
    pub const fn allows(&self) -> bool {
        match self {
            Self::Passed { .. } | Self::Stated { .. } | Self::Waived { .. } => true,
            Self::NotPassed { .. } | Self::Unknown { .. } => false,
        }
    }

    /// `passed`, `stated`, `not passed`, `unknown`, `waived`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "passed",
            Self::Stated { .. } => "stated",
            Self::NotPassed { .. } => "not passed",
            Self::Unknown { .. } => "unknown",
            Self::Waived { .. } => "waived",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Passed { evidence } => write!(formatter, "{word}: {evidence}"),
            Self::Stated { words } => write!(formatter, "{word}: {words}"),
            Self::NotPassed { why } | Self::Unknown { why } => write!(formatter, "{word}: {why}"),
            Self::Waived { reason, found } => write!(formatter, "{word}: {reason} (it was {found})"),
        }
    }
}

/// One item with its finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Checked {
    /// Which item.
    pub item: Item,
    /// What came of it.
    pub finding: Finding,
}

impl fmt::Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.item, self.finding)
    }
}

/// All that the items are judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The wall clock, which the evidence of other processes was dated by.
    pub now: Timestamp,
    /// The source that is to be deployed.
    pub source: Result<Source, String>,
    /// Its version.
    pub version: String,
    /// The newest test run.
    pub tests: Read<TestEvidence>,
    /// The newest smoke test on the staging cluster.
    pub smoke: Read<SmokeEvidence>,
    /// The cluster that stands for staging, by its name in `gate.toml`.
    pub staging: String,
    /// The newest verified backup.
    pub backup: Read<BackupEvidence>,
    /// The oldest backup that counts.
    pub backup_age_max: Duration,
    /// What a roll-back would return to, or what it lacks.
    pub way_back: Result<String, String>,
    /// A person's words that the window was announced.
    pub announced: Option<String>,
    /// What a person waived.
    pub waivers: Vec<Waiver>,
}

/// Judges every item, in the runbook's order.
#[must_use]
pub fn judge(known: &Known) -> Vec<Checked> {
    let finding = |item| match item {
        Item::TestsPassed => tests(known),
        Item::SmokeInStaging => smoke(known),
        Item::BackupVerified => backup(known),
        Item::RollbackPlan => match &known.way_back {
            Ok(evidence) => Finding::Passed { evidence: evidence.clone() },
            Err(why) => not_passed(why.clone()),
        },
        Item::WindowAnnounced => match &known.announced {
            Some(words) if !words.trim().is_empty() => Finding::Stated { words: words.trim().to_owned() },
            Some(_) | None => unknown("nobody says so; `--announced \"WHEN AND TO WHOM\"` does".to_owned()),
        },
    };
    Item::ALL.into_iter().map(|item| Checked { item, finding: waived(item, finding(item), &known.waivers) }).collect()
}

/// What was passed anyway needs no waiver.
fn waived(item: Item, finding: Finding, waivers: &[Waiver]) -> Finding {
    match waivers.iter().find(|waiver| waiver.item == item) {
        Some(waiver) if !finding.allows() => {
            Finding::Waived { reason: waiver.reason.clone(), found: finding.to_string() }
        }
        Some(_) | None => finding,
    }
}

fn tests(known: &Known) -> Finding {
    let tests = match &known.tests {
        Read::There(tests) => tests,
        Read::Absent(path) => return unknown(format!("no run of `cargo xtask test` left `{path}`")),
        Read::Unreadable(why) => return unknown(why.clone()),
    };
    if let Some(finding) = of_this_source(known, &tests.source, &tests.finished) {
        return finding;
    }
    match tests {
        TestEvidence { failed: 0, passed: 1.., .. } => Finding::Passed {
            evidence: format!(
                "{} tests, {} skipped, of {} at {}",
                tests.passed,
                tests.skipped,
                tests.source.short(),
                tests.finished
            ),
        },
        TestEvidence { failed, passed, .. } => not_passed(format!("{failed} tests failed, {passed} passed")),
    }
}

fn smoke(known: &Known) -> Finding {
    let staging = &known.staging;
    let smoke = match &known.smoke {
        Read::There(smoke) => smoke,
        Read::Absent(path) => return unknown(format!("no `cargo xtask smoke` on {staging} left `{path}`")),
        Read::Unreadable(why) => return unknown(why.clone()),
    };
    if let Some(finding) = of_this_source(known, &smoke.source, &smoke.finished) {
        return finding;
    }
    if smoke.cluster != *staging {
        return not_passed(format!("the smoke test was on {}, not on {staging}", smoke.cluster));
    }
    if smoke.version != known.version {
        return not_passed(format!("the smoke test was of {}, not of {}", smoke.version, known.version));
    }
    if smoke.failed > 0 || smoke.passed == 0 || smoke.quick {
        let quick = if smoke.quick { ", only the quick ones were asked" } else { "" };
        return not_passed(format!("{} checks failed, {} passed{quick}", smoke.failed, smoke.passed));
    }
    let evidence = format!("{} checks of {} on {staging} at {}", smoke.passed, smoke.version, smoke.finished);
    Finding::Passed { evidence }
}

fn backup(known: &Known) -> Finding {
    let backup = match &known.backup {
        Read::There(backup) => backup,
        Read::Absent(path) => return unknown(format!("nothing has verified a backup: there is no `{path}`")),
        Read::Unreadable(why) => return unknown(why.clone()),
    };
    match age(known.now, backup.verified) {
        None => {
            not_passed(format!("`{}` was verified at {}, which is in the future", backup.artefact, backup.verified))
        }
        Some(age) if age > known.backup_age_max => not_passed(format!(
            "`{}` was verified at {}, more than {} ago",
            backup.artefact,
            backup.verified,
            duration::text(known.backup_age_max)
        )),
        Some(_) => Finding::Passed { evidence: format!("`{}`, verified at {}", backup.artefact, backup.verified) },
    }
}

/// What speaks against evidence that belongs to a state of the source.
fn of_this_source(known: &Known, evidence: &Source, finished: &Timestamp) -> Option<Finding> {
    let here = match &known.source {
        Ok(here) => here,
        Err(why) => return Some(unknown(format!("nobody can tell which source this is: {why}"))),
    };
    if evidence.commit != here.commit {
        return Some(not_passed(format!("it is of {}, and this is {}", evidence.short(), here.short())));
    }
    if !evidence.clean {
        return Some(not_passed(format!("it is of {} with changes that were not committed", evidence.short())));
    }
    if !here.clean {
        return Some(not_passed(format!("this is {} with changes that are not committed", here.short())));
    }
    age(known.now, *finished).is_none().then(|| not_passed(format!("it is dated {finished}, which is in the future")))
}

/// Nothing for evidence from the future.
fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let age = now.duration_since(then);
    let future = SignedDuration::try_from(FUTURE_MAX).unwrap_or(SignedDuration::ZERO);
    (age >= -future).then(|| Duration::try_from(age).unwrap_or(Duration::ZERO))
}

fn not_passed(why: String) -> Finding {
    Finding::NotPassed { why }
}

fn unknown(why: String) -> Finding {
    Finding::Unknown { why }
}
