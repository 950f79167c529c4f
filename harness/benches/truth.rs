//! A thousand outages of processes that log their own truth, and how punctual the samplers
//! were meanwhile. Four processes fail side by side, each watched by a sampler and folded on
//! its own: some three minutes in all. `TRIALS=50` makes fewer.
//!
//! Not criterion's: what counts is that every trial holds, and a 99th percentile.

use std::time::Duration;

use harness::sample::truth::{self, Outage, Program, SLOW, SPACING, Truth};

/// Processes that fail at the same time: more would make a machine of two cores stand still.
const PROCESSES: usize = 4;
/// An interval may be as wide as this where connections are refused, and `slow` wider where
/// the process hangs.
const WIDTH_MAX: Duration = Duration::from_millis(50);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return truth::serve().expect("the port and the pipes work");
    }
    let wanted = std::env::var("TRIALS").ok().and_then(|text| text.parse().ok());
    // `cargo test --benches` only wants to know that it runs.
    let trials = if arguments.iter().any(|argument| argument == "--bench") { wanted.unwrap_or(1000) } else { 4 };
    let path = std::env::current_exe().expect("this program has a path");
    let program = Program { path, arguments: vec!["serve".to_owned()] };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let measured = runtime.block_on(truth::measure(&program, trials, PROCESSES, 1));
    print(&measured.unwrap_or_else(|error| panic!("{error}")));
}

fn print(truth: &Truth) {
    println!("truth inside the interval: {} of {} ({} void)", truth.held(), truth.trials.len(), truth.void);
    for miss in truth.trials.iter().filter(|trial| !trial.holds()) {
        println!("  missed: {miss:?}");
    }
    for (outage, most) in [(Outage::Refuses, WIDTH_MAX), (Outage::Hangs, SLOW + WIDTH_MAX)] {
        let width = truth.width_p99(outage);
        let judged = if width <= most { "within" } else { "OVER" };
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "interval width p99, {outage:?}: {:.1} ms, {judged} {:.0} ms (spacing {SPACING:?}, slow {SLOW:?})",
            millis(width),
            millis(most),
        );
    }
    for (process, punctuality) in truth.punctuality.iter().enumerate() {
        println!("process {process}: {}", punctuality.note());
    }
}
