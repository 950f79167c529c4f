//! What to do next: a pure function of where the engine is and what is known.

use std::time::Duration;

use super::baseline::{Step, Trial};
use super::bounds;
use crate::duration;
use crate::event::{Ended, Offset, Phase};
use crate::scenario::plan::Plan;

/// Where the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Reading the pods as they are.
    Evidence,
    /// Waiting for the steady state.
    Settling,
    /// Comparing the system with and without our sampling.
    Baseline,
    /// Holding the steady state with sampling on.
    Steady,
    /// Reading the pods once more: the fault's proof is held against this.
    LastLook,
    /// Reading what the fault will need.
    Preparing,
    /// Leaving the receipt in the cluster.
    Keeping,
    /// Sending the fault.
    Injecting,
    /// Watching a broken system.
    Watching,
    /// Carrying out, then watching, a remedy step.
    Remedying(usize),
    /// Putting right what is left of the fault.
    Healing,
    /// Waiting for the steady state after all.
    Subsiding,
}

impl Stage {
    /// The phase that a report shows.
    pub(super) fn phase(self) -> Phase {
        match self {
            Self::Evidence | Self::Settling | Self::Subsiding => Phase::Settling,
            Self::Baseline => Phase::Baseline,
            Self::Steady | Self::LastLook | Self::Preparing | Self::Keeping => Phase::Steady,
            Self::Injecting | Self::Watching => Phase::Fault,
            Self::Remedying(_) => Phase::Remedy,
            Self::Healing => Phase::Healing,
        }
    }
}

/// A call to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Pods,
    Prepare,
    Keep,
    Inject,
    Step(usize),
    Heal,
}

impl Call {
    /// Whether the call changes nothing, so that nobody needs to know how it ends.
    pub(super) fn only_reads(self) -> bool {
        match self {
            Self::Pods | Self::Prepare => true,
            Self::Keep | Self::Inject | Self::Step(_) | Self::Heal => false,
        }
    }
}

/// What the engine does next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Action {
    /// Go on to another stage.
    Enter(Stage),
    /// Call the system.
    Call(Call),
    /// Forget the call in flight: it only reads.
    Drop,
    /// Switch sampling on or off.
    Sample(bool),
    /// Compare what the baseline's windows saw.
    Compare,
    /// Nothing until something is seen, or until this time.
    Wait(Option<Offset>),
    /// The scenario cannot be carried out.
    Break(String),
    /// The scenario is over.
    End(Ended),
}

/// Where the engine is, and what came of its calls.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) stage: Stage,
    /// When this stage was entered.
    pub(super) since: Offset,
    /// The call in flight.
    pub(super) call: Option<Call>,
    /// Whether this stage's call has come back, or its comparison is made.
    pub(super) answered: bool,
    /// Whether this stage's remedy step could not be carried out.
    pub(super) step_failed: bool,
    /// Whether sampling is on.
    pub(super) sampling: bool,
    /// The first signal came.
    pub(super) cancelled: bool,
    /// What keeps the scenario from being carried out.
    pub(super) broken: Option<String>,
    /// Whether a receipt is in the record: from then on healing is due.
    pub(super) prepared: bool,
    /// Whether healing could not be verified.
    pub(super) heal_failed: bool,
}

impl State {
    pub(super) fn new(now: Offset) -> Self {
        Self {
            stage: Stage::Evidence,
            since: now,
            call: None,
            answered: false,
            step_failed: false,
            sampling: false,
            cancelled: false,
            broken: None,
            prepared: false,
            heal_failed: false,
        }
    }

    fn is_cut_short(&self) -> bool {
        self.cancelled || self.broken.is_some()
    }

    fn ended(&self) -> Ended {
        match &self.broken {
            _ if self.cancelled => Ended::Cancelled,
            Some(reason) => Ended::Broken { reason: reason.clone() },
            None => Ended::Completed,
        }
    }
}

/// How far the system is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    NotYet,
    Absorbed,
    Recovered,
}

/// What the outcome says that matters for the next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Whether the steady state has held for as long as this stage asks.
    pub(super) steady: bool,
    pub(super) proven: bool,
    pub(super) symptom: bool,
    pub(super) back: Back,
    /// Since when everything is good, where it has not held long enough yet.
    pub(super) good_since: Option<Offset>,
    /// Until when to watch.
    pub(super) deadline: Option<Offset>,
    /// What stands in the way of the steady state.
    pub(super) trouble: String,
}

/// How long the steady state must hold in a stage: four samples of the slowest series at
/// least, since fewer say little.
pub(super) fn steady_window(plan: &Plan, stage: Stage, slowest: Duration) -> Duration {
    let least = bounds::SETTLE_WINDOW_MIN.max(slowest * bounds::SETTLE_SAMPLES);
    match stage {
        Stage::Steady | Stage::LastLook => plan.hold.min(bounds::STEADY_WINDOW_MAX).max(least),
        _ => least,
    }
}

/// What to do next.
pub(super) fn next(plan: &Plan, state: &State, trial: &Trial, view: &View, now: Offset) -> Action {
    if let Some(call) = state.call {
        let forget = state.is_cut_short() && call.only_reads();
        return if forget { Action::Drop } else { Action::Wait(None) };
    }
    match state.stage {
        Stage::Healing => return after_heal(state),
        Stage::Subsiding => return subsided(plan, state, view, now),
        _ if state.is_cut_short() && state.prepared => return Action::Enter(Stage::Healing),
        _ if state.is_cut_short() => return Action::End(state.ended()),
        _ => {}
    }
    match state.stage {
        Stage::Evidence => called(state, Call::Pods, Stage::Settling),
        Stage::Settling => steady_or_break(plan, state, view, now, Stage::Baseline),
        Stage::Baseline if state.answered => Action::Enter(Stage::Steady),
        Stage::Baseline => match trial.step(now, state.sampling) {
            Step::Sampling(on) => Action::Sample(on),
            Step::Wait(until) => Action::Wait(Some(until)),
            Step::Compare => Action::Compare,
        },
        Stage::Steady => steady_or_break(plan, state, view, now, Stage::LastLook),
        Stage::LastLook if state.answered && !view.steady => {
            Action::Break(format!("the system changed just before the fault: {}", view.trouble))
        }
        Stage::LastLook => called(state, Call::Pods, Stage::Preparing),
        Stage::Preparing => called(state, Call::Prepare, Stage::Keeping),
        Stage::Keeping => called(state, Call::Keep, Stage::Injecting),
        Stage::Injecting => called(state, Call::Inject, Stage::Watching),
        Stage::Watching => watching(plan, state, view, now),
        Stage::Remedying(step) => remedying(plan, state, view, now, step),
        Stage::Healing | Stage::Subsiding => unreachable!("handled above"),
    }
}

fn called(state: &State, call: Call, then: Stage) -> Action {
    if state.answered { Action::Enter(then) } else { Action::Call(call) }
}

fn steady_or_break(plan: &Plan, state: &State, view: &View, now: Offset, then: Stage) -> Action {
    let until = state.since + plan.settle_within;
    if view.steady {
        Action::Enter(then)
    } else if now >= until {
        let within = duration::text(plan.settle_within);
        Action::Break(format!("the steady state was not there within {within}; last seen: {}", view.trouble))
    } else {
        Action::Wait(Some(until))
    }
}

/// A broken system, before the first remedy step or without any.
fn watching(plan: &Plan, state: &State, view: &View, now: Offset) -> Action {
    let deadline = deadline(plan, state, view);
    if view.back == Back::Recovered || now >= deadline {
        return Action::Enter(Stage::Healing);
    }
    let nothing_felt = !view.proven && !view.symptom;
    if plan.remedy.is_empty() {
        // Without proof and symptom the verdict is settled; a late one would be another fault's.
        let bite = state.since + bounds::PROOF_WITHIN.max(plan.fault.shows_within());
        return match view.back {
            Back::Absorbed => Action::Enter(Stage::Healing),
            _ if nothing_felt && now >= bite => Action::Enter(Stage::Healing),
            _ if nothing_felt => Action::Wait(Some(bite.min(deadline))),
            _ => Action::Wait(Some(deadline)),
        };
    }
    let felt_by = state.since + bounds::FELT_WITHIN;
    let remedy = Stage::Remedying(0);
    let (then, acts_at) = if view.proven && view.symptom {
        // Trouble of somebody outside ends when it ends, not when it was seen.
        (remedy, state.since + plan.fault.lasts())
    } else if nothing_felt || view.back == Back::Absorbed {
        (Stage::Healing, felt_by)
    } else {
        // It has begun, and is not everywhere yet.
        (remedy, felt_by.max(state.since + plan.fault.spreads_within()))
    };
    if now < acts_at { Action::Wait(Some(acts_at.min(deadline))) } else { Action::Enter(then) }
}

/// A remedy step, and the time after it.
fn remedying(plan: &Plan, state: &State, view: &View, now: Offset, step: usize) -> Action {
    if !state.answered {
        return Action::Call(Call::Step(step));
    }
    let deadline = deadline(plan, state, view);
    if view.back != Back::NotYet || now >= deadline {
        return Action::Enter(Stage::Healing);
    }
    if step + 1 >= plan.remedy.len() {
        return Action::Wait(Some(deadline));
    }
    if state.step_failed {
        return Action::Enter(Stage::Remedying(step + 1));
    }
    let watched = state.since + plan.remedy[step].watch;
    // What looks like a recovery is let show whether it is one, before anyone interferes.
    let decided = view.good_since.map_or(watched, |since| watched.max(since + plan.hold + bounds::HOLD_MARGIN));
    if now >= decided { Action::Enter(Stage::Remedying(step + 1)) } else { Action::Wait(Some(decided.min(deadline))) }
}

fn after_heal(state: &State) -> Action {
    if !state.answered {
        Action::Call(Call::Heal)
    } else if state.is_cut_short() || state.heal_failed {
        Action::End(state.ended())
    } else {
        Action::Enter(Stage::Subsiding)
    }
}

fn subsided(plan: &Plan, state: &State, view: &View, now: Offset) -> Action {
    let until = state.since + plan.settle_within.min(bounds::SUBSIDE_WITHIN);
    if view.steady || state.is_cut_short() || now >= until {
        Action::End(state.ended())
    } else {
        Action::Wait(Some(until))
    }
}

/// Until when to watch. The outcome knows once the budget has started; until then the same
/// time counts from this stage's beginning.
fn deadline(plan: &Plan, state: &State, view: &View) -> Offset {
    view.deadline.unwrap_or(state.since + plan.budget.max + plan.hold + plan.slow_max())
}

#[cfg(test)]
mod tests;
