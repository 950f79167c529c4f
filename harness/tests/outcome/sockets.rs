//! What the record of sockets proves, and what it sums up to.

use harness::event::{Sample, Seen, SocketChange, SocketEnd, SocketEndKind, SocketEvent, What};
use harness::sample::{Check, MetricCheck, MetricRule};
use harness::scenario::plan::{CheckName, MetricMoved, Plan, Proof, SocketsClosed};

use crate::support::*;

fn socket(run: &mut Run, millis: u64, socket: u32, backs_off: bool, what: SocketChange) {
    run.put(millis, What::Socket(SocketEvent { socket, at: at(millis), backs_off, what }));
}

fn opened() -> SocketChange {
    SocketChange::Opened { attempts: 1 }
}

fn ended(end: SocketEnd, cut: bool) -> SocketChange {
    let lost = end.is_loss(cut);
    SocketChange::Ended { end, cut, lost }
}

fn moved() -> SocketEnd {
    SocketEnd::Closed { code: 1001, reason: "server is going away".to_owned() }
}

fn with_proof(proof: Proof) -> Plan {
    Plan { proof: vec![proof], ..plan() }
}

#[test]
fn so_many_ends_of_a_kind_prove_a_fault() {
    let check = |at_least: u32, kind: Option<SocketEndKind>, expect: Option<u64>| {
        let mut run = Run::of_one_pod(with_proof(Proof::SocketsClosed(SocketsClosed { at_least, kind })));
        (0..4).for_each(|number| socket(&mut run, 100, number, false, opened()));
        socket(&mut run, 900, 0, false, ended(SocketEnd::Reset, false));
        run.put(1_000, What::FaultSent);
        socket(&mut run, 1_100, 1, false, ended(moved(), false));
        socket(&mut run, 1_200, 2, false, ended(SocketEnd::Reset, false));
        socket(&mut run, 1_250, 4, true, ended(SocketEnd::Reset, false));
        socket(&mut run, 1_300, 3, false, ended(SocketEnd::Reset, true));
        assert_eq!(run.outcome().fault_time(), expect.map(|proven| (at(1_000), at(proven))), "{at_least} {kind:?}");
    };
    check(1, None, Some(1_100));
    check(3, None, Some(1_300));
    check(4, None, None);
    check(2, Some(SocketEndKind::Reset), Some(1_300));
    check(1, Some(SocketEndKind::HalfOpen), None);
}

#[test]
fn a_reading_that_moved_far_enough_proves_a_fault() {
    let check = |proof: fn(MetricMoved) -> Proof, by: u32, before: &[(u64, &str)], after: &[(u64, &str)], expect| {
        let name = CheckName("redis".to_owned());
        let mut plan = with_proof(proof(MetricMoved { check: name.clone(), by }));
        let (path, metric) = ("/metrics".to_owned(), "active".to_owned());
        plan.checks[2].check =
            Check::Metric(MetricCheck { path, name: metric, labels: Default::default(), rule: MetricRule::Any });
        let mut run = Run::of_one_pod(plan);
        let mut read = |sent: u64, value: &str| {
            let sample = Sample {
                check: name.clone(),
                subject: service(),
                intended: at(sent),
                sent: at(sent),
                done: at(sent + 5),
                seen: Seen::Good,
                value: Some(value.to_owned()),
            };
            run.put(sent + 5, What::Sample(sample));
        };
        before.iter().for_each(|(sent, value)| read(*sent, value));
        after.iter().for_each(|(sent, value)| read(*sent, value));
        run.put(1_000, What::FaultSent);
        let expect: Option<u64> = expect;
        assert_eq!(run.outcome().fault_time(), expect.map(|proven| (at(1_000), at(proven))), "{before:?} {after:?}");
    };
    check(Proof::MetricFell, 50, &[(100, "20"), (900, "200")], &[(1_100, "190"), (1_200, "133")], Some(1_205));
    check(Proof::MetricFell, 50, &[(900, "200")], &[(1_100, "151"), (1_200, "260")], None);
    // The newest before counts, whichever way it came there, and one that was on its way does not.
    check(Proof::MetricFell, 50, &[(100, "200"), (900, "20"), (998, "200")], &[(1_100, "10")], None);
    check(Proof::MetricFell, 50, &[], &[(1_100, "10")], None);
    check(Proof::MetricRose, 3, &[(900, "1")], &[(1_100, "3"), (1_200, "4")], Some(1_205));
    check(Proof::MetricRose, 3, &[(900, "1")], &[(1_100, "3.5"), (1_200, "-9")], None);
    check(Proof::MetricRose, 3, &[(900, "unknown")], &[(1_100, "9")], None);
}

#[test]
fn sockets_are_summed_from_the_fault_on() {
    let mut run = Run::of_one_pod(plan());
    (0..3).for_each(|number| socket(&mut run, 100, number, false, opened()));
    socket(&mut run, 100, 3, true, opened());
    socket(&mut run, 500, 0, false, ended(SocketEnd::Unclosed, false));
    socket(&mut run, 600, 0, false, opened());
    run.put(1_000, What::FaultSent);
    socket(&mut run, 1_010, 0, false, ended(moved(), false));
    socket(&mut run, 1_020, 1, false, ended(moved(), true));
    socket(&mut run, 1_030, 3, true, ended(SocketEnd::Reset, false));
    socket(&mut run, 1_110, 0, false, opened());
    socket(&mut run, 2_430, 3, true, opened());
    socket(&mut run, 3_020, 1, false, SocketChange::Overdue);
    socket(&mut run, 3_320, 1, false, opened());
    socket(&mut run, 3_330, 2, false, ended(moved(), false));
    let outcome = run.outcome();
    let sockets = outcome.sockets();
    assert_eq!(sockets.held(), (3, 1));
    assert_eq!((sockets.open(), sockets.ended_before(), sockets.lost()), (2, 1, 2));
    let ends: Vec<_> =
        sockets.ends().into_iter().map(|(end, count)| (end.clone(), count.count, count.cut, count.lost)).collect();
    assert_eq!(ends, [(moved(), 3, 1, 1)]);
    assert_eq!(sockets.away(false), Some((millis(2_300), millis(2_300))));
    assert_eq!(sockets.away(true), Some((millis(1_400), millis(1_400))));
    let levels: Vec<_> = sockets.levels().iter().map(|(_, open)| *open).collect();
    assert_eq!(levels, [3, 2, 3, 1, 2, 2]);
}
