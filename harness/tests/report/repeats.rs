//! Runs whose variants were rehearsed in rounds, and runs beside a reference.

use std::time::Duration;

use harness::event::{Ended, Event, Require, Rules, What};
use harness::reference::{Comparand, WarnAbove};
use harness::report::{self, Judged, Report};
use harness::scenario::plan::{Plan, Symptom};
use harness::scenario::round::{RoundRate, rounds};
use harness::verdict::Exit;

use crate::runs::{Run, bad, plan};

#[test]
fn a_plan_that_runs_once_has_no_rounds() {
    let plans = vec![plan("a/b"), plan("a/c")];
    for total in [0, 1] {
        assert_eq!(rounds(plans.clone(), total), plans);
    }
}

#[test]
fn rounds_are_outermost_alternate_and_have_ids_of_their_own() {
    use RoundRate::{Full, Quarter};
    let plans = rounds(vec![plan("a/b"), plan("a/c")], 3);
    let seen: Vec<_> = plans
        .iter()
        .map(|plan| {
            let round = plan.round.as_ref().unwrap();
            (plan.id.0.as_str(), round.number, round.total, round.rate)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("a/b#1", 1, 3, Full),
            ("a/c#1", 1, 3, Full),
            ("a/b#2", 2, 3, Quarter),
            ("a/c#2", 2, 3, Quarter),
            ("a/b#3", 3, 3, Full),
            ("a/c#3", 3, 3, Full),
        ]
    );
}

#[test]
fn a_quarter_of_the_rate_slows_all_checks_and_keeps_what_good_means() {
    let full = plan("a/b");
    let both = rounds(vec![full.clone()], 2);
    assert_eq!(Plan { id: full.id.clone(), round: None, ..both[0].clone() }, full, "a full round is the plan");
    let quarter = &both[1];
    for (slow, fast) in quarter.checks.iter().zip(&full.checks) {
        assert_eq!(slow.interval, fast.interval * 4);
    }
    let slowest = quarter.checks.iter().map(|check| check.interval).max().unwrap();
    assert_eq!(quarter.hold, full.hold.max(slowest * 4), "as many looks as any plan must have");
    assert!((quarter.samples_per_pod_second_max - full.samples_per_pod_second_max / 4.0).abs() < 1e-9);
    assert_eq!((&quarter.budget, quarter.slow), (&full.budget, full.slow), "what is promised stays");
    assert_eq!(quarter.symptom, Symptom::Optional, "a short outage may fall between two looks");
}

/// Rounds of one variant, each bad from its fault on for so many milliseconds.
fn repeated(took: &[u64]) -> Run {
    let mut run = Run::deployed();
    let total = u32::try_from(took.len()).expect("they are few");
    for (number, (plan, took)) in rounds(vec![plan("redis-lost/killed")], total).iter().zip(took).enumerate() {
        run.bad_for(20_000 * (number as u64 + 1), plan, *took);
    }
    run
}

fn of(took: &[u64]) -> Report {
    Report::of(&repeated(took).over(3_000_000, true))
}

#[test]
fn what_rounds_come_to() {
    #[track_caller]
    fn check(took: &[u64], judged: Judged, exit: Exit, why: &str) {
        let report = of(took);
        assert_eq!(report.repeats.len(), 1, "{took:?}");
        let verdict = &report.repeats[0].verdict;
        assert_eq!((verdict.verdict, report.exit()), (judged, exit), "{took:?}: {verdict:?}");
        assert!(verdict.why.as_deref().unwrap_or_default().contains(why), "{took:?}: {verdict:?}");
    }
    check(&[1_000, 1_100, 900], Judged::Pass, Exit::Pass, "");
    // Passed on retry is failed, and failed once is failed.
    check(&[12_500, 1_000, 1_000], Judged::Fail, Exit::GateFailed, "round 1 of 3: ");
    check(&[1_000, 1_000, 12_500], Judged::Fail, Exit::GateFailed, "round 3 of 3: ");
    // Full rounds are the odd ones: the slower the more often we look.
    let slower = [4_000, 1_000, 4_100, 1_100, 3_900, 1_000, 4_000, 900];
    check(&slower, Judged::Inconclusive, Exit::Inconclusive, "observer effect: looked at four times as often");
    check(&slower[..6], Judged::Pass, Exit::Pass, "");
    // A difference that cannot move a verdict is none.
    check(&[1_300, 1_000, 1_300, 1_000, 1_300, 1_000, 1_300, 1_000], Judged::Pass, Exit::Pass, "");
    // The order in which chance alone mixes them.
    check(&[4_000, 4_000, 1_000, 1_000, 4_000, 4_000, 1_000, 1_000], Judged::Pass, Exit::Pass, "");
}

#[test]
fn all_raw_figures_are_kept_and_bounds_say_what_they_rest_on() {
    let report = of(&[1_000, 1_500, 2_000]);
    let repeat = &report.repeats[0];
    let lowers: Vec<u128> =
        repeat.rounds.iter().map(|round| round.recovery_ms.unwrap().lower.duration().as_millis()).collect();
    assert_eq!(lowers.len(), 3);
    assert!(lowers.is_sorted(), "{lowers:?}");
    let p95 = repeat.p95.as_ref().unwrap();
    assert_eq!((p95.at_most_ms, p95.bounded_from), (None, 59), "three rounds do not bound a p95");
    assert_eq!(p95.worst_ms, repeat.rounds[2].recovery_ms.unwrap().upper);
    let text = report::terminal(&report);
    assert!(text.contains("not bounded from above: 3 rounds are too few, 59 would do"), "{text}");
    assert!(text.contains("too few rounds to tell a difference, 8 would do"), "{text}");

    let many = of(&[1_000; 60]);
    let p95 = many.repeats[0].p95.as_ref().unwrap();
    assert_eq!(p95.at_most_ms, Some(p95.worst_ms));
}

#[test]
fn rounds_that_were_not_run_show_nothing() {
    let mut run = Run::deployed();
    let plans = rounds(vec![plan("redis-lost/killed")], 3);
    run.bad_for(20_000, &plans[0], 1_000).bad_for(40_000, &plans[1], 1_000);
    let report = Report::of(&run.over(60_000, true));
    assert_eq!(report.exit(), Exit::Inconclusive);
    assert_eq!(report.repeats[0].verdict.why.as_deref(), Some("only 2 of 3 rounds were run"));
}

#[test]
fn rounds_read_well() {
    let mut run = repeated(&[1_000, 1_200, 12_500]);
    run.pass(200_000);
    let report = Report::of(&run.over(300_000, true));
    insta::assert_snapshot!("rounds-terminal", report::terminal(&report).replace('\u{1b}', ""));
    insta::assert_snapshot!("rounds-markdown", report::markdown(&report));
    insta::assert_snapshot!("rounds-junit", report::junit(&report));
    insta::assert_snapshot!("rounds-annotations", report::annotations(&report));
    let again: Report = serde_json::from_str(&report::json(&report)).unwrap();
    assert_eq!(again, report);
    assert_eq!(again.exit(), report.exit());
}

/// One scenario that takes so long, compared with what it once took.
fn beside(then: u64, now: u64, rules: Rules, change: impl FnOnce(&mut Comparand)) -> Report {
    let mut earlier = Run::deployed();
    earlier.bad_for(2_000, &plan("redis-lost/killed"), then);
    let reference = Report::of(&earlier.over(30_000, true)).as_reference();
    assert_eq!(reference.entries.len(), 1);
    let mut comparand =
        Comparand { source: "scenarios/reference.json".to_owned(), reference, warn_above: WarnAbove::default() };
    change(&mut comparand);
    let mut run = Run::deployed();
    run.put(1, What::RulesSet(rules)).put(2, What::ReferenceGiven(Box::new(comparand)));
    run.bad_for(2_000, &Plan { budget: plan("a").budget, ..plan("redis-lost/killed") }, now);
    Report::of(&run.over(90_000, true))
}

#[test]
fn a_recovery_that_grew_but_fits_its_budget_is_a_warning() {
    let strict = Rules { strict: true, require: None };
    let check = |then, now, rules: Rules, warnings: usize, exit: Exit| {
        let report = beside(then, now, rules, |_| {});
        let found = report.reference.as_ref().unwrap();
        assert_eq!((found.warnings(), report.exit()), (warnings, exit), "{then} {now}: {found:?}");
    };
    check(200, 8_000, Rules::default(), 1, Exit::Pass);
    check(200, 8_000, strict, 1, Exit::GateFailed);
    check(200, 1_500, strict, 0, Exit::Pass);
    check(2_000, 5_000, strict, 0, Exit::Pass);
    // What is red already needs no warning.
    check(200, 12_500, Rules::default(), 0, Exit::GateFailed);
}

#[test]
fn a_warning_reads_well() {
    let report = beside(200, 8_000, Rules { strict: true, require: None }, |_| {});
    insta::assert_snapshot!("grown-terminal", report::terminal(&report).replace('\u{1b}', ""));
    insta::assert_snapshot!("grown-junit", report::junit(&report));
    insta::assert_snapshot!("grown-annotations", report::annotations(&report));
    assert!(report::markdown(&report).contains("⚠️ redis-lost/killed"), "{}", report::markdown(&report));
    let again: Report = serde_json::from_str(&report::json(&report)).unwrap();
    assert_eq!((again.exit(), &again), (report.exit(), &report));
}

#[test]
fn figures_of_another_ground_and_unknown_ones_are_said_and_not_compared() {
    let says = |change: fn(&mut Comparand)| {
        let report = beside(200, 8_000, Rules { strict: true, require: None }, change);
        let reference = report.reference.clone().unwrap();
        assert_eq!((reference.warnings(), report.exit()), (0, Exit::Pass));
        reference.growth[0].says.clone()
    };
    let said = [
        says(|comparand| comparand.reference.entries.clear()),
        says(|comparand| comparand.reference.entries[0].ground.profile = "as-deployed".to_owned()),
        says(|comparand| comparand.reference.entries[0].ground.cluster = harness::event::ClusterKind::Kind),
    ];
    assert_eq!(
        said,
        [
            "not in the reference for embedded, profile rehearsal",
            "not in the reference for embedded, profile rehearsal; what it has is of embedded, profile as-deployed \
             and cannot be compared",
            "not in the reference for embedded, profile rehearsal; what it has is of kind, profile rehearsal and \
             cannot be compared",
        ]
    );
}

#[test]
fn rehearsed_figures_fail_a_gate_that_takes_measured_ones_only() {
    let run = |cluster| -> Vec<Event> {
        let mut run = Run::started();
        run.put(1, What::RulesSet(Rules { strict: false, require: Some(Require::Measured) }));
        run.put(20, What::ClusterReady(crate::runs::cluster(cluster)));
        run.pass(1_000);
        run.over(20_000, true)
    };
    use harness::event::ClusterKind::{Context, Embedded, Kind};
    for (cluster, expect) in [(Embedded, Exit::GateFailed), (Kind, Exit::Pass), (Context, Exit::Pass)] {
        assert_eq!(Report::of(&run(cluster)).exit(), expect, "{cluster:?}");
    }
    let report = Report::of(&run(Embedded));
    assert_eq!(report.verdict.why, "rehearsed on embedded, and --require measured takes no such figures");
}

#[test]
fn a_run_that_broke_off_gives_no_reference() {
    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 2_500, &bad());
    run.ended(2_500, Ended::Cancelled);
    assert!(Report::of(&run.over(3_000, true)).as_reference().entries.is_empty());
    let of_one = Duration::from_millis(500);
    let mut run = Run::deployed();
    run.bad_for(1_000, &plan("redis-lost/killed"), 500).fail(40_000);
    let reference = Report::of(&run.over(90_000, true)).as_reference();
    let names: Vec<&str> = reference.entries.iter().map(|entry| entry.scenario.0.as_str()).collect();
    assert_eq!(names, ["redis-lost/killed"], "only kept promises");
    let took = reference.entries[0].recovery_ms;
    assert!(took.lower.duration() <= of_one && of_one <= took.upper.duration(), "{took:?}");
}
