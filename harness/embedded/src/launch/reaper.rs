//! PID 1 of the cluster's namespaces: runs the cluster, collects orphans, and ends with it.

use std::process::{Command, ExitCode};

use rustix::process::WaitOptions;

/// Runs until the cluster process ends; with PID 1 the kernel then ends everything else.
pub(super) fn main() -> ExitCode {
    // The cluster cannot collect orphans itself: it would take away the exit statuses of
    // children it waits for.
    let child = match Command::new("/proc/self/exe").args(["embedded-cluster", "cluster"]).spawn() {
        Ok(child) => child.id(),
        Err(error) => {
            eprintln!("failed to start the cluster's process: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_nonzero().get()) == Ok(child) => {
                let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
                return ExitCode::from(code.unwrap_or(1));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                eprintln!("failed to wait for the cluster's process: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}
