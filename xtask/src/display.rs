//! The live display: what is happening, on standard error.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use harness::event::{Ended, Event, Phase, RolloutStep, StageResult, What};
use harness::scenario::plan::ScenarioId;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{Shared, say};

/// How often a moving line moves.
const TICK: Duration = Duration::from_millis(120);

/// Shows events: moving lines on a terminal, plain lines elsewhere.
pub(crate) struct Live {
    bars: Option<Bars>,
    quiet: bool,
    verbose: bool,
    groups: Option<Groups>,
}

impl Live {
    pub(crate) fn new(shared: &Shared) -> Self {
        let moves = !shared.quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        Self {
            bars: moves.then(Bars::new),
            quiet: shared.quiet,
            verbose: shared.verbose,
            groups: std::env::var_os("GITHUB_ACTIONS").map(|_| Groups::default()),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        if let Some(bars) = &mut self.bars {
            bars.show(event);
        }
        if self.quiet {
            return;
        }
        if let Some(line) = self.groups.as_mut().and_then(|groups| groups.begun(event)) {
            self.line(&line);
        }
        match told(event) {
            Some(line) => self.line(&format!("{:>9}  {line}", event.at.to_string())),
            None if self.verbose => {
                let scenario = event.scenario.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
                let what = serde_json::to_string(&event.what).unwrap_or_default();
                self.line(&format!("{:>9}  {scenario}{what}", event.at.to_string()));
            }
            None => {}
        }
        if self.groups.as_mut().is_some_and(|groups| groups.is_ended(event)) {
            self.line("::endgroup::");
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| say::narrative(line)),
            None => say::narrative(line),
        }
    }
}

/// One moving line for the run, and one for each scenario that is under way.
struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    scenarios: BTreeMap<ScenarioId, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let run = moving(&all);
        Self { all, run, scenarios: BTreeMap::new() }
    }

    fn show(&mut self, event: &Event) {
        let Some(scenario) = &event.scenario else {
            return doing(event).into_iter().for_each(|doing| self.run.set_message(doing));
        };
        if matches!(event.what, What::ScenarioEnded(_)) {
            if let Some(bar) = self.scenarios.remove(scenario) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            return;
        }
        if let Some(doing) = doing(event) {
            let bar = self.scenarios.entry(scenario.clone()).or_insert_with(|| moving(&self.all));
            bar.set_message(doing);
            self.run.set_message(format!("rehearsing, {} under way", self.scenarios.len()));
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.scenarios.values().chain([&self.run]).for_each(ProgressBar::finish_and_clear);
    }
}

fn moving(all: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is valid");
    let bar = all.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(TICK);
    bar
}

/// Lines that a CI job's log folds together. Groups do not nest there: of what goes on at the
/// same time, what began first has its group, and the lines of the others stand in it.
#[derive(Default)]
struct Groups {
    open: Option<String>,
}

impl Groups {
    /// The line that opens a group, where this event does.
    fn begun(&mut self, event: &Event) -> Option<String> {
        let key = match &event.what {
            What::StageStarted { stage } => stage.clone(),
            What::ScenarioStarted(plan) => plan.id.0.clone(),
            _ => return None,
        };
        if self.open.is_some() {
            return None;
        }
        self.open = Some(key);
        Some(format!("::group::{}", doing(event).unwrap_or_default()))
    }

    /// Whether this event ends the open group.
    fn is_ended(&mut self, event: &Event) -> bool {
        let key = match &event.what {
            What::StageFinished { stage, .. } => Some(stage),
            What::ScenarioEnded(_) => event.scenario.as_ref().map(|id| &id.0),
            _ => None,
        };
        let ends = key.is_some() && key == self.open.as_ref();
        if ends {
            self.open = None;
        }
        ends
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
        What::StageSaid { line, .. } => line.clone(),
        What::StageFinished { stage, result, facts } => {
            let facts: String = facts.iter().map(|fact| format!("\n           - {fact}")).collect();
            format!("{stage}: {}{facts}", result_words(result))
        }
        What::ScenarioStarted(plan) => format!("{}: {}", plan.id, plan.title),
        What::SoakStarted(plan) => format!(
            "soak: for {}, a look every {}",
            harness::duration::text(plan.length),
            harness::duration::text(plan.every)
        ),
        What::LaneTaken(lane) => format!("{scenario}in lane {}, namespace {}", lane.lane, lane.namespace),
        What::ScenarioSkipped { plan, why } => format!("{}: skipped, {why}", plan.id),
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
        What::Rollout(moment) => return rollout_words(&moment.step),
        What::ScenarioEnded(ended) => match ended {
            Ended::Completed => format!("{scenario}done"),
            Ended::Broken { reason } => format!("{scenario}broken off: {reason}"),
            Ended::Cancelled => format!("{scenario}cancelled"),
        },
        What::RulesSet(_)
        | What::ReferenceGiven(_)
        | What::ChecklistTaken(_)
        | What::SoakLooked(_)
        | What::Evidence { .. }
        | What::PodSeen(_)
        | What::PodGone { .. }
        | What::SamplingAt { .. }
        | What::Sample(_)
        | What::Load(_)
        | What::Socket(_)
        | What::FaultPrepared { .. }
        | What::FaultDone
        | What::StepDone { .. }
        | What::HealSent
        | What::Logged(_)
        | What::RunEnded { .. } => return None,
    };
    Some(line)
}

fn rollout_words(step: &RolloutStep) -> Option<String> {
    Some(match step {
        RolloutStep::TrafficFlows { service, requests_good, sockets_open } => {
            format!("traffic to service {service} flows: {requests_good} good requests, {sockets_open} sockets open")
        }
        RolloutStep::Unmeasured { service, reason } => format!("service {service}: {reason}"),
        RolloutStep::RequestLost { service, lost } => {
            format!("service {service} lost a request of {}: {}", lost.intended, lost.reason)
        }
        RolloutStep::Writing => "rolling out".to_owned(),
        RolloutStep::Bad { reason } => format!("bad release: {reason}"),
        RolloutStep::Returning => "going back to what ran before".to_owned(),
        RolloutStep::Settled => "new pods ready, old pods gone".to_owned(),
        RolloutStep::Restored => "what ran before answers as it should".to_owned(),
        RolloutStep::TrafficStarted { .. } | RolloutStep::Second { .. } | RolloutStep::TrafficEnded => return None,
    })
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

#[cfg(test)]
mod tests {
    use harness::event::Offset;
    use harness::scenario::plan::ScenarioId;

    use super::*;

    #[test]
    fn groups_do_not_nest() {
        let event = |scenario: Option<&str>, what| Event {
            at: Offset::ZERO,
            scenario: scenario.map(|id| ScenarioId(id.to_owned())),
            what,
        };
        let begins = |stage: &str| event(None, What::StageStarted { stage: stage.to_owned() });
        let ends = |stage: &str| {
            let (stage, result) = (stage.to_owned(), StageResult::Done);
            event(None, What::StageFinished { stage, result, facts: Vec::new() })
        };
        let mut groups = Groups::default();
        assert_eq!(groups.begun(&begins("deploy")).as_deref(), Some("::group::deploy"));
        assert_eq!(groups.begun(&begins("soak")), None, "one is open");
        assert!(!groups.is_ended(&ends("soak")));
        assert!(!groups.is_ended(&event(Some("deploy/x"), What::ScenarioEnded(Ended::Completed))));
        assert!(groups.is_ended(&ends("deploy")));
        assert!(!groups.is_ended(&ends("deploy")), "it is closed already");
        assert_eq!(groups.begun(&begins("smoke")).as_deref(), Some("::group::smoke"));
    }
}
