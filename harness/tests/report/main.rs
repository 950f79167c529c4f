//! Reports of runs written by hand: what they say, in every form, and what they exit with.

#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

mod exit;
mod files;
mod hostile;
mod html;
mod jenkins;
mod lanes;
mod repeats;
mod rollouts;
mod runs;
mod soaked;
mod timeline;

use harness::event::{Ended, Event, Seen, StageResult, What};
use harness::report::{self, Fold, Millis, Report};
use std::time::Duration;

use runs::{Run, bad, plan};

/// One run with every kind of verdict.
fn mixed() -> Vec<Event> {
    let mut run = Run::deployed();
    run.pass(1_000).fail(10_000).unproven(30_000).absorbed(50_000).hung(70_000);
    run.over(80_000, true)
}

fn green() -> Vec<Event> {
    let mut run = Run::deployed();
    run.pass(1_000).hung(10_000);
    run.over(20_000, true)
}

fn rolled_back() -> Vec<Event> {
    let mut run = Run::deployed();
    let reason = "2 restarts of new pod backend-7d4 (CrashLoopBackOff)".to_owned();
    run.stage("deploy", 1_000, 9_500, StageResult::RolledBack { reason }, &["revision 3 is back, 3 of 3 pods ready"]);
    run.over(10_000, true)
}

fn interrupted() -> Vec<Event> {
    let mut run = Run::deployed();
    run.pass(1_000).broken(10_000, &plan("redis-lost/gone")).proven(11_000).both(11_000, 12_000, &bad());
    run.ended(12_000, Ended::Cancelled);
    run.over(12_500, true)
}

/// The process was killed while Redis was broken.
fn torn() -> Vec<Event> {
    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 2_500, &bad());
    run.events
}

fn all() -> Vec<(&'static str, Vec<Event>)> {
    vec![
        ("mixed", mixed()),
        ("green", green()),
        ("rolled-back", rolled_back()),
        ("interrupted", interrupted()),
        ("torn", torn()),
        ("empty", Run::started().over(5, true)),
        ("nothing", Vec::new()),
    ]
    .into_iter()
    .chain(rollouts::all())
    .collect()
}

#[test]
fn every_form_of_every_run() {
    for (name, events) in all() {
        let report = Report::of(&events);
        // Without the escape character itself, colours show and stay readable.
        let terminal = report::terminal(&report).replace('\u{1b}', "");
        insta::assert_snapshot!(format!("{name}-terminal"), terminal);
        insta::assert_snapshot!(format!("{name}-markdown"), report::markdown(&report));
        insta::assert_snapshot!(format!("{name}-junit"), report::junit(&report));
        insta::assert_snapshot!(format!("{name}-annotations"), report::annotations(&report));
        insta::assert_snapshot!(format!("{name}-json"), report::json(&report));
    }
}

#[test]
fn json_holds_everything() {
    for (name, events) in all() {
        let report = Report::of(&events);
        let again: Report = serde_json::from_str(&report::json(&report)).unwrap();
        assert_eq!(again, report, "{name}");
        assert_eq!(again.exit(), report.exit(), "{name}");
    }
}

#[test]
fn a_replayed_run_has_the_same_report() {
    for (name, events) in all() {
        let journal: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let replayed: Vec<Event> = journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(Report::of(&replayed), Report::of(&events), "{name}");
    }
}

#[test]
fn what_is_healed_after_the_end_is_healed() {
    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 3_000, &bad());
    run.put(3_000, What::HealFailed { error: "the API is away".to_owned() });
    run.put(3_010, What::ScenarioEnded(Ended::Completed));
    let mut fold = Fold::default();
    run.events.iter().for_each(|event| fold.apply(event));
    let of_scenario = |fold: &Fold| fold.report().scenarios.remove(0);
    let before = of_scenario(&fold);
    assert_eq!((before.left_broken, before.heal_failed.as_deref()), (true, Some("the API is away")));

    run.events.clear();
    run.put(9_000, What::Healed { facts: vec!["continued redis-0".to_owned()] });
    fold.apply(&run.events[0]);
    let after = of_scenario(&fold);
    assert_eq!((after.left_broken, after.heal_failed.as_deref()), (false, None));
    assert_eq!(after.healed.as_deref(), Some(&["continued redis-0".to_owned()][..]));
    assert_eq!(after.verdict, before.verdict, "healing changes no verdict");
}

#[test]
fn a_repeated_scenario_is_reported_each_time() {
    let mut run = Run::deployed();
    run.pass(1_000).pass(10_000);
    let report = Report::of(&run.over(20_000, true));
    let sent: Vec<_> = report.scenarios.iter().map(|one| one.fault_sent_ms.unwrap().duration().as_secs()).collect();
    assert_eq!(sent, [2, 11]);
}

#[test]
fn what_is_healed_later_is_healed() {
    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 3_000, &Seen::Good);
    run.put(3_000, What::HealFailed { error: "the API is away".to_owned() });
    run.ended(4_000, Ended::Completed);
    let report = Report::of(&run.over(5_000, true));
    assert_eq!(report.scenarios[0].heal_failed, None);
    assert!(!report.scenarios[0].left_broken);
}

#[test]
fn a_given_seed_is_not_given_twice() {
    for (command, expect) in [
        ("cargo xtask gate", "cargo xtask gate --seed 42"),
        ("cargo xtask gate --seed 42", "cargo xtask gate --seed 42"),
        ("cargo xtask gate --seed=42 -v", "cargo xtask gate --seed=42 -v"),
        ("cargo xtask run x--seed", "cargo xtask run x--seed --seed 42"),
        ("cargo xtask deploy --previous", "cargo xtask deploy --previous"),
        ("cargo xtask rollback", "cargo xtask rollback"),
    ] {
        let mut events = Run::started().events;
        let What::RunStarted(facts) = &mut events[0].what else { panic!("the first event starts the run") };
        facts.command = command.to_owned();
        assert_eq!(Report::of(&events).reproduce.as_deref(), Some(expect));
    }
}

#[test]
fn times_are_for_people_and_rounded_outwards() {
    for (micros, down, up) in [
        (0, "0", "0 ms"),
        (1_234, "1.234", "1.24 ms"),
        (999_001, "999.001", "1000 ms"),
        (1_000_000, "1000", "1 s"),
        (1_234_567, "1234.567", "1.24 s"),
        (60_000_000, "60000", "60 s"),
        (125_310_000, "125310", "125.4 s"),
    ] {
        let millis = Millis::ceil(Duration::from_micros(micros));
        assert_eq!(serde_json::to_string(&millis).unwrap(), down, "{micros}");
        assert_eq!(millis.to_string(), up, "{micros}");
    }
    assert!(serde_json::from_str::<Millis>("-1").is_err());
    assert_eq!(Millis::ceil(Duration::from_nanos(1)), Millis::floor(Duration::from_micros(1)));
    assert_eq!(Millis::floor(Duration::from_nanos(999)), Millis::default());
}

proptest::proptest! {
    #[test]
    fn a_time_survives_json(micros in 0_u64..) {
        let millis = Millis::floor(Duration::from_micros(micros));
        let again: Millis = serde_json::from_str(&serde_json::to_string(&millis).unwrap()).unwrap();
        proptest::prop_assert_eq!(again, millis);
    }
}
