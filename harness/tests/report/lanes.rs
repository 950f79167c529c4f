//! Scenarios side by side: however their events interleave, each has the outcome of its own.

use harness::event::{Event, LaneFacts, StageResult, What};
use harness::outcome::Outcome;
use harness::report::Report;
use harness::report::timeline::Timelines;
use harness::scenario::plan::{Plan, ScenarioId};
use proptest::prelude::*;

use crate::runs::{self, Run};

/// Scenarios to choose from, each with a line of its own in the file.
const KINDS: u64 = 5;

/// One whole scenario from `start`, as the engine of one lane emits it.
fn stream(kind: u64, start: u64, lane: u32) -> Vec<Event> {
    let mut run = Run::default();
    match kind {
        0 => run.pass(start),
        1 => run.fail(start),
        2 => run.unproven(start),
        3 => run.absorbed(start),
        _ => run.hung(start),
    };
    let mut events = run.events;
    events.sort_by_key(|event| event.at);
    for event in &mut events {
        if let What::ScenarioStarted(plan) = &mut event.what {
            plan.line = 60 + kind;
        }
    }
    let started = events.iter().position(|event| matches!(event.what, What::ScenarioStarted(_))).unwrap();
    let facts = LaneFacts { lane, namespace: format!("hsc-jit-lane-{lane}") };
    let taken = Event { what: What::LaneTaken(facts), ..events[started].clone() };
    events.insert(started + 1, taken);
    events
}

fn interleaved(one: &[Event], other: &[Event], choices: &[bool]) -> Vec<Event> {
    let (mut one, mut other) = (one.iter(), other.iter());
    let mut events = Vec::new();
    for first in choices {
        events.extend(if *first { one.next() } else { other.next() });
    }
    events.into_iter().chain(one).chain(other).cloned().collect()
}

fn whole(scenarios: Vec<Event>) -> Report {
    let mut events = Run::deployed().events;
    events.extend(scenarios);
    let over = Run::default().over(60_000, true);
    events.extend(over);
    Report::of(&events)
}

fn plan_of(stream: &[Event]) -> Plan {
    let started = stream.iter().find_map(|event| match &event.what {
        What::ScenarioStarted(plan) => Some((**plan).clone()),
        _ => None,
    });
    started.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_interleaving_folds_to_the_same_as_one_after_the_other(
        kinds in (0..KINDS, 1..KINDS).prop_map(|(one, step)| (one, (one + step) % KINDS)),
        starts in (1_000_u64..4_000, 1_000_u64..4_000),
        choices in proptest::collection::vec(any::<bool>(), 0..1_200),
    ) {
        let (one, other) = (stream(kinds.0, starts.0, 1), stream(kinds.1, starts.1, 2));
        let mixed = interleaved(&one, &other, &choices);
        let report = whole(mixed.clone());
        prop_assert_eq!(&report, &whole([one.clone(), other.clone()].concat()));
        prop_assert_eq!(&report, &whole([other.clone(), one.clone()].concat()));
        // What the engine of a lane knew at its end is what the whole journal says.
        for own in [&one, &other] {
            let plan = plan_of(own);
            let (mut live, mut replayed) = (Outcome::new(&plan), Outcome::new(&plan));
            own.iter().for_each(|event| live.apply(event));
            mixed.iter().for_each(|event| replayed.apply(event));
            prop_assert_eq!(live, replayed);
        }
    }
}

#[test]
fn scenarios_stand_in_the_order_of_their_file_with_their_lanes() {
    let report = whole([stream(4, 1_000, 1), stream(0, 1_500, 2)].concat());
    let told: Vec<(&ScenarioId, u32)> =
        report.scenarios.iter().map(|one| (&one.id, one.lane.as_ref().unwrap().lane)).collect();
    let (killed, hung) = (runs::plan("redis-lost/killed").id, runs::hung().id);
    assert_eq!(told, [(&killed, 2), (&hung, 1)]);
    let mut timelines = Timelines::default();
    [stream(4, 1_000, 1), stream(0, 1_500, 2)].concat().iter().for_each(|event| timelines.apply(event));
    let ends: Vec<_> = timelines.drawn().iter().map(|timeline| timeline.until).collect();
    assert!(ends[0] < ends[1], "the timelines stand in the same order: the killed one ends first");
    let text = harness::report::terminal(&report);
    assert!(text.contains("lane      2, in namespace hsc-jit-lane-2"), "{text}");
}

#[test]
fn stages_side_by_side_keep_their_ends_apart() {
    let mut run = Run::started();
    let started = |stage: &str| What::StageStarted { stage: stage.to_owned() };
    let finished = |stage: &str, result, fact: &str| What::StageFinished {
        stage: stage.to_owned(),
        result,
        facts: vec![fact.to_owned()],
    };
    run.put(100, started("install in lane 2")).put(110, started("install in lane 3"));
    run.put(400, finished("install in lane 3", StageResult::Done, "three"));
    let error = "no room".to_owned();
    run.put(900, finished("install in lane 2", StageResult::Failed { error: error.clone() }, "two"));
    let report = Report::of(&run.over(1_000, true));
    let told: Vec<_> = report
        .stages
        .iter()
        .map(|stage| {
            (&stage.stage[..], stage.took_ms.duration().as_millis(), stage.result.clone(), &stage.facts[0][..])
        })
        .collect();
    let (two, three) = (StageResult::Failed { error }, StageResult::Done);
    assert_eq!(told, [("install in lane 2", 800, Some(two), "two"), ("install in lane 3", 290, Some(three), "three")]);
}
