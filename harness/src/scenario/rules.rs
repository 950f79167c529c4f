//! What makes a scenario impossible although every field of it is of the right form.

use std::time::Duration;

use super::plan::{CheckName, Proof, Through};
use crate::duration;
use crate::fault::Fault;
use crate::sample::Check;

/// A streak may have gaps of up to three intervals: `hold` must outlast one of them.
const INTERVALS_IN_HOLD_MIN: u32 = 4;

/// What is wrong with what a check looks at.
pub(super) fn check_is_wrong(check: &Check) -> Option<String> {
    let (path, status, pointers): (&str, u16, Vec<&String>) = match check {
        Check::Http(http) => (&http.path, http.status, http.json.keys().collect()),
        Check::Websocket(websocket) => (&websocket.path, 101, Vec::new()),
        Check::Redis(redis) if redis.port == 0 => return Some("no process listens at port 0".to_owned()),
        Check::Redis(_) => return None,
    };
    if !is_path(path) {
        return Some(format!("`{path}` is no path: it starts with `/` and has no spaces"));
    }
    if !(100..600).contains(&status) {
        return Some(format!("{status} is no HTTP status: they go from 100 to 599"));
    }
    let pointer = pointers.into_iter().find(|pointer| !pointer.starts_with('/'))?;
    Some(format!("`{pointer}` is no JSON pointer: write `/{pointer}`"))
}

/// What is wrong with a fault beside what stands between clients and the Service.
pub(super) fn fault_is_wrong(fault: &Fault, through: &Through) -> Option<String> {
    match (fault, through) {
        (Fault::Traffic(_), Through::Direct) => {
            Some("a `traffic` fault needs the fault proxy: add `through: { proxy: {} }`".to_owned())
        }
        (Fault::Traffic(trick), Through::Proxy(_)) => trick.wrong(),
        (Fault::PodSignal(_) | Fault::PodDelete(_) | Fault::Scale(_), _) => None,
    }
}

/// A path as it stands in a request.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(char::is_whitespace)
}

/// What is wrong with `hold` beside the interval of a check that decides about recovery.
pub(super) fn hold_is_wrong(hold: Duration, check: &str, interval: Duration) -> Option<String> {
    let least = interval * INTERVALS_IN_HOLD_MIN;
    (hold < least).then(|| {
        let (hold, interval, least) = (duration::text(hold), duration::text(interval), duration::text(least));
        format!("`hold` ({hold}) holds too few samples of check `{check}`, one every {interval}: at least {least}")
    })
}

/// The checks that a proof names.
pub(super) fn checks_of(proof: &Proof) -> Vec<&CheckName> {
    match proof {
        Proof::CheckFailed(name) | Proof::ValueChanged(name) => vec![name],
        Proof::AnyOf(all) => all.iter().flat_map(checks_of).collect(),
        Proof::PodReplaced(_) | Proof::ContainerReplaced(_) | Proof::PodGone(_) => Vec::new(),
    }
}

/// Whether the proof, or a part of it, is a choice among nothing.
pub(super) fn has_empty_choice(proof: &Proof) -> bool {
    match proof {
        Proof::AnyOf(all) => all.is_empty() || all.iter().any(has_empty_choice),
        Proof::PodReplaced(_)
        | Proof::ContainerReplaced(_)
        | Proof::PodGone(_)
        | Proof::CheckFailed(_)
        | Proof::ValueChanged(_) => false,
    }
}
