//! The stand-in: a small, honest service with the outside surface of HSC-JIT v3.
//!
//! One static program plays three parts, each a pod of its own: the `backend` that is
//! rehearsed on, the `frontend` with its page, and `outside`, the double of everything
//! that lives beyond the cluster (the Gemini API and the makers' web sites).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::log::Log;
use crate::serve::Terminate;

mod backend;
mod frontend;
mod log;
mod outside;
mod serve;

#[derive(Parser)]
#[command(name = "standin", about = "Stand-in for HSC-JIT v3", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// HTTP and WebSocket service that answers questions from manuals
    Backend(Box<backend::Options>),
    /// The web page
    Frontend(frontend::Options),
    /// Double of the Gemini API and of the makers' web sites
    Outside(outside::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = Log::new(match cli.part {
        Part::Backend(_) => "hsc-jit-backend",
        Part::Frontend(_) => "hsc-jit-frontend",
        Part::Outside(_) => "hsc-jit-outside",
    });
    // One thread, because the original is one event loop: a call that holds the loop
    // holds everything, and a rehearsal must be able to see that.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(log, &format!("start the runtime: {error}")),
    };
    let result = runtime.block_on(async {
        // First of all: PID 1 of a container ignores signals that it has no handler for.
        let terminate = Terminate::listen().map_err(|error| format!("listen for signals: {error}"))?;
        match cli.part {
            Part::Backend(options) => backend::run(*options, terminate, log).await,
            Part::Frontend(options) => frontend::run(options, terminate, log).await,
            Part::Outside(options) => outside::run(options, terminate, log).await,
        }
    });
    // A name look-up may still sit in the blocking pool; the exit must not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(log, &error),
    }
}

fn failed(log: Log, error: &str) -> ExitCode {
    log.error("main", &format!("failed to {error}"), &[]);
    ExitCode::FAILURE
}
