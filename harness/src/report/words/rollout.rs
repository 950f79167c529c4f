//! Sentences about rollouts.

use crate::report::rollout::{BadReport, LostReport, RolloutReport, TrafficReport};

/// Our own promise: no runbook makes it.
const PROMISE: &str = "a rolling update loses no request and no socket";
const SOURCE: &str = "our own promise";
const BUDGET: &str = "none lost";

/// The promise, or that there was nothing to judge.
pub(in crate::report) fn rollout_title(rollout: &RolloutReport) -> &'static str {
    if rollout.verdict.is_some() { PROMISE } else { "not judged, since nothing served before" }
}

/// Promise, source, budget, what was measured, and that nothing is detected, for a table.
pub(in crate::report) fn rollout_cells(rollout: &RolloutReport) -> [String; 5] {
    [PROMISE.to_owned(), SOURCE.to_owned(), BUDGET.to_owned(), measured(rollout), "–".to_owned()]
}

/// Why a rollout was judged as it was.
pub(in crate::report) fn rollout_because(rollout: &RolloutReport) -> String {
    let why = rollout.verdict.as_ref().and_then(|verdict| verdict.why.clone());
    why.unwrap_or_else(|| measured(rollout))
}

/// One rollout in one line, for the end of a report.
pub(in crate::report) fn rollout_summary(rollout: &RolloutReport) -> String {
    format!("{}: {}", rollout.id, rollout_because(rollout))
}

/// One labelled line after the other: everything known about a rollout.
pub(in crate::report) fn rollout_details(rollout: &RolloutReport) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if rollout.verdict.is_some() {
        lines.push(("because", rollout_because(rollout)));
    }
    lines.extend(rollout.traffic.iter().map(|one| ("traffic", traffic(one))));
    lines.push(("time", times(rollout)));
    lines.extend(rollout.bad.iter().map(|one| ("bad", bad(one))));
    lines.extend(rollout.lost.iter().map(|one| ("lost", lost(one))));
    let all: u64 = rollout.traffic.iter().map(|traffic| traffic.requests_lost).sum();
    let more = all.saturating_sub(rollout.lost.len() as u64);
    if more > 0 {
        lines.push(("lost", format!("and {more} more requests")));
    }
    lines
}

fn measured(rollout: &RolloutReport) -> String {
    let sum = |of: fn(&TrafficReport) -> u64| rollout.traffic.iter().map(of).sum::<u64>();
    let (good, lost) = (sum(|traffic| traffic.requests_good), sum(|traffic| traffic.requests_lost));
    let (sockets, cut) = (sum(|traffic| u64::from(traffic.sockets)), sum(|traffic| traffic.sockets_lost));
    match (lost, cut) {
        (0, 0) => format!("0 of {good} requests and 0 of {sockets} sockets lost"),
        _ => format!("{lost} of {} requests lost, a socket lost {cut} times ({sockets} held)", good + lost),
    }
}

fn traffic(traffic: &TrafficReport) -> String {
    let told = format!(
        "service {}: {} good, {} lost and {} unsent requests at {}/s to {}, a socket lost {} times ({} held), \
         slowest answer {}",
        traffic.service,
        traffic.requests_good,
        traffic.requests_lost,
        traffic.requests_missing,
        traffic.requests_per_second,
        traffic.path,
        traffic.sockets_lost,
        traffic.sockets,
        traffic.latency_max_ms
    );
    match &traffic.unmeasured {
        Some(reason) => format!("{told}; {reason}"),
        None => told,
    }
}

fn times(rollout: &RolloutReport) -> String {
    let moments = [
        ("traffic from", rollout.started_ms),
        ("flowing at", rollout.flows_ms),
        ("first write at", rollout.writing_ms),
        ("last old pod gone at", rollout.settled_ms),
        ("traffic until", rollout.ended_ms),
    ];
    let known = moments.into_iter().filter_map(|(what, at)| Some(format!("{what} {}", at?)));
    known.collect::<Vec<_>>().join(", ")
}

fn bad(bad: &BadReport) -> String {
    let steps = [
        ("first write of the way back", bad.returning_after_ms),
        ("previous pods ready and bad ones gone", bad.settled_after_ms),
        ("previous release proven", bad.restored_after_ms),
    ];
    let steps = steps.into_iter().map(|(what, after)| match after {
        Some(after) => format!("{what} {after} later"),
        None => format!("{what}: never"),
    });
    format!("{} (seen at {}); {}", bad.reason, bad.at_ms, steps.collect::<Vec<_>>().join(", "))
}

fn lost(lost: &LostReport) -> String {
    let connection = if lost.fresh { "a fresh" } else { "a kept-alive" };
    let told =
        format!("at {} through service {}, on {connection} connection: {}", lost.at_ms, lost.service, lost.reason);
    match lost.ending.as_slice() {
        [] => told,
        pods => format!("{told}; ending then: {}", pods.join(", ")),
    }
}
