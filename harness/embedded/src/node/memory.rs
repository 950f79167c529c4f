//! Memory limits without cgroups: the proportional share of memory of all processes of a
//! container is looked at five times a second, and the container killed when it is over.
//!
//! A burst between two looks goes unseen; a kernel would have caught it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Node;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// The limits of running containers.
#[derive(Debug, Default)]
pub(super) struct Limits {
    by_pid: Mutex<BTreeMap<i32, Limit>>,
}

#[derive(Debug, Clone)]
struct Limit {
    bytes: u64,
    exceeded: Arc<AtomicBool>,
}

impl Limits {
    /// Watches the container of this first process; `exceeded` is set before it is killed.
    pub(super) fn add(&self, pid: Pid, bytes: u64, exceeded: Arc<AtomicBool>) {
        super::lock(&self.by_pid).insert(pid.as_raw_nonzero().get(), Limit { bytes, exceeded });
    }

    /// Stops watching it.
    pub(super) fn remove(&self, pid: Pid) {
        super::lock(&self.by_pid).remove(&pid.as_raw_nonzero().get());
    }

    fn snapshot(&self) -> BTreeMap<i32, Limit> {
        super::lock(&self.by_pid).clone()
    }
}

/// Enforces limits until cancelled.
pub(super) async fn run(node: Node, cancel: CancellationToken) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let limits = node.shared.limits.snapshot();
        if limits.is_empty() {
            continue;
        }
        // Reading shares walks page tables; that is no work for a runtime thread.
        let looked = tokio::task::spawn_blocking(move || enforce(&limits)).await;
        if looked.is_err() {
            return;
        }
    }
}

fn enforce(limits: &BTreeMap<i32, Limit>) {
    let members = members(limits.keys().copied());
    for (first, limit) in limits {
        let used: u64 = members.get(first).into_iter().flatten().map(|pid| share(*pid)).sum();
        if used > limit.bytes {
            limit.exceeded.store(true, Ordering::Release);
            if let Some(pid) = Pid::from_raw(*first) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The processes in the PID namespace of each of these first processes.
fn members(firsts: impl Iterator<Item = i32>) -> BTreeMap<i32, Vec<i32>> {
    let by_namespace: BTreeMap<PathBuf, i32> = firsts.filter_map(|first| Some((namespace(first)?, first))).collect();
    let mut members: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid
            && let Some(first) = namespace(pid).and_then(|namespace| by_namespace.get(&namespace))
        {
            members.entry(*first).or_default().push(pid);
        }
    }
    members
}

fn namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Bytes of memory of a process, shared pages divided by their users.
fn share(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    proportional_kib(&text).unwrap_or(0) * 1024
}

fn proportional_kib(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_read() {
        assert_eq!(proportional_kib("00-ff ---p [rollup]\nRss:  900 kB\nPss:   412 kB\nPss_Dirty: 3 kB\n"), Some(412));
        assert_eq!(proportional_kib(""), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(share(own) > 100 * 1024);
        assert!(members(std::iter::once(own))[&own].contains(&own));
    }
}
