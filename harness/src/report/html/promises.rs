//! A row a promise: its budget as a bar, to scale, and what was measured on it.

use std::time::Duration;

use maud::{Markup, html};

use super::{Shown, badge, class, text};
use crate::report::{Millis, ScenarioReport, words};
use crate::scenario::plan::Promise;

/// Width of a bar's picture, in its own units.
const WIDTH: f64 = 1_000.0;
/// Where the budget ends in it; what lies beyond is room for what took longer.
const BUDGET: f64 = 800.0;
/// What was measured is never drawn narrower, however short it is against its budget.
const MEASURED_MIN: f64 = 9.0;

/// Room for the arrow that stands for more.
const ARROW: f64 = 30.0;

/// Every promise; scenarios of the same one stand under it together.
pub(super) fn table(scenarios: &[Shown<'_>]) -> Markup {
    html! {
        @if !scenarios.is_empty() {
            section.promises aria-labelledby="promises" {
                h2 #promises { "Promises" }
                p.hint {
                    "Each bar is one budget, drawn to scale up to the upright line; the dark piece is the time to recovery, "
                    "between at least and at most so long. The verdict is drawn from the end that is worse for us."
                }
                @for (promise, rows) in by_promise(scenarios) {
                    div.promise {
                        p.says {
                            q { (text(&promise.says)) }
                            span.source { (text(&promise.document)) ", " (text(&promise.section)) }
                        }
                        ul { @for row in rows { (self::row(row)) } }
                    }
                }
            }
        }
    }
}

/// Promises in the order of their worst scenario.
fn by_promise<'a>(scenarios: &'a [Shown<'a>]) -> Vec<(&'a Promise, Vec<&'a Shown<'a>>)> {
    let mut groups: Vec<(&Promise, Vec<&Shown<'_>>)> = Vec::new();
    for shown in scenarios {
        let promise = &shown.scenario.promise;
        match groups.iter_mut().find(|(known, _)| *known == promise) {
            Some((_, rows)) => rows.push(shown),
            None => groups.push((promise, vec![shown])),
        }
    }
    groups
}

fn row(shown: &Shown<'_>) -> Markup {
    let scenario = shown.scenario;
    html! {
        li.row {
            (badge(scenario.verdict.verdict))
            a.name href={ "#" (shown.anchor) } {
                strong { (text(&scenario.id.0)) }
                span.title { (text(&scenario.title)) }
            }
            div.measure {
                (bar(scenario))
                p.figures {
                    strong { (words::measured(scenario)) }
                    span { @if let Some(share) = share(scenario) { (share) " of " } (words::budget(scenario)) }
                }
            }
        }
    }
}

/// What there is to draw on a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measured {
    /// Between these two.
    Interval(f64, f64),
    /// Longer than this; nobody saw the end.
    Beyond(f64),
    /// Nothing.
    Nothing,
}

fn measured(scenario: &ScenarioReport) -> Measured {
    match (scenario.recovery_ms, scenario.bad_for_at_least_ms) {
        (Some(recovery), _) => {
            let (from, until) = (place(scenario, recovery.lower), place(scenario, recovery.upper));
            let width = (until - from).max(MEASURED_MIN);
            let from = from.min(WIDTH - width);
            Measured::Interval(from, from + width)
        }
        (None, Some(bad)) => Measured::Beyond(place(scenario, bad).min(WIDTH - ARROW)),
        (None, None) => Measured::Nothing,
    }
}

/// Where a time is on the bar; at most at its right edge.
fn place(scenario: &ScenarioReport, time: Millis) -> f64 {
    (ratio(scenario, time) * BUDGET).min(WIDTH)
}

fn ratio(scenario: &ScenarioReport, time: Millis) -> f64 {
    let budget = scenario.budget_ms.duration().max(Duration::from_micros(1));
    time.duration().as_secs_f64() / budget.as_secs_f64()
}

fn bar(scenario: &ScenarioReport) -> Markup {
    let says = format!("measured {}, budget {}", words::measured(scenario), words::budget(scenario));
    html! {
        svg class={ "bar " (class(scenario.verdict.verdict)) } viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label=(says) {
            rect.budget x="0" y="4" width=(BUDGET) height="12" {}
            @match measured(scenario) {
                Measured::Interval(from, until) => {
                    (spent(from))
                    rect.measured x=(short(from)) y="1" width=(short(until - from)) height="18" {}
                }
                Measured::Beyond(from) => {
                    (spent(from))
                    // Open on the right: it was bad for longer than anybody looked.
                    path.measured d={ "M" (short(from)) " 1h" (ARROW / 2.0) "l" (ARROW / 2.0) " 9l-" (ARROW / 2.0) " 9h-" (ARROW / 2.0) "z" } {}
                }
                Measured::Nothing => {}
            }
            path.end d={ "M" (BUDGET) " 0v20" } {}
        }
    }
}

/// The time until then: quiet within the budget, loud beyond it.
fn spent(until: f64) -> Markup {
    html! {
        rect.spent x="0" y="4" width=(short(until.min(BUDGET))) height="12" {}
        @if until > BUDGET { rect.over x=(BUDGET) y="4" width=(short(until - BUDGET)) height="12" {} }
    }
}

/// One decimal is finer than any screen.
fn short(number: f64) -> String {
    format!("{}", (number * 10.0).round() / 10.0)
}

/// How much of the budget was used, by the upper end, where that says something.
fn share(scenario: &ScenarioReport) -> Option<String> {
    let upper = scenario.recovery_ms?.upper;
    let percent = ratio(scenario, upper) * 100.0;
    Some(if percent < 1.0 { "under 1 %".to_owned() } else { format!("{} %", percent.ceil()) })
}
