//! The fold against a simulated truth, and against the definition written out the slow way.

use std::time::Duration;

use harness::event::{Event, Offset, Sample, Seen, Subject, What};
use harness::outcome::{Outcome, Recovery};
use harness::scenario::plan::CheckName;
use proptest::prelude::*;

use crate::support::*;

const FAULT_MS: u64 = 1_000;

/// How requests fail while a series is down.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// At once.
    Refused,
    /// They wait for the timeout, or for the recovery.
    Hung,
}

/// What really happens to one series: down from `from` until `until`.
#[derive(Debug, Clone, Copy)]
struct Outage {
    from: u64,
    until: u64,
    mode: Mode,
}

/// One sample's share of chance.
#[derive(Debug, Clone, Copy)]
struct Chance {
    slip: u64,
    latency: u64,
    /// Where between `sent` and `done` the system decides on the answer, in percent.
    decided: u64,
    is_missing: bool,
}

#[derive(Debug, Clone)]
struct Truth {
    outages: [Outage; 3],
    /// When the fault really took effect.
    effect: u64,
    chances: Vec<Chance>,
    order: Vec<u32>,
}

fn outage() -> impl Strategy<Value = Outage> {
    // Starts inside `hold`, so that the first streak is not the one before it; long enough to be seen.
    let mode = prop_oneof![Just(Mode::Refused), Just(Mode::Hung)];
    (0_u64..500, 1_500_u64..4_000, mode).prop_map(|(from, length, mode)| Outage {
        from: FAULT_MS + from,
        until: FAULT_MS + from + length,
        mode,
    })
}

fn chance() -> impl Strategy<Value = Chance> {
    (0_u64..40, 1_u64..60, 0_u64..=100, 0_u32..12).prop_map(|(slip, latency, decided, missing)| Chance {
        slip,
        latency,
        decided,
        is_missing: missing == 0,
    })
}

fn truth() -> impl Strategy<Value = Truth> {
    (
        proptest::array::uniform3(outage()),
        0_u64..20,
        proptest::collection::vec(chance(), 64..200),
        proptest::collection::vec(any::<u32>(), 64..200),
    )
        .prop_map(|(outages, effect, chances, order)| Truth { outages, effect: FAULT_MS + effect, chances, order })
}

fn series() -> [(&'static str, Subject); 3] {
    [("ready", of_pod("a")), ("ready", of_pod("b")), ("service", service())]
}

fn sample(check: &str, subject: &Subject, outage: Outage, intended: u64, chance: Chance) -> Sample {
    let sent = intended + chance.slip;
    let is_down = |at: u64| (outage.from..outage.until).contains(&at);
    let timeout = intended + 800;
    let (seen, done) = match outage.mode {
        Mode::Hung if is_down(sent) && outage.until < timeout => {
            let done = outage.until + chance.latency;
            (if done - intended <= 500 { Seen::Good } else { bad() }, done)
        }
        Mode::Hung if is_down(sent) => (bad(), timeout),
        Mode::Refused | Mode::Hung => {
            let done = sent + chance.latency;
            let decided = sent + chance.latency * chance.decided / 100;
            (if is_down(decided) { bad() } else { Seen::Good }, done)
        }
    };
    let seen = if chance.is_missing { missing() } else { seen };
    Sample {
        check: CheckName(check.to_owned()),
        subject: subject.clone(),
        intended: at(intended),
        sent: at(sent),
        done: at(done),
        seen,
        value: None,
    }
}

/// The run as it would have been recorded: every event when it was known.
fn record(truth: &Truth) -> Run {
    let mut run = Run::new(plan());
    run.put(0, What::Evidence { pods: vec![pod("a", true), pod("b", true), pod("redis-0", true)] });
    run.look(FAULT_MS - 50, "redis", &of_pod("redis-0"), Seen::Good);
    run.put(FAULT_MS, What::FaultSent);
    run.look(truth.effect + 10, "redis", &of_pod("redis-0"), bad());
    let mut chances = truth.chances.iter().cycle();
    for (number, (check, subject)) in series().iter().enumerate() {
        let mut missing_in_a_row = 0;
        for tick in 0..80 {
            let mut chance = *chances.next().expect("it goes round");
            // Two in a row are no gap; more would be another test.
            missing_in_a_row = if chance.is_missing { missing_in_a_row + 1 } else { 0 };
            chance.is_missing = (1..=2).contains(&missing_in_a_row) && chance.is_missing;
            let intended = tick * INTERVAL_MS + 30 * number as u64;
            let sample = sample(check, subject, truth.outages[number], intended, chance);
            let millis = sample.done.nanos() / 1_000_000;
            run.put(millis, What::Sample(sample));
        }
    }
    run
}

fn samples(events: &[Event]) -> Vec<&Sample> {
    let samples = events.iter().filter_map(|event| match &event.what {
        What::Sample(sample) => Some(sample),
        _ => None,
    });
    samples.filter(|sample| sample.check.0 != "redis" && sample.sent >= at(FAULT_MS)).collect()
}

fn is_good(sample: &Sample) -> bool {
    sample.seen == Seen::Good && sample.done.since(sample.intended) <= millis(500)
}

/// All maximal runs of good samples of one series without a gap: (first sent, first done, last sent).
fn streaks(samples: &[&Sample], check: &str, subject: &Subject) -> Vec<(Offset, Offset, Offset)> {
    let of_series = |sample: &&&Sample| sample.check.0 == check && sample.subject == *subject;
    let mut sorted: Vec<&Sample> = samples.iter().filter(of_series).copied().collect();
    sorted.retain(|sample| !matches!(sample.seen, Seen::Missing { .. }));
    sorted.sort_by_key(|sample| sample.sent);
    let mut streaks: Vec<(Offset, Offset, Offset)> = Vec::new();
    let mut before: Option<&Sample> = None;
    for sample in sorted {
        if is_good(sample) {
            let goes_on = before.is_some_and(|before| {
                is_good(before) && sample.intended.since(before.intended) <= millis(3 * INTERVAL_MS)
            });
            match streaks.last_mut() {
                Some(streak) if goes_on => streak.2 = sample.sent,
                _ => streaks.push((sample.sent, sample.done, sample.sent)),
            }
        }
        before = Some(sample);
    }
    streaks
}

/// DESIGN's words, tried out on every combination: the first streak of all series together that
/// covers `hold`, and the last bad sample before it.
fn by_definition(events: &[Event]) -> Option<(Offset, Offset)> {
    let samples = samples(events);
    let of_series: Vec<_> = series().iter().map(|(check, subject)| streaks(&samples, check, subject)).collect();
    let mut best: Option<(Offset, Offset)> = None;
    for a in &of_series[0] {
        for b in &of_series[1] {
            for c in &of_series[2] {
                let since = a.0.max(b.0).max(c.0);
                let until = a.2.min(b.2).min(c.2);
                if until >= since + millis(1_000) && best.is_none_or(|(known, _)| since < known) {
                    best = Some((since, a.1.max(b.1).max(c.1)));
                }
            }
        }
    }
    let (since, first_good) = best?;
    let is_bad = |sample: &&&Sample| !is_good(sample) && !matches!(sample.seen, Seen::Missing { .. });
    let last_bad = samples.iter().filter(is_bad).map(|sample| sample.sent).filter(|sent| *sent < since).max()?;
    Some((first_good, last_bad))
}

fn found(outcome: &Outcome) -> Option<(Offset, Offset, Duration, Duration)> {
    match outcome.recovery() {
        Recovery::Recovered { first_good, last_bad: Some(last_bad), lower, upper, .. } => {
            Some((first_good, last_bad, lower, upper))
        }
        Recovery::Recovered { .. } | Recovery::NotYet | Recovery::Absorbed => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_truth_lies_inside(truth in truth()) {
        let outcome = record(&truth).outcome();
        let back = truth.outages.iter().map(|outage| outage.until).max().unwrap();
        let took = millis(back - truth.effect);
        let (first_good, last_bad, lower, upper) = found(&outcome).expect("every outage ends, and hold follows");
        prop_assert!(lower <= took && took <= upper, "{took:?} is not in {lower:?}..{upper:?}");
        prop_assert!(last_bad <= at(back) && at(back) <= first_good);
        // The width is the resolution: an interval, its gaps, and the longest answer.
        prop_assert!(upper - lower <= millis(3 * INTERVAL_MS + 40 + 800 + 60), "{lower:?}..{upper:?}");
    }

    #[test]
    fn the_fold_is_the_definition(truth in truth()) {
        let run = record(&truth);
        let found = found(&run.outcome()).map(|(first_good, last_bad, ..)| (first_good, last_bad));
        prop_assert_eq!(found, by_definition(&run.events));
    }

    #[test]
    fn folding_on_is_folding_anew(truth in truth()) {
        let run = record(&truth);
        let events = run.sorted();
        let mut live = Outcome::new(&run.plan);
        for (count, event) in events.iter().enumerate() {
            live.apply(event);
            if count % 16 == 0 {
                let anew = fold(&run.plan, &events[..=count]);
                prop_assert_eq!(live.recovery(), anew.recovery());
            }
        }
        // What was decided while it ran is what the whole record says.
        prop_assert_eq!(live.recovery(), run.outcome().recovery());
    }

    #[test]
    fn once_recovered_stays_recovered(truth in truth()) {
        let run = record(&truth);
        let mut live = Outcome::new(&run.plan);
        let mut decided = None;
        for event in run.sorted() {
            live.apply(&event);
            let now = live.recovery();
            // Only the lower end may still rise: a hung sample sent before the streak comes back late.
            match (decided, found(&live)) {
                (Some((first_good, upper)), Some((now_first, _, _, now_upper))) => {
                    prop_assert_eq!((first_good, upper), (now_first, now_upper));
                }
                (Some(_), None) => prop_assert!(false, "taken back: {now:?}"),
                (None, Some((first_good, _, _, upper))) => decided = Some((first_good, upper)),
                (None, None) => {}
            }
        }
    }

    #[test]
    fn samples_may_come_in_any_order(truth in truth()) {
        let run = record(&truth);
        let in_order = run.outcome();
        let events = run.sorted();
        let fault = events.iter().position(|event| event.what == What::FaultSent).unwrap();
        let mut after: Vec<(u32, Event)> =
            truth.order.iter().cycle().copied().zip(events[fault + 1..].iter().cloned()).collect();
        after.sort_by_key(|(place, _)| *place);
        let mut shuffled = events[..=fault].to_vec();
        shuffled.extend(after.into_iter().map(|(_, event)| event));
        let outcome = fold(&run.plan, &shuffled);
        prop_assert_eq!(outcome.recovery(), in_order.recovery());
        prop_assert_eq!(outcome.symptom(), in_order.symptom());
        prop_assert_eq!(outcome.fault_time(), in_order.fault_time());
        prop_assert_eq!(outcome.slip(), in_order.slip());
    }

    #[test]
    fn a_replayed_journal_gives_the_same_outcome(truth in truth()) {
        let run = record(&truth);
        let events = run.sorted();
        let journal: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let replayed: Vec<Event> = journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let plan = serde_json::from_str(&serde_json::to_string(&run.plan).unwrap()).unwrap();
        prop_assert_eq!(fold(&plan, &replayed), fold(&run.plan, &events));
    }
}
