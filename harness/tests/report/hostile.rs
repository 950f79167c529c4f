//! Text of others stays text, however it is made, and reports stay small.

use harness::event::{Event, StageResult, What};
use harness::report::{self, Report};

use crate::runs::{Run, plan};

const HOSTILE: &str = "a|b `c` <script>&\"'\n::error::x\u{1b}[31m]]>\u{0} 100%, _d_ [e](f)";

pub(crate) fn hostile() -> Vec<Event> {
    let mut run = Run::deployed();
    run.stage("smoke", 1_000, 1_100, StageResult::Failed { error: HOSTILE.to_owned() }, &[HOSTILE]);
    let mut plan = plan("redis-lost/killed");
    plan.title = HOSTILE.to_owned();
    plan.file = "a:b,c\n.yaml".to_owned();
    plan.promise.says = HOSTILE.to_owned();
    plan.budget.source = HOSTILE.to_owned();
    run.broken(2_000, &plan).proven(3_000).both(
        3_000,
        16_000,
        &harness::event::Seen::Bad { reason: HOSTILE.to_owned() },
    );
    run.put(16_000, What::Note { text: HOSTILE.to_owned() });
    run.ended(16_000, harness::event::Ended::Completed);
    run.over(17_000, true)
}

#[test]
fn in_every_form() {
    let report = Report::of(&hostile());
    insta::assert_snapshot!("hostile-markdown", report::markdown(&report));
    insta::assert_snapshot!("hostile-junit", report::junit(&report));
    insta::assert_snapshot!("hostile-annotations", report::annotations(&report));

    let rows: Vec<String> =
        report::markdown(&report).lines().filter(|line| line.starts_with("| ")).map(str::to_owned).collect();
    for row in &rows {
        let edges = row.replace("\\|", "").matches('|').count();
        assert!(edges == 8 || edges == 5, "{row}");
    }
    assert!(report::annotations(&report).lines().all(|line| line.starts_with("::error ")));
    let escapes = report::terminal(&report);
    assert!(!escapes.contains("\u{1b}[31m]]"), "an escape of others reached the terminal");
}

#[test]
fn xml_is_read_back() {
    for events in [hostile(), Run::started().over(5, true)] {
        let text = report::junit(&Report::of(&events));
        quick_junit::Report::deserialize_from_str(&text).unwrap();
    }
}

#[test]
fn ten_annotations_at_most() {
    let mut run = Run::deployed();
    for number in 0..14 {
        run.unproven(1_000 + number * 20_000);
    }
    let text = report::annotations(&Report::of(&run.over(400_000, true)));
    assert_eq!(text.lines().count(), 10);
    assert!(text.lines().last().unwrap().contains("5 more"), "{text}");
}

#[test]
fn markdown_is_bounded() {
    let mut run = Run::deployed();
    let long = "x|".repeat(100_000);
    run.put(1_000, What::Note { text: long.clone() });
    for number in 0..300 {
        let mut plan = plan(&format!("{long}{number}"));
        plan.promise.says = long.clone();
        run.put(2_000 + number, What::ScenarioStarted(Box::new(plan)));
    }
    let text = report::markdown(&Report::of(&run.over(400_000, true)));
    assert!(text.len() < 900_000, "{}", text.len());
    assert!(text.contains("sections are left out"), "the reader must know");
}
