//! `soak`: what is installed, watched under load for a while.

use std::process::ExitCode;
use std::time::Duration;

use harness::clock::RunClock;
use harness::config::Config;
use harness::duration;
use harness::pipeline;
use harness::report::{self, SoakReport};
use harness::soak::SoakPlan;
use harness::verdict::{Exit, Verdict};

use crate::fail::Failure;
use crate::gate::Where;
use crate::release::{standing, with_stages};
use crate::{Output, Shared, say};

/// Watch what is installed under load, against the runbook's key metrics.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    place: Where,
    /// For how long; as gate.toml says where absent.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    length: Option<Duration>,
}

/// The plan of gate.toml, of another length where one is given.
pub(crate) fn plan(config: &Config, length: Option<Duration>) -> Result<SoakPlan, Failure> {
    let missing = || Failure::new(Exit::Usage, "gate.toml does not say how to soak").hint("add a [soak] to it");
    let mut plan = config.soak.clone().ok_or_else(missing)?;
    if let Some(length) = length {
        plan = plan.lasting(length);
    }
    match plan.wrong() {
        Some(message) => Err(Failure::new(Exit::Usage, message)),
        None => Ok(plan),
    }
}

pub(crate) fn soak(command: &Soak, shared: &Shared) -> anyhow::Result<ExitCode> {
    let soaked = with_stages(shared, async |config, cancel, sink| {
        let plan = plan(config, command.length)?;
        let standing = standing(&command.place, config, sink).await?;
        Ok(pipeline::soak(&plan, standing.cluster(), RunClock::start(), cancel, sink).await?)
    })?;
    let told = SoakReport::of(&soaked);
    match shared.output {
        Output::Json => say::result(serde_json::to_string_pretty(&told)?)?,
        Output::Human => say::result(report::soak_text(&told).trim())?,
    }
    let exit = match soaked.verdict() {
        Verdict::Pass => Exit::Pass,
        Verdict::Inconclusive { .. } => Exit::Inconclusive,
        Verdict::Fail { .. } => Exit::GateFailed,
    };
    Ok(exit.into())
}
