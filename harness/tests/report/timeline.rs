//! What is drawn of a scenario: nothing bad is lost, and nothing grows without a bound.

use std::time::Duration;

use harness::event::{Ended, Event, LogLine, Sample, Seen, Subject, What};
use harness::report::timeline::{COLUMNS, Row, Shade, Timeline, Timelines};
use harness::scenario::plan::CheckName;
use proptest::prelude::*;

use crate::runs::{Run, at, bad, plan};

fn drawn(events: &[Event]) -> Vec<Timeline> {
    let mut timelines = Timelines::default();
    events.iter().for_each(|event| timelines.apply(event));
    timelines.drawn()
}

fn row<'a>(timeline: &'a Timeline, what: &str) -> &'a Row {
    timeline.rows.iter().find(|row| row.what == what).unwrap_or_else(|| panic!("no row {what} in {timeline:?}"))
}

/// `good`, `BAD`, `missing` and `leaving` with their first and last column.
fn stretches(row: &Row) -> Vec<(u16, u16, Shade)> {
    row.stretches.iter().map(|stretch| (stretch.from, stretch.until, stretch.shade)).collect()
}

#[test]
fn a_recovery_is_drawn_to_scale() {
    let mut run = Run::deployed();
    run.pass(10_000);
    let timelines = drawn(&run.over(20_000, true));
    let timeline = &timelines[0];
    // From a second before the fault at 11 s to the end of the scenario at 14.06 s.
    assert_eq!((timeline.from, timeline.until), (at(10_000), at(14_060)));
    assert_eq!(timeline.column(at(9_999)), None);
    assert_eq!(timeline.column(at(14_060)), Some(COLUMNS));
    let service = row(timeline, "service");
    assert_eq!((service.subject.as_str(), service.bad, service.missing), ("Service backend", 15, 0));
    assert_eq!(stretches(service), [(0, 246, Shade::Good), (246, 615, Shade::Bad), (615, 1_000, Shade::Good)]);
    let subjects: Vec<_> = timeline.rows.iter().map(|row| (row.subject.as_str(), row.what.as_str())).collect();
    assert_eq!(
        subjects,
        [
            ("Service backend", "service"),
            ("a", "ready in Kubernetes"),
            ("a", "ready"),
            ("redis-0", "ready in Kubernetes"),
            ("redis-0", "redis")
        ]
    );
    assert!(row(timeline, "redis").is_proof);
}

#[test]
fn a_check_of_another_workload_does_not_stand_under_the_service() {
    let mut run = Run::deployed();
    run.broken(10_000, &plan("redis-lost/killed")).both(11_000, 12_000, &Seen::Good);
    for event in &mut run.events {
        if let What::Sample(sample) = &mut event.what
            && sample.check.0 == "redis"
        {
            sample.subject = Subject::Service;
        }
    }
    let timelines = drawn(&run.events);
    assert_eq!(row(&timelines[0], "redis").subject, "statefulset/redis");
    assert_eq!(timelines[0].rows.last().map(|row| row.what.as_str()), Some("redis"));
}

#[test]
fn repeats_and_scenarios_without_an_end_have_a_timeline_each() {
    let mut run = Run::deployed();
    run.pass(1_000).pass(10_000);
    run.broken(20_000, &plan("redis-lost/gone")).both(21_000, 22_000, &bad());
    let timelines = drawn(&run.events);
    let from: Vec<_> = timelines.iter().map(|timeline| timeline.from).collect();
    assert_eq!(from, [at(1_000), at(10_000), at(20_000)]);
    assert_eq!(row(&timelines[2], "service").bad, 10);
}

#[test]
fn what_becomes_of_pods_is_drawn_and_told() {
    let mut run = Run::deployed();
    run.broken(10_000, &plan("redis-lost/deleted"));
    let Some(What::Evidence { pods }) =
        run.events.iter().map(|event| event.what.clone()).find(|what| matches!(what, What::Evidence { .. }))
    else {
        panic!("there is evidence");
    };
    let before = pods[1].clone();
    let mut seen = |millis, change: &dyn Fn(&mut harness::event::PodFacts)| {
        let mut pod = before.clone();
        change(&mut pod);
        run.put(millis, What::PodSeen(pod));
    };
    seen(11_010, &|pod| pod.terminating = true);
    seen(12_000, &|pod| (pod.uid, pod.ready) = ("next".to_owned(), false));
    seen(13_000, &|pod| (pod.uid, pod.ready) = ("next".to_owned(), true));
    run.put(11_500, What::PodGone { name: before.name.clone(), uid: before.uid.clone() });
    run.ended(15_000, Ended::Completed);
    let timelines = drawn(&run.over(20_000, true));
    let told: Vec<_> = timelines[0].told.iter().map(|told| (told.at, told.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (at(11_010), "redis-0 is terminating"),
            (at(11_500), "redis-0 is gone"),
            (at(12_000), "redis-0 is new"),
            (at(13_000), "redis-0 is ready"),
        ]
    );
    let pods = timelines[0].rows.iter().filter(|row| row.subject.starts_with("redis-0") && row.what != "redis");
    let shades: Vec<Vec<Shade>> = pods.map(|row| row.stretches.iter().map(|one| one.shade).collect()).collect();
    assert_eq!(shades, [vec![Shade::Good, Shade::Leaving], vec![Shade::Bad, Shade::Good]]);
}

#[test]
fn what_pods_logged_is_told_though_it_is_read_after_the_end() {
    let mut run = Run::deployed();
    run.pass(10_000);
    let scenario = run.events.last().and_then(|event| event.scenario.clone());
    let line = LogLine { pod: "a".to_owned(), written: at(11_020), line: "redis away".to_owned() };
    run.events.push(Event { at: at(14_500), scenario, what: What::Logged(line) });
    let timelines = drawn(&run.over(20_000, true));
    let told: Vec<_> = timelines[0].logged.iter().map(|told| (told.at, told.text.as_str())).collect();
    assert_eq!(told, [(at(11_020), "a: redis away")]);
    assert_eq!(timelines[0].until, at(14_060), "it moves no edge");
}

fn looks() -> impl Strategy<Value = Vec<(u64, u8)>> {
    prop::collection::vec((0_u64..120_000, 0_u8..3), 0..300)
}

fn record(looks: &[(u64, u8)]) -> Vec<Event> {
    let mut run = Run::deployed();
    run.broken(0, &plan("redis-lost/killed"));
    for (sent, kind) in looks {
        let seen = match kind {
            0 => Seen::Good,
            1 => bad(),
            _ => Seen::Missing { reason: "slip".to_owned() },
        };
        let sample = Sample {
            check: CheckName("service".to_owned()),
            subject: Subject::Service,
            intended: at(*sent),
            sent: at(*sent),
            done: at(*sent + 1),
            seen,
            value: None,
        };
        run.put(120_000, What::Sample(sample));
    }
    run.ended(121_000, Ended::Completed);
    run.events
}

proptest! {
    #[test]
    fn nothing_bad_is_lost_and_nothing_overlaps(looks in looks()) {
        let timelines = drawn(&record(&looks));
        let timeline = &timelines[0];
        for row in &timeline.rows {
            prop_assert!(row.stretches.iter().all(|stretch| stretch.from < stretch.until && stretch.until <= COLUMNS));
            prop_assert!(row.stretches.windows(2).all(|pair| pair[0].until <= pair[1].from));
        }
        for (sent, _) in looks.iter().filter(|(_, kind)| *kind == 1) {
            let Some(column) = timeline.column(at(*sent)) else { continue };
            let column = column.min(COLUMNS - 1);
            let shade = row(timeline, "service").stretches.iter().find(|one| (one.from..one.until).contains(&column));
            prop_assert_eq!(shade.map(|one| one.shade), Some(Shade::Bad), "sent at {} ms, column {}", sent, column);
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_show(looks in looks(), seed in any::<u64>()) {
        let mut shuffled = looks.clone();
        // A shuffle that needs no generator: sorted by a hash of place and seed.
        shuffled.sort_by_key(|(sent, kind)| (sent.wrapping_mul(seed | 1).rotate_left(17), *kind));
        prop_assert_eq!(drawn(&record(&looks)), drawn(&record(&shuffled)));
    }
}

#[test]
fn an_hour_takes_no_more_room_than_a_minute() {
    let flapping: Vec<(u64, u8)> = (0..120_000).step_by(20).map(|sent| (sent, u8::from(sent % 40 == 0))).collect();
    let timelines = drawn(&record(&flapping));
    assert!(row(&timelines[0], "service").stretches.len() <= usize::from(COLUMNS));
    assert!(timelines[0].until.since(timelines[0].from) > Duration::from_secs(119));
}
