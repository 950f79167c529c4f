//! Looks at the Service, over plain TCP.

use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::event::{Sample, Seen, Subject};
use harness::sample::Target;
use harness::sample::door::Door;
use harness::system::Rate;

use crate::server::{Mode, Server};
use crate::support::*;

fn sampling(server: &Server, interval: u64) -> Sampling {
    let plan = plan(http(Target::Service), Duration::from_millis(interval));
    Sampling::start(plan, Door::direct(server.address), None, Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_is_what_a_sample_says() {
    let server = Server::start().await;
    let mut sampling = sampling(&server, 50);
    let good = sampling.until(is_good).await.pop().unwrap();
    assert_eq!(good.subject, Subject::Service);
    assert!(good.intended <= good.sent && good.sent <= good.done);

    for (mode, expect) in [
        (Mode::NotReady, "503 not ready: Redis not connected"),
        (Mode::BreaksOff, "connection closed before message completed"),
        (Mode::Slow(Duration::from_millis(500)), "right answer after"),
        (Mode::Hangs, "no answer within 800ms"),
    ] {
        server.mode.send_replace(mode);
        sampling.until(|sample| is_bad(sample) && reason(sample).contains(expect)).await;
        server.mode.send_replace(Mode::Answers);
        sampling.until(is_good).await;
    }

    let address = server.kill().await;
    sampling.until(|sample| is_bad(sample) && reason(sample) == "refused").await;
    let _server = Server::restart(address).await;
    sampling.until(is_good).await;
    let (punctuality, _) = sampling.end().await;
    assert_eq!(punctuality.dropped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_stays_open_while_looks_hang() {
    let server = Server::start().await;
    let mut sampling = sampling(&server, 50);
    sampling.until(is_good).await;
    server.mode.send_replace(Mode::Hangs);
    // Each look is given up after 800 ms: a sampler that waits would look once where this one
    // looks sixteen times.
    let unanswered = |sample: &Sample| reason(sample).starts_with("no answer");
    let mut samples = sampling.until(unanswered).await;
    let first = samples.last().cloned().unwrap();
    let end = later(first.intended, 800);
    samples.extend(sampling.until(|sample| unanswered(sample) && sample.intended >= later(end, 200)).await);
    samples.retain(|sample| sample.intended >= first.intended && sample.intended < end);
    let intended: std::collections::BTreeSet<_> = samples.iter().map(|sample| sample.intended).collect();
    assert_eq!((intended.len(), samples.len()), (16, 16), "{samples:?}");
    assert!(samples.iter().all(|sample| !is_good(sample)), "{samples:?}");
    assert!(samples.iter().any(|sample| sample.sent > first.sent && sample.sent < first.done), "none overlaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_looks_use_a_kept_connection() {
    let server = Server::start().await;
    let mut sampling = sampling(&server, 20);
    for _ in 0..60 {
        sampling.next().await;
    }
    sampling.end().await;
    let (connections, requests) = (server.connections.load(Ordering::Relaxed), *server.requests.borrow());
    assert!(requests >= 20, "{requests} requests are too few to tell");
    let share = connections as f64 / requests as f64;
    assert!((0.35..0.75).contains(&share), "{connections} connections for {requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_was_closed_meanwhile_says_nothing() {
    let server = Server::start().await;
    server.mode.send_replace(Mode::ClosesAfterwards);
    let mut sampling = sampling(&server, 50);
    for _ in 0..20 {
        let sample = sampling.next_punctual().await;
        assert!(is_good(&sample), "{sample:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_zero_stops_and_another_one_goes_on() {
    let server = Server::start().await;
    let mut sampling = sampling(&server, 50);
    sampling.until(is_good).await;
    sampling.rate.send_replace(Rate { factor: 0.0, ..Rate::full() });
    let stopped = sampling.clock.now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let resumed = sampling.clock.now();
    sampling.rate.send_replace(Rate::full());
    let samples = sampling.until(|sample| is_good(sample) && sample.intended >= resumed).await;
    // The sampler hears of it a moment later.
    let grace = later(stopped, 150);
    let between: Vec<&Sample> =
        samples.iter().filter(|sample| sample.intended > grace && sample.intended < resumed).collect();
    assert!(between.is_empty(), "{between:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_at_the_end_is_missing() {
    let server = Server::start().await;
    let mut sampling = sampling(&server, 100);
    sampling.until(is_good).await;
    server.mode.send_replace(Mode::Hangs);
    let before = *server.requests.borrow();
    server.requests.subscribe().wait_for(|requests| *requests > before).await.unwrap();
    let (_, rest) = sampling.end().await;
    let open = rest.iter().filter(|sample| reason(sample).starts_with("observing ended"));
    assert!(open.clone().count() >= 1, "{rest:?}");
    assert!(open.clone().all(|sample| matches!(sample.seen, Seen::Missing { .. })));
}
