//! `heal`: put right what dead runs left broken.

use std::process::ExitCode;

use harness::heal;
use harness::verdict::Exit;

use crate::Shared;
use crate::fail::Failure;

/// Put right what dead runs left broken.
#[derive(Debug, clap::Args)]
pub(crate) struct Heal {
    /// Only say what would be healed.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn heal(command: &Heal, shared: &Shared) -> anyhow::Result<ExitCode> {
    let state = heal::state_directory().map_err(incomplete)?;
    let ledgers = heal::orphans(&state).map_err(incomplete)?;
    if ledgers.is_empty() && !shared.quiet {
        println!("nothing to heal: no dead run left a fault open");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for ledger in ledgers {
        if command.dry_run {
            println!("would heal from {}", ledger.display());
            continue;
        }
        match runtime.block_on(heal::heal_dead_run(&ledger)).map_err(incomplete)? {
            Some(lines) => lines.iter().for_each(|line| println!("healed: {line}")),
            None => println!("left alone: {} (its run, or another healer, is at work)", ledger.display()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn incomplete(error: heal::HealError) -> Failure {
    Failure::of(Exit::CleanUpIncomplete, &error).hint(
        "the ledger stays under $XDG_STATE_HOME/gameday/runs; run `cargo xtask heal` again when the cluster answers",
    )
}
