//! The pre-deployment checklist as a stage: gathers what is known, judges it, and stops a
//! deployment that it does not allow.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::evidence;
use crate::checklist::{Checked, Known, Waiver, judge};
use crate::clock::wall_clock;
use crate::cluster::Cluster;
use crate::config::{Config, Release};
use crate::event::{StageResult, What};
use crate::pipeline::{self, Sink, StageError};

/// What a person says about this deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// That its window was announced: when, and to whom.
    pub announced: Option<String>,
    /// What need not be passed this time.
    pub waivers: Vec<Waiver>,
}

/// The checklist does not allow a deployment.
#[derive(Debug, thiserror::Error)]
pub enum ChecklistError {
    /// These items are not passed.
    #[error("{}", lacking(.0))]
    Lacking(Vec<Checked>),
    /// The user stopped it.
    #[error("go through the checklist: cancelled")]
    Cancelled,
}

impl StageError for ChecklistError {
    fn result(&self) -> StageResult {
        match self {
            Self::Lacking(_) => StageResult::Failed { error: self.to_string() },
            Self::Cancelled => StageResult::Cancelled,
        }
    }

    fn facts(&self) -> Vec<String> {
        match self {
            Self::Lacking(checked) => lines(checked),
            Self::Cancelled => Vec::new(),
        }
    }
}

/// Goes through the checklist. `images` is where the embedded cluster pulls from.
///
/// # Errors
/// [`ChecklistError`]; the sink has every item all the same.
pub async fn go_through(
    config: &Config,
    cluster: &Cluster,
    images: &Path,
    said: &Said,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Vec<Checked>, ChecklistError> {
    let mut taken = None;
    let work = async {
        let known = cancel.run_until_cancelled(known(config, cluster, images, said));
        let checked = judge(&known.await.ok_or(ChecklistError::Cancelled)?);
        taken = Some(checked.clone());
        match checked.iter().all(|one| one.finding.allows()) {
            true => Ok((checked.clone(), lines(&checked))),
            false => Err(ChecklistError::Lacking(checked)),
        }
    };
    let ended = pipeline::stage("checklist", sink, work).await;
    if let Some(checked) = taken {
        sink(What::ChecklistTaken(checked));
    }
    ended
}

async fn known(config: &Config, cluster: &Cluster, images: &Path, said: &Said) -> Known {
    let checklist = &config.checklist;
    Known {
        now: wall_clock(),
        source: evidence::source(&config.root),
        version: config.release_version(Release::Current).to_owned(),
        tests: evidence::read(&evidence::tests(&checklist.evidence)),
        smoke: evidence::read(&evidence::smoke(&checklist.evidence)),
        staging: checklist.smoke_on.clone(),
        backup: evidence::read(&evidence::backup(&checklist.evidence)),
        backup_age_max: checklist.backup_age_max,
        way_back: pipeline::way_back(config, cluster, images).await,
        announced: said.announced.clone(),
        waivers: said.waivers.clone(),
    }
}

fn lines(checked: &[Checked]) -> Vec<String> {
    checked.iter().map(ToString::to_string).collect()
}

fn lacking(checked: &[Checked]) -> String {
    let names = checked.iter().filter(|one| !one.finding.allows()).map(|one| one.item.name());
    let names: Vec<&str> = names.collect();
    format!("{} of {} items of the checklist are not passed: {}", names.len(), checked.len(), names.join(", "))
}
