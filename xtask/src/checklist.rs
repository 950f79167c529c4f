//! `checklist`: the runbook's pre-deployment checklist, shown and enforced.

use std::path::PathBuf;
use std::process::ExitCode;

use harness::checklist::Waiver;
use harness::config::Config;
use harness::run::checklist::{self, ChecklistError, Said};

use crate::gate::Where;
use crate::release::{IMAGES, standing, with_stages};
use crate::{Output, Shared, say};

/// Go through the pre-deployment checklist.
#[derive(Debug, clap::Args)]
pub(crate) struct Checklist {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    words: Words,
}

/// What a person says about a deployment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Words {
    /// Says that the deployment window was announced: when, and to whom. The report keeps it.
    #[arg(long, value_name = "WORDS")]
    announced: Option<String>,
    /// An item of the checklist that need not be passed this time, and why. The report shows it.
    #[arg(long, value_name = "ITEM=REASON")]
    waive: Vec<Waiver>,
    /// Where the evidence is; the directory of gate.toml where absent.
    #[arg(long, env = "GAMEDAY_EVIDENCE", value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,
}

impl Words {
    /// As the harness takes them.
    pub(crate) fn said(&self) -> Said {
        Said { announced: self.announced.clone(), waivers: self.waive.clone() }
    }

    /// The configuration, with the evidence where it was said to be.
    pub(crate) fn applied(&self, mut config: Config) -> Config {
        if let Some(evidence) = &self.evidence {
            config.checklist.evidence.clone_from(evidence);
        }
        config
    }
}

pub(crate) fn checklist(command: &Checklist, shared: &Shared) -> anyhow::Result<ExitCode> {
    let images = std::path::absolute(IMAGES)?;
    let gone_through = with_stages(shared, async |config, cancel, sink| {
        let config = command.words.applied(config.clone());
        let standing = standing(&command.place, &config, sink).await?;
        let said = command.words.said();
        match checklist::go_through(&config, standing.cluster(), &images, &said, cancel, sink).await {
            Ok(checked) => Ok((checked, None)),
            Err(ChecklistError::Lacking(checked)) => {
                let error = ChecklistError::Lacking(checked.clone());
                Ok((checked, Some(error)))
            }
            Err(error) => Err(error.into()),
        }
    })?;
    let (checked, lacking) = gone_through;
    match shared.output {
        Output::Json => say::result(serde_json::to_string_pretty(&checked)?)?,
        Output::Human => {
            for one in &checked {
                let sign = if one.finding.allows() { 'x' } else { ' ' };
                say::result(format!("- [{sign}] {}\n      {one}", one.item.says()))?;
            }
        }
    }
    match lacking {
        Some(error) => Err(crate::fail::Failure::from(error).into()),
        None => Ok(ExitCode::SUCCESS),
    }
}
