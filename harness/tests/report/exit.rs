//! Every row of the table of exit codes that a report can come to.

use harness::event::{Ended, Event, Seen, StageResult, What};
use harness::report::Report;
use harness::verdict::Exit;

use crate::runs::{Run, bad, plan};

#[track_caller]
fn check(name: &str, expect: Exit, events: &[Event]) {
    let report = Report::of(events);
    assert_eq!(report.exit(), expect, "{name}");
    assert_eq!(report.exit_code, expect.code(), "{name}");
    assert_eq!(report.verdict.verdict, expect, "{name}");
    assert!(!report.verdict.why.is_empty(), "{name}");
}

fn scenarios(write: impl FnOnce(&mut Run) -> &mut Run) -> Vec<Event> {
    let mut run = Run::deployed();
    write(&mut run);
    run.over(200_000, true)
}

fn stage(name: &str, result: StageResult) -> Vec<Event> {
    let mut run = Run::started();
    run.stage("tag", 10, 20, StageResult::Done, &[]);
    run.stage(name, 20, 30, result, &[]);
    run.over(40, true)
}

#[test]
fn of_scenarios() {
    check("pass", Exit::Pass, &scenarios(|run| run.pass(1_000)));
    check("absorbed", Exit::Pass, &scenarios(|run| run.absorbed(1_000)));
    check("two steps", Exit::Pass, &scenarios(|run| run.hung(1_000)));
    check("fail", Exit::GateFailed, &scenarios(|run| run.fail(1_000)));
    check("no proof", Exit::Inconclusive, &scenarios(|run| run.unproven(1_000)));
    check("no proof before a pass", Exit::Inconclusive, &scenarios(|run| run.unproven(1_000).pass(20_000)));
    check("fail before no proof", Exit::GateFailed, &scenarios(|run| run.fail(1_000).unproven(20_000)));
    let broken = |ended: Ended| scenarios(move |run| run.broken(1_000, &plan("redis-lost/killed")).ended(3_000, ended));
    check("broken", Exit::Inconclusive, &broken(Ended::Broken { reason: "no steady state".to_owned() }));
    check("cancelled", Exit::Interrupted, &broken(Ended::Cancelled));
    check(
        "cancelled after a fail",
        Exit::GateFailed,
        &scenarios(|run| run.fail(1_000).broken(20_000, &plan("redis-lost/killed")).ended(22_000, Ended::Cancelled)),
    );
}

#[test]
fn of_stages() {
    let error = || "it is so".to_owned();
    let failed = || StageResult::Failed { error: error() };
    check("done", Exit::Pass, &stage("push", StageResult::Done));
    check("build failed", Exit::Environment, &stage("build", failed()));
    check("push failed", Exit::Environment, &stage("push", failed()));
    check("smoke failed", Exit::GateFailed, &stage("smoke", failed()));
    check("checklist not passed", Exit::GateFailed, &stage("checklist", failed()));
    check("soak failed", Exit::GateFailed, &stage("soak", failed()));
    check("nothing put back", Exit::RollbackFailed, &stage("deploy", failed()));
    check("rollback failed", Exit::RollbackFailed, &stage("rollback", failed()));
    check("rolled back", Exit::RolledBack, &stage("deploy", StageResult::RolledBack { reason: error() }));
    check("not rolled back", Exit::RollbackFailed, &stage("deploy", StageResult::RollbackFailed { error: error() }));
    check("cancelled", Exit::Interrupted, &stage("deploy", StageResult::Cancelled));
}

#[test]
fn of_the_end() {
    check("nothing selected", Exit::NothingSelected, &Run::started().over(5, true));
    check("no record", Exit::Inconclusive, &[]);
    check("left something behind", Exit::CleanUpIncomplete, &Run::started().over(5, false));

    let mut run = Run::deployed();
    run.pass(1_000);
    check("stopped after a pass", Exit::Inconclusive, &run.events);

    let mut run = Run::deployed();
    run.fail(1_000).pass(20_000);
    check("clean-up is worse than a fail", Exit::CleanUpIncomplete, &run.over(30_000, false));

    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 3_000, &bad());
    check("stopped while broken", Exit::CleanUpIncomplete, &run.events);

    let mut run = Run::deployed();
    run.broken(1_000, &plan("redis-lost/killed")).proven(2_000).both(2_000, 3_000, &Seen::Good);
    run.put(3_000, What::HealFailed { error: "redis-0 is not ready".to_owned() });
    run.put(3_000, What::ScenarioEnded(Ended::Completed));
    check("not healed", Exit::CleanUpIncomplete, &run.over(4_000, true));

    let mut run = Run::deployed();
    run.put(2_000, What::StageStarted { stage: "soak".to_owned() });
    check("a stage without an end", Exit::Inconclusive, &run.over(3_000, true));
}
