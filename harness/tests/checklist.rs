//! The pre-deployment checklist: what passes an item, and everything that does not.

use std::time::Duration;

use harness::checklist::evidence::{BackupEvidence, Read, SmokeEvidence, Source, TestEvidence};
use harness::checklist::{Item, Known, Waiver, judge};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().expect("it is a time")
}

fn source(commit: &str, clean: bool) -> Source {
    Source { commit: commit.repeat(40), clean }
}

/// Everything is as it should be.
fn known() -> Known {
    let finished = at("2026-11-29T10:00:00Z");
    Known {
        now: at("2026-11-29T12:00:00Z"),
        source: Ok(source("a", true)),
        version: "v3.3.1".to_owned(),
        tests: Read::There(TestEvidence { source: source("a", true), passed: 900, failed: 0, skipped: 3, finished }),
        smoke: Read::There(SmokeEvidence {
            source: source("a", true),
            cluster: "staging".to_owned(),
            version: "v3.3.1".to_owned(),
            quick: false,
            passed: 9,
            failed: 0,
            finished,
        }),
        staging: "staging".to_owned(),
        backup: Read::There(BackupEvidence {
            artefact: "redis-1.rdb.gz".to_owned(),
            verified: at("2026-11-28T12:00:00Z"),
        }),
        backup_age_max: Duration::from_secs(24 * 3600),
        way_back: Ok("deployment/backend returns to revision 1".to_owned()),
        announced: Some("to #releases, for 14:00".to_owned()),
        waivers: Vec::new(),
    }
}

/// What an item comes to after a change.
#[track_caller]
fn check(item: Item, change: impl FnOnce(&mut Known), expect: &str) {
    let mut known = known();
    change(&mut known);
    let checked = judge(&known);
    let found = &checked.iter().find(|one| one.item == item).expect("every item is judged").finding;
    assert!(found.to_string().starts_with(expect), "{found}");
    assert_eq!(found.allows(), ["passed", "stated", "waived"].contains(&found.word()), "{found}");
    let others = checked.iter().filter(|one| one.item != item && !one.finding.allows()).count();
    assert_eq!(others, 0, "one change touches one item: {checked:?}");
}

fn tests(known: &mut Known) -> &mut TestEvidence {
    let Read::There(tests) = &mut known.tests else { panic!("it is there") };
    tests
}

fn smoke(known: &mut Known) -> &mut SmokeEvidence {
    let Read::There(smoke) = &mut known.smoke else { panic!("it is there") };
    smoke
}

fn verified(known: &mut Known, when: &str) {
    let Read::There(backup) = &mut known.backup else { panic!("it is there") };
    backup.verified = at(when);
}

#[test]
fn tests_must_have_passed_on_this_very_source() {
    let item = Item::TestsPassed;
    check(item, |_| {}, "passed: 900 tests, 3 skipped, of aaaaaaaaaaaa");
    check(item, |known| tests(known).failed = 1, "not passed: 1 tests failed");
    check(item, |known| tests(known).passed = 0, "not passed: 0 tests failed, 0 passed");
    check(item, |known| tests(known).source = source("b", true), "not passed: it is of bbbbbbbbbbbb, and this is aaaa");
    check(item, |known| tests(known).source.clean = false, "not passed: it is of aaaaaaaaaaaa with changes");
    check(item, |known| tests(known).finished = at("2026-11-30T00:00:00Z"), "not passed: it is dated 2026-11-30");
    check(item, |known| known.tests = Read::Absent("tests.json".to_owned()), "unknown: no run of `cargo xtask test`");
    check(item, |known| known.tests = Read::Unreadable("it is torn".to_owned()), "unknown: it is torn");
}

#[test]
fn a_source_that_changed_since_makes_all_evidence_of_it_stale() {
    for (here, expect) in [
        (Ok(source("a", false)), "not passed: this is aaaaaaaaaaaa with changes"),
        (Ok(source("c", true)), "not passed: it is of aaaaaaaaaaaa, and this is cccccccccccc"),
        (Err("no git".to_owned()), "unknown: nobody can tell which source this is: no git"),
    ] {
        let checked = judge(&Known { source: here, ..known() });
        for one in &checked[..2] {
            assert!(one.finding.to_string().starts_with(expect), "{one}");
        }
    }
    let (before, after) = (source("a", true), source("a", false));
    assert!(!before.clone().throughout(&after).clean, "it changed on the way");
    assert!(before.clone().throughout(&before).clean);
    assert!(!before.clone().throughout(&source("b", true)).clean);
}

#[test]
fn the_smoke_test_is_of_this_version_and_on_staging() {
    let item = Item::SmokeInStaging;
    check(item, |_| {}, "passed: 9 checks of v3.3.1 on staging");
    check(item, |known| smoke(known).cluster = "embedded".to_owned(), "not passed: the smoke test was on embedded");
    check(item, |known| smoke(known).version = "v3.3.0".to_owned(), "not passed: the smoke test was of v3.3.0");
    check(item, |known| smoke(known).failed = 1, "not passed: 1 checks failed, 9 passed");
    check(item, |known| smoke(known).passed = 0, "not passed: 0 checks failed, 0 passed");
    check(item, |known| smoke(known).quick = true, "not passed: 0 checks failed, 9 passed, only the quick ones");
    check(item, |known| known.smoke = Read::Absent("s".to_owned()), "unknown: no `cargo xtask smoke` on staging");
}

#[test]
fn a_backup_counts_for_a_day() {
    let item = Item::BackupVerified;
    check(item, |_| {}, "passed: `redis-1.rdb.gz`, verified at 2026-11-28T12:00:00Z");
    check(item, |known| verified(known, "2026-11-28T11:59:59Z"), "not passed: `redis-1.rdb.gz` was verified at");
    check(item, |known| verified(known, "2026-11-29T12:00:59Z"), "passed");
    check(item, |known| verified(known, "2026-11-29T12:01:01Z"), "not passed: `redis-1.rdb.gz` was verified at");
    check(
        item,
        |known| known.backup = Read::Absent("backup.json".to_owned()),
        "unknown: nothing has verified a backup",
    );
}

#[test]
fn a_way_back_and_a_persons_word() {
    check(Item::RollbackPlan, |_| {}, "passed: deployment/backend");
    check(Item::RollbackPlan, |known| known.way_back = Err("none".to_owned()), "not passed: none");
    check(Item::WindowAnnounced, |_| {}, "stated: to #releases, for 14:00");
    check(Item::WindowAnnounced, |known| known.announced = None, "unknown: nobody says so");
    check(Item::WindowAnnounced, |known| known.announced = Some("  ".to_owned()), "unknown: nobody says so");
}

#[test]
fn a_waiver_lets_one_item_go_and_stays_visible() {
    let waive = |known: &mut Known| known.waivers = vec!["backup-verified= no data yet ".parse::<Waiver>().unwrap()];
    check(Item::BackupVerified, waive, "passed: ");
    let both = |known: &mut Known| {
        waive(known);
        known.backup = Read::Absent("backup.json".to_owned());
    };
    check(Item::BackupVerified, both, "waived: no data yet (it was unknown: nothing has verified a backup");
    for (text, expect) in [
        ("backup-verified", "write ITEM=REASON"),
        ("backup-verified= ", "a waiver needs a reason"),
        ("backups=x", "no item `backups`: there are tests-passed, smoke-in-staging, backup-verified"),
    ] {
        assert!(text.parse::<Waiver>().unwrap_err().contains(expect), "{text}");
    }
}
