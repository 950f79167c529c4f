//! `heal`: put right what dead runs left broken.

use std::process::ExitCode;

use harness::heal;
use harness::verdict::Exit;
use serde_json::json;

use crate::fail::Failure;
use crate::{Output, Shared, say};

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut healed, mut left) = (Vec::new(), Vec::new());
    for ledger in ledgers {
        if command.dry_run {
            left.push(ledger);
            continue;
        }
        match runtime.block_on(heal::heal_dead_run(&ledger)).map_err(incomplete)? {
            Some(lines) => {
                if shared.output == Output::Human {
                    lines.iter().try_for_each(|line| say::result(format!("healed: {line}")))?;
                }
                healed.extend(lines);
            }
            None => left.push(ledger),
        }
    }
    match shared.output {
        Output::Json => say::result(json!({ "healed": healed, "left": left }))?,
        Output::Human => {
            for ledger in &left {
                let ledger = ledger.display();
                match command.dry_run {
                    true => say::result(format!("would heal from {ledger}"))?,
                    false => say::result(format!("left alone: {ledger} (its run, or another healer, is at work)"))?,
                }
            }
            if healed.is_empty() && left.is_empty() && !shared.quiet {
                say::result("nothing to heal: no dead run left a fault open")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn incomplete(error: heal::HealError) -> Failure {
    Failure::of(Exit::CleanUpIncomplete, &error).hint(
        "the ledger stays under $XDG_STATE_HOME/gameday/runs; run `cargo xtask heal` again when the cluster answers",
    )
}
