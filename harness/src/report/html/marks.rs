//! The moments of a scenario that have a name: a letter on its timeline, and what it stands for.

use std::time::Duration;

use crate::event::Offset;
use crate::report::timeline::{COLUMNS, Timeline};
use crate::report::{Millis, ScenarioReport, words};
use crate::scenario::plan::BudgetFrom;

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// `F`, `P`, `S`, `1`, `R`, `B`.
    pub(super) letter: String,
    /// When; absent for what did not happen.
    pub(super) at: Option<Offset>,
    /// What.
    pub(super) name: &'static str,
    /// In words.
    pub(super) says: String,
    /// Whether it is a command.
    pub(super) command: Option<String>,
}

/// The marks of a scenario in the order of time; last, what did not happen.
pub(super) fn of(scenario: &ScenarioReport) -> Vec<Mark> {
    let mark = |letter: &str, at: Option<Millis>, name, says: String| Mark {
        letter: letter.to_owned(),
        at: at.map(offset),
        name,
        says,
        command: None,
    };
    let mut marks = Vec::new();
    if let Some(sent) = scenario.fault_sent_ms {
        marks.push(mark("F", Some(sent), "fault", format!("{} is sent", scenario.fault)));
    }
    if let Some([_, proven]) = scenario.fault_ms {
        marks.push(mark("P", Some(proven), "proof", "a second channel shows that it took effect".to_owned()));
    }
    if let Some(symptom) = &scenario.symptom {
        let says = format!("`{}` at {} saw {}", symptom.check, symptom.subject, symptom.reason);
        marks.push(mark("S", scenario.symptom_ms, "symptom", says));
    }
    for (place, step) in scenario.remedy.iter().enumerate() {
        let says = words::step(step);
        let mark = mark(&(place + 1).to_string(), step.sent_ms, "remedy", says);
        marks.push(Mark { command: Some(step.command.clone()), ..mark });
    }
    if let (Some(recovery), Some(start)) = (scenario.recovery_ms, budget_start(scenario)) {
        let from = match scenario.budget_from {
            BudgetFrom::Fault => "the fault",
            BudgetFrom::Remedy => "the first remedy step",
        };
        let says = format!("everything is good again, {} after {from}", Millis::range(recovery.lower, recovery.upper));
        let at = Some(offset(start) + recovery.upper.duration());
        marks.push(Mark { at, ..mark("R", None, "recovery", says) });
    }
    if let Some(start) = budget_start(scenario) {
        let at = Some(offset(start) + scenario.budget_ms.duration());
        let says = format!("the budget of {} is over", scenario.budget_ms);
        marks.push(Mark { at, ..mark("B", None, "budget", says) });
    }
    marks.sort_by_key(|mark| mark.at.unwrap_or(Offset::MAX));
    marks
}

/// Where the budget counts from; absent where that was not reached.
fn budget_start(scenario: &ScenarioReport) -> Option<Millis> {
    match scenario.budget_from {
        BudgetFrom::Fault => scenario.fault_sent_ms,
        BudgetFrom::Remedy => scenario.remedy.first()?.sent_ms,
    }
}

fn offset(since_start: Millis) -> Offset {
    Offset::from_duration(since_start.duration())
}

/// Letters that stand together because there is no room for each by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// The column of its first one.
    pub(super) column: u16,
    /// In order of time.
    pub(super) letters: Vec<String>,
}

/// Room that a letter takes on a phone, in columns.
const LETTER: u16 = 52;
/// Room around the letters of a cluster, in columns.
const AROUND: u16 = 30;

/// The letters that lie in the drawn time, put together where they would collide on a phone.
pub(super) fn clusters(marks: &[Mark], timeline: &Timeline) -> Vec<Cluster> {
    let mut placed: Vec<(u16, &str)> =
        marks.iter().filter_map(|mark| Some((timeline.column(mark.at?)?, mark.letter.as_str()))).collect();
    placed.sort_by_key(|(column, _)| *column);
    let mut clusters: Vec<Cluster> = Vec::new();
    for (column, letter) in placed {
        match clusters.last_mut() {
            Some(last) if column < last.column.saturating_add(last.width()) => last.letters.push(letter.to_owned()),
            _ => clusters.push(Cluster { column, letters: vec![letter.to_owned()] }),
        }
    }
    clusters
}

impl Cluster {
    fn width(&self) -> u16 {
        u16::try_from(self.letters.len()).unwrap_or(COLUMNS).saturating_mul(LETTER).saturating_add(AROUND)
    }

    /// Whether it would stick out on the right.
    pub(super) fn is_at_the_end(&self) -> bool {
        self.column.saturating_add(self.width()) > COLUMNS
    }
}

/// A time after (or before) the fault, for people.
pub(super) fn relative(at: Offset, zero: Offset) -> String {
    if at >= zero {
        format!("+{}", Millis::ceil(at.since(zero)))
    } else {
        format!("−{}", Millis::ceil(zero.since(at)))
    }
}

/// Round moments for an axis, relative to `zero`, with their columns.
pub(super) fn ticks(timeline: &Timeline, zero: Offset) -> Vec<(u16, String)> {
    let span = timeline.until.since(timeline.from);
    let step = step(span);
    let seconds = |number: i64| {
        let seconds = number as f64 * step.as_secs_f64();
        format!("{}{} s", if number < 0 { "−" } else { "" }, (seconds.abs() * 1000.0).round() / 1000.0)
    };
    let before = i64::try_from(zero.since(timeline.from).as_nanos() / step.as_nanos()).unwrap_or(0);
    let mut ticks = Vec::new();
    for number in -before..=TICKS_MAX {
        let distance = step * u32::try_from(number.unsigned_abs()).unwrap_or(u32::MAX);
        let at = if number < 0 {
            Offset::from_duration(zero.since(Offset::ZERO).saturating_sub(distance))
        } else {
            zero + distance
        };
        match timeline.column(at) {
            Some(column) => ticks.push((column, seconds(number))),
            None if number > 0 => break,
            None => {}
        }
    }
    ticks
}

/// The most ticks after zero.
const TICKS_MAX: i64 = 12;

/// The least round step that makes no more than six ticks: they must fit on a phone.
fn step(span: Duration) -> Duration {
    let round = [1, 2, 5].into_iter();
    let decades = [10_u64, 100, 1_000, 10_000, 100_000].into_iter();
    let small = decades.flat_map(|decade| round.clone().map(move |factor| Duration::from_millis(decade * factor)));
    let long = [15, 30, 60, 120, 300, 600, 1_800, 3_600].map(Duration::from_secs);
    let all = small.filter(|step| *step < Duration::from_secs(15)).chain(long);
    all.into_iter().find(|step| span.as_nanos() / step.as_nanos() < 6).unwrap_or(span)
}
