//! Judging a rollout: our own promise is that it loses no request and no socket.

use std::time::Duration;

use super::Verdict;
use crate::event::Offset;
use crate::outcome::rollout::{RolloutOutcome, Traffic};

/// Judges a rollout by the traffic that was there during it.
///
/// Whatever was lost from the first write on breaks the promise. Nothing lost keeps it only
/// where everything was counted: traffic flowed before the first write, went on without a hole
/// until the last old pod was gone and a margin longer, and had every socket open at its end.
#[must_use]
pub fn judge_rollout(rollout: &RolloutOutcome) -> Verdict {
    let from = rollout.writing.unwrap_or(Offset::MAX);
    let lost: Vec<String> = rollout.traffic.iter().filter_map(|traffic| lost(traffic, from)).collect();
    if !lost.is_empty() {
        return Verdict::Fail { why: lost.join("; ") };
    }
    if rollout.settled.is_none() {
        return Verdict::Inconclusive { why: "the rollout was not followed to its end".to_owned() };
    }
    if rollout.ended.is_none() {
        return Verdict::Inconclusive { why: "the traffic was broken off".to_owned() };
    }
    match rollout.traffic.iter().find_map(|traffic| uncounted(traffic, rollout)) {
        Some(why) => Verdict::Inconclusive { why },
        None => Verdict::Pass,
    }
}

fn lost(traffic: &Traffic, from: Offset) -> Option<String> {
    let (_, (requests, sockets)) = traffic.lost_until_and_from(from);
    let total = requests + traffic.good();
    let parts = [
        (requests > 0).then(|| format!("{requests} of {total} requests")),
        (sockets > 0).then(|| format!("a socket {sockets} times, of {} that were held", traffic.facts.sockets)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("service {} lost {}", traffic.facts.service, parts.join(" and ")))
}

/// Why a traffic that saw no loss does not show that there was none.
fn uncounted(traffic: &Traffic, rollout: &RolloutOutcome) -> Option<String> {
    let service = &traffic.facts.service;
    if let Some(reason) = &traffic.unmeasured {
        return Some(format!("service {service}: {reason}"));
    }
    let (flows, writing) = (traffic.flows, rollout.writing);
    if flows.is_none() || flows > writing {
        return Some(format!("service {service}: traffic was not seen to flow before the first write"));
    }
    let (before, _) = traffic.lost_until_and_from(writing.unwrap_or(Offset::MAX));
    if before != (0, 0) {
        return Some(format!("service {service}: {} requests were lost before the rollout began", before.0));
    }
    if let Some(hole) = traffic.hole() {
        return Some(format!("service {service}: nobody counted what happened from {hole} on"));
    }
    match traffic.missing() {
        0 => {}
        missing => return Some(format!("service {service}: {missing} requests could not be sent")),
    }
    let settled = rollout.settled.unwrap_or(Offset::MAX);
    let after = traffic.seconds.iter().filter(|second| second.from + Duration::from_secs(1) >= settled);
    if after.map(|second| second.requests_good).sum::<u32>() == 0 {
        return Some(format!("service {service}: no request was good after the last old pod was gone"));
    }
    let open = traffic.seconds.last().map_or(0, |second| second.sockets_open);
    (open < traffic.facts.sockets)
        .then(|| format!("service {service}: {open} of {} sockets were open at the end", traffic.facts.sockets))
}
