//! The live display: what is happening, on standard error.

use std::io::IsTerminal as _;

use harness::event::{Ended, Event, Phase, StageResult, What};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{Shared, say};

/// Shows events: a moving line on a terminal, plain lines elsewhere.
pub(crate) struct Live {
    bar: Option<ProgressBar>,
    quiet: bool,
    verbose: bool,
    groups: bool,
}

impl Live {
    pub(crate) fn new(shared: &Shared) -> Self {
        let moves = !shared.quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        let bar = moves.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is valid");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        let groups = std::env::var_os("GITHUB_ACTIONS").is_some();
        Self { bar, quiet: shared.quiet, verbose: shared.verbose, groups }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        if let (Some(bar), Some(doing)) = (&self.bar, doing(event)) {
            bar.set_message(doing);
        }
        if self.quiet {
            return;
        }
        if self.groups && matches!(event.what, What::ScenarioStarted(_) | What::StageStarted { .. }) {
            self.line(&format!("::group::{}", doing(event).unwrap_or_default()));
        }
        match told(event) {
            Some(line) => self.line(&format!("{:>9}  {line}", event.at.to_string())),
            None if self.verbose => {
                self.line(&format!(
                    "{:>9}  {}",
                    event.at.to_string(),
                    serde_json::to_string(&event.what).unwrap_or_default()
                ));
            }
            None => {}
        }
        if self.groups && matches!(event.what, What::ScenarioEnded(_) | What::StageFinished { .. }) {
            self.line("::endgroup::");
        }
    }

    /// Removes the moving line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say::narrative(line)),
            None => say::narrative(line),
        }
    }
}

/// What the moving line says from this event on.
fn doing(event: &Event) -> Option<String> {
    let scenario = event.scenario.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
    match &event.what {
        What::StageStarted { stage } => Some(stage.clone()),
        What::ScenarioStarted(plan) => Some(format!("{}: {}", plan.id, plan.title)),
        What::PhaseEntered(phase) => Some(format!("{scenario}{}", phase_words(*phase))),
        _ => None,
    }
}

/// The line that stays, where the event deserves one.
fn told(event: &Event) -> Option<String> {
    let scenario = event.scenario.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
    let line = match &event.what {
        What::RunStarted(facts) => format!("run {} (seed {}, profile {})", facts.run, facts.seed, facts.profile),
        What::ClusterReady(facts) => {
            format!("cluster {} at {}, namespace {}, {}", facts.name, facts.server, facts.namespace, facts.version)
        }
        What::StageStarted { .. } => return None,
        What::StageFinished { stage, result, facts } => {
            let facts: String = facts.iter().map(|fact| format!("\n             {fact}")).collect();
            format!("{stage}: {}{facts}", result_words(result))
        }
        What::ScenarioStarted(plan) => format!("{}: {}", plan.id, plan.title),
        What::PhaseEntered(phase) => format!("{scenario}{}", phase_words(*phase)),
        What::FaultSent => format!("{scenario}fault sent"),
        What::FaultFailed { error } => format!("{scenario}injection failed: {error}"),
        What::StepSent { step } => format!("{scenario}remedy step {} sent", step + 1),
        What::StepFailed { step, error } => format!("{scenario}remedy step {} failed: {error}", step + 1),
        What::Healed { facts } if facts.is_empty() => format!("{scenario}healed: nothing was left to undo"),
        What::Healed { facts } => format!("{scenario}healed: {}", facts.join("; ")),
        What::HealFailed { error } => format!("{scenario}not healed: {error}"),
        What::Note { text } => format!("{scenario}{text}"),
        What::BaselineCompared(baseline) => match &baseline.effect {
            Some(effect) => format!("{scenario}observer effect: {effect}"),
            None => return None,
        },
        What::ScenarioEnded(ended) => match ended {
            Ended::Completed => format!("{scenario}done"),
            Ended::Broken { reason } => format!("{scenario}broken off: {reason}"),
            Ended::Cancelled => format!("{scenario}cancelled"),
        },
        What::Evidence { .. }
        | What::PodSeen(_)
        | What::PodGone { .. }
        | What::SamplingAt { .. }
        | What::Sample(_)
        | What::Load(_)
        | What::FaultPrepared { .. }
        | What::FaultDone
        | What::StepDone { .. }
        | What::HealSent
        | What::RunEnded { .. } => return None,
    };
    Some(line)
}

fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Settling => "waiting for the steady state",
        Phase::Baseline => "comparing the system with and without our sampling",
        Phase::Steady => "steady state, sampled",
        Phase::Fault => "fault",
        Phase::Remedy => "remedy",
        Phase::Healing => "healing",
    }
}

fn result_words(result: &StageResult) -> String {
    match result {
        StageResult::Done => "done".to_owned(),
        StageResult::Failed { error } => format!("failed: {error}"),
        StageResult::RolledBack { reason } => format!("bad release, rolled back: {reason}"),
        StageResult::RollbackFailed { error } => format!("bad release, and rolling back failed: {error}"),
        StageResult::Cancelled => "cancelled".to_owned(),
    }
}
