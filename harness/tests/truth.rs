//! The truth lies inside the interval. Started with `serve`, this program is the process
//! that tells the truth; `cargo bench --bench truth` makes a thousand trials of it.

use harness::sample::truth::{self, Program};

const TRIALS: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return truth::serve().expect("the port and the pipes work");
    }
    // A filter for other tests, or a listing.
    let is_meant = |argument: &String| argument.starts_with('-') || "truth_lies_inside_the_interval".contains(argument);
    if arguments.iter().any(|argument| argument == "--list") || !arguments.iter().all(is_meant) {
        return;
    }
    let path = std::env::current_exe().expect("this program has a path");
    let program = Program { path, arguments: vec!["serve".to_owned()] };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let truth = runtime.block_on(truth::measure(&program, TRIALS, 1, 1)).unwrap_or_else(|error| panic!("{error}"));
    let misses: Vec<_> = truth.trials.iter().filter(|trial| !trial.holds()).collect();
    assert!(misses.is_empty(), "{misses:#?}");
    assert_eq!(truth.held(), TRIALS);
    println!("truth_lies_inside_the_interval: {TRIALS} of {TRIALS}; {}", truth.punctuality[0].note());
}
