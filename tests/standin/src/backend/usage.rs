//! How much memory and CPU this process uses, of what it may use.
//!
//! In a container that is the cgroup's account against the cgroup's limit. Where no
//! cgroup can be read it is the process's own account, against the limits that the container
//! was told of, or else against the whole machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A CPU figure is the mean over at least this long: over less it would be noise.
const CPU_WINDOW: Duration = Duration::from_secs(1);

/// Reads memory and CPU usage.
pub(crate) struct Usage {
    cgroup: Option<PathBuf>,
    /// Bytes that the container may use, as it was told.
    memory_limit: Option<u64>,
    /// How many CPUs this process may use at once.
    cpus: f64,
    cpu: Mutex<CpuMark>,
}

struct CpuMark {
    at: Instant,
    used: Duration,
    percent: f64,
}

impl Usage {
    /// `memory_limit` in bytes and `cpu_limit` in thousandths of a CPU are what the container was
    /// told of its limits.
    pub(crate) fn new(memory_limit: Option<u64>, cpu_limit: Option<u32>) -> Self {
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| cgroup_directory(&text));
        let quota = cgroup
            .as_deref()
            .and_then(|directory| fs::read_to_string(directory.join("cpu.max")).ok())
            .and_then(|text| cpu_quota(&text))
            .or(cpu_limit.map(|thousandths| f64::from(thousandths) / 1000.0));
        let machine = std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64);
        let mark = CpuMark { at: Instant::now(), used: cpu_used(), percent: 0.0 };
        Self { cgroup, memory_limit, cpus: quota.unwrap_or(machine), cpu: Mutex::new(mark) }
    }

    /// Percent of the memory limit that is in use; 0 where nothing can be read.
    pub(crate) fn memory_percent(&self) -> f64 {
        let machine = || fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemTotal:"));
        let whole = self.memory_limit.or_else(machine);
        let in_cgroup = self.cgroup.as_deref().and_then(memory_of_cgroup);
        let used_and_limit = match in_cgroup {
            Some((used, limit)) => limit.or(whole).map(|limit| (used, limit)),
            None => fs::read_to_string("/proc/self/status").ok().and_then(|text| kibibytes(&text, "VmRSS:")).zip(whole),
        };
        used_and_limit.map_or(0.0, |(used, limit)| percent(used as f64, limit as f64))
    }

    /// Percent of the CPU time that this process may use, over the last second or more.
    pub(crate) fn cpu_percent(&self) -> f64 {
        let mut mark = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = mark.at.elapsed();
        if elapsed >= CPU_WINDOW {
            let used = cpu_used();
            let percent = percent((used - mark.used).as_secs_f64(), elapsed.as_secs_f64() * self.cpus);
            *mark = CpuMark { at: Instant::now(), used, percent };
        }
        mark.percent
    }
}

/// Bytes in use, and the limit where there is one; `None` without a readable cgroup.
fn memory_of_cgroup(directory: &Path) -> Option<(u64, Option<u64>)> {
    let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
    let current = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let limit = read("memory.max").and_then(|text| text.trim().parse().ok());
    Some((working_set(current, &stat), limit))
}

/// What the kubelet calls the working set: page cache that can be dropped does not count.
fn working_set(current: u64, stat: &str) -> u64 {
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")).and_then(|text| text.parse().ok());
    current.saturating_sub(inactive.unwrap_or(0))
}

/// The directory of this process's cgroup (version 2).
fn cgroup_directory(proc_self_cgroup: &str) -> Option<PathBuf> {
    let path = proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

/// CPUs that `cpu.max` allows; `None` for `max`.
fn cpu_quota(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

/// Bytes on the line of a `/proc` file that begins with `name` and counts in kB.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 1000.0).round() / 10.0 } else { 0.0 }
}

fn cpu_used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(cgroup_directory("0::/\n"), Some("/sys/fs/cgroup".into()));
        assert_eq!(cgroup_directory("1:cpu:/x\n0::/a/b\n"), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(cgroup_directory("1:cpu:/x\n"), None);
        assert_eq!(cpu_quota("50000 100000\n"), Some(0.5));
        assert_eq!(cpu_quota("max 100000\n"), None);
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2 << 20));
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), None);
        assert_eq!(working_set(100, "file 50\ninactive_file 30\n"), 70);
        assert_eq!(working_set(100, ""), 100);
        assert_eq!(working_set(10, "inactive_file 30\n"), 0);
    }

    #[test]
    fn a_live_process_uses_some_memory_but_not_all() {
        let percent = Usage::new(None, None).memory_percent();
        assert!((0.0..=100.0).contains(&percent), "{percent}");
        let of_one_byte = Usage { cgroup: None, ..Usage::new(Some(1), None) }.memory_percent();
        assert!(of_one_byte > 100.0, "{of_one_byte} % of the limit that it was told");
    }
}
