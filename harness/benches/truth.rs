//! A thousand outages of a process that logs its own truth, and how punctual the sampler was
//! meanwhile. `TRIALS=50` makes fewer.
//!
//! Not criterion's: what counts is that every trial holds, and a 99th percentile.

use harness::sample::truth::{self, Outage, Program, SLOW, SPACING};

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
    let truth = runtime.block_on(truth::measure(&program, trials, 1)).unwrap_or_else(|error| panic!("{error}"));
    println!("truth inside the interval: {} of {} ({} void)", truth.held(), truth.trials.len(), truth.void);
    for miss in truth.trials.iter().filter(|trial| !trial.holds()) {
        println!("  missed: {miss:?}");
    }
    for outage in [Outage::Refuses, Outage::Hangs] {
        let width = truth.width_p99(outage).as_secs_f64() * 1000.0;
        println!("interval width p99, {outage:?}: {width:.1} ms (spacing {SPACING:?}, slow {SLOW:?})");
    }
    println!("{}", truth.punctuality.note());
}
