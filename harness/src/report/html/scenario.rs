//! One scenario: how its verdict came about, its timeline, and how it was measured.

use maud::{Markup, html};

use super::marks::{self, Mark};
use super::{Shown, badge, lanes, prose, sentence, text};
use crate::event::Offset;
use crate::report::timeline::Timeline;
use crate::report::{Judged, ScenarioReport, words};

/// Up to so many scenarios, those that passed are open as well.
const OPEN_MAX: usize = 4;

/// What the list of marks says already, by the label that [`words::details`] gives it.
const MARKED: [&str; 2] = ["because", "measured"];
/// What is only asked for when a measurement is doubted.
const MEASURING: [&str; 5] = ["time", "sampling", "slip", "observer", "file"];

/// Every scenario, the worst first.
pub(super) fn all(scenarios: &[Shown<'_>]) -> Markup {
    html! {
        @if !scenarios.is_empty() {
            section.scenarios aria-labelledby="scenarios" {
                h2 #scenarios { "Scenarios" }
                (lanes::key())
                @for shown in scenarios {
                    (one(shown, scenarios.len() <= OPEN_MAX || shown.scenario.verdict.verdict != Judged::Pass))
                }
            }
        }
    }
}

fn one(shown: &Shown<'_>, is_open: bool) -> Markup {
    let scenario = shown.scenario;
    let marks = marks::of(scenario);
    let zero = scenario.fault_sent_ms.map(|sent| Offset::from_duration(sent.duration()));
    html! {
        details.scenario #(shown.anchor) open[is_open] {
            summary {
                (badge(scenario.verdict.verdict))
                h3 { (text(&scenario.id.0)) }
                span.short { (words::measured(scenario)) ", budget " (scenario.budget_ms) }
                span.title { (text(&scenario.title)) }
            }
            p.because { (prose(&sentence(&words::because(scenario)))) "." }
            @if let Some(timeline) = shown.timeline { (picture(timeline, &marks, zero)) }
            (legend(&marks, zero))
            (facts(scenario, |label| !MARKED.contains(&label) && !MEASURING.contains(&label) && !is_marked(scenario, label)))
            @if let Some(timeline) = shown.timeline { (lanes::told(timeline, zero.unwrap_or(timeline.from))) }
            details.measuring {
                summary { "How it was measured" }
                (facts(scenario, |label| MEASURING.contains(&label)))
            }
        }
    }
}

/// What has a letter needs no line.
fn is_marked(scenario: &ScenarioReport, label: &str) -> bool {
    label.starts_with("step") || (label == "symptom" && scenario.symptom.is_some())
}

fn picture(timeline: &Timeline, marks: &[Mark], zero: Option<Offset>) -> Markup {
    match zero {
        Some(zero) => lanes::figure(timeline, marks, zero, "after the fault"),
        None => lanes::figure(timeline, marks, timeline.from, "after its start"),
    }
}

fn legend(marks: &[Mark], zero: Option<Offset>) -> Markup {
    html! {
        @if !marks.is_empty() {
            ol.legend {
                @for mark in marks {
                    li {
                        b.letter { (mark.letter) }
                        time {
                            @match (mark.at, zero) {
                                (Some(at), Some(zero)) if at != zero => (marks::relative(at, zero)),
                                (Some(_), _) => "0",
                                (None, _) => "–",
                            }
                        }
                        span {
                            span.what { (mark.name) } ": "
                            @if let Some(command) = &mark.command { code { (text(command)) } " " }
                            (prose(&mark.says))
                        }
                    }
                }
            }
        }
    }
}

fn facts(scenario: &ScenarioReport, wanted: impl Fn(&str) -> bool) -> Markup {
    html! {
        dl.facts {
            @for (label, says) in words::details(scenario).into_iter().filter(|(label, _)| wanted(label)) {
                dt { (label) }
                dd { (prose(&says)) }
            }
        }
    }
}
