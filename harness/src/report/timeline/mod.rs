//! What can be drawn of each scenario: who answered rightly when, which pods there were, the load.
//!
//! A fold of its own beside [`super::Fold`], for only one renderer draws. Samples stay in it until
//! their scenario has ended; then each series becomes at most [`COLUMNS`] stretches, so that an
//! hour of samples takes no more room in a report than a minute.

use crate::event::{Event, LoadSecond, LogLine, Offset, What};
use crate::scenario::plan::ScenarioId;

mod frame;
mod sketch;

use frame::Frame;
use sketch::Sketch;

/// How finely a timeline is drawn: the smallest stretch is a thousandth of it.
pub const COLUMNS: u16 = 1_000;

/// The timelines of a run in the making. It takes the events in the order of the journal.
#[derive(Debug, Default)]
pub struct Timelines {
    scenarios: Vec<One>,
}

#[derive(Debug)]
struct One {
    id: ScenarioId,
    /// Its file, and its line there.
    place: (String, u64),
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Box<Sketch>),
    Closed(Timeline),
}

/// One scenario, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Its left edge: some time before the fault, or the scenario's start where there was none.
    pub from: Offset,
    /// Its right edge.
    pub until: Offset,
    /// The Service first, then each pod of the workload, then other pods that matter.
    pub rows: Vec<Row>,
    /// Rows that are not drawn because there are too many.
    pub rows_left_out: usize,
    /// Load, in order.
    pub load: Vec<LoadSecond>,
    /// What became of pods, in order.
    pub told: Vec<Told>,
    /// What became of pods beyond the most that is told.
    pub told_left_out: usize,
    /// Warnings and errors that pods logged after the fault, in order.
    pub logged: Vec<Told>,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The Service, or a pod.
    pub subject: String,
    /// The check, or that this is what Kubernetes says of the pod.
    pub what: String,
    /// Whether its samples only show that the fault took effect.
    pub is_proof: bool,
    /// Bad samples in the drawn time.
    pub bad: u64,
    /// Samples in the drawn time that we could not take.
    pub missing: u64,
    /// Where it was how, in columns from 0 to [`COLUMNS`]; ordered, without overlaps.
    pub stretches: Vec<Stretch>,
}

/// A stretch of a row in which it did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first column.
    pub from: u16,
    /// The column after its last one.
    pub until: u16,
    /// How it was.
    pub shade: Shade,
}

/// How a subject was; where several fall into one column, the greatest of these is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shade {
    /// It answered rightly; Kubernetes calls the pod ready.
    Good,
    /// We could not look.
    Missing,
    /// Kubernetes is ending the pod.
    Leaving,
    /// It answered wrongly, late or not at all; Kubernetes calls the pod not ready.
    Bad,
}

/// A line about a pod, or of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When we were told.
    pub at: Offset,
    /// The line.
    pub text: String,
}

impl Timelines {
    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        if let What::ScenarioStarted(plan) = &event.what {
            let (place, sketch) = ((plan.file.clone(), plan.line), Sketch::new(event.at, plan));
            self.scenarios.push(One { id: plan.id.clone(), place, state: State::Open(Box::new(sketch)) });
            return;
        }
        // With repeats, the newest of the name.
        let of_scenario = |one: &&mut One| event.scenario.as_ref() == Some(&one.id);
        let Some(one) = self.scenarios.iter_mut().rev().find(of_scenario) else { return };
        match &mut one.state {
            State::Open(sketch) => {
                sketch.apply(event);
                if matches!(event.what, What::ScenarioEnded(_)) {
                    one.state = State::Closed(sketch.timeline());
                }
            }
            State::Closed(timeline) => {
                if let What::Logged(line) = &event.what {
                    timeline.logged.push(Told::logged(line));
                }
            }
        }
    }

    /// One timeline a scenario, in the order of [`super::Report::scenarios`].
    #[must_use]
    pub fn drawn(mut self) -> Vec<Timeline> {
        self.scenarios.sort_by(|one, other| one.place.cmp(&other.place));
        let drawn = |one: One| match one.state {
            State::Open(sketch) => sketch.timeline(),
            State::Closed(timeline) => timeline,
        };
        self.scenarios.into_iter().map(drawn).collect()
    }
}

impl Told {
    fn logged(line: &LogLine) -> Self {
        Self { at: line.written, text: format!("{}: {}", line.pod, line.line) }
    }
}

impl Timeline {
    /// Where a moment is, in columns; absent outside of the drawn time.
    #[must_use]
    pub fn column(&self, at: Offset) -> Option<u16> {
        let frame = Frame { from: self.from, until: self.until };
        (at >= self.from && at <= self.until).then(|| frame.column(at))
    }
}
