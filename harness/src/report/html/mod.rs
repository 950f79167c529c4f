//! The report as one self-contained HTML page: no scripts, no requests, light and dark, on paper too.
//!
//! The verdict stands first, then a row a promise, then each scenario with its timeline. Colour is
//! never the only sign: a verdict has its word and its mark, a stretch of a timeline its height.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::timeline::Timeline;
use super::{Judged, Report, ScenarioReport, words};

mod beside;
mod environment;
mod lanes;
mod marks;
mod promises;
mod scenario;

/// The most characters of one text of others.
const TEXT_MAX: usize = 1_000;

/// A longer word of a verdict is set smaller.
const WORD_MAX: usize = 14;

/// Nothing may be loaded or run, whatever a text of others says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The report as a page. `timelines` are those of [`super::timeline::Timelines::drawn`]: one a
/// scenario, in the report's order; a scenario without one is shown without a picture.
#[must_use]
pub fn html(report: &Report, timelines: &[Timeline]) -> String {
    let scenarios = in_order(report, timelines);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(report)) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (verdict(report))
                main {
                    (promises::table(&scenarios))
                    (environment::release(report))
                    (beside::rollouts(report))
                    (beside::rounds(report))
                    (scenario::all(&scenarios))
                    (beside::soak(report.soak.as_ref()))
                    (beside::reference(report.reference.as_ref()))
                    (environment::run(report))
                }
            }
        }
    };
    page.into_string()
}

/// A scenario with what belongs to it on the page.
struct Shown<'a> {
    scenario: &'a ScenarioReport,
    timeline: Option<&'a Timeline>,
    /// The id of its part of the page.
    anchor: String,
}

/// Scenarios with the worst first; equals stay in the order of the report.
fn in_order<'a>(report: &'a Report, timelines: &'a [Timeline]) -> Vec<Shown<'a>> {
    let mut shown: Vec<Shown<'a>> = Vec::new();
    for (place, scenario) in report.scenarios.iter().enumerate() {
        let plain = anchor(&scenario.id.0);
        let repeat = report.scenarios[..place].iter().filter(|before| anchor(&before.id.0) == plain).count() + 1;
        let anchor = if repeat > 1 { format!("{plain}-{repeat}") } else { plain };
        shown.push(Shown { scenario, timeline: timelines.get(place), anchor });
    }
    shown.sort_by_key(|one| std::cmp::Reverse(one.scenario.verdict.verdict));
    shown
}

/// A name that a link can carry: the same in every run.
fn anchor(id: &str) -> String {
    let plain: String = id.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).collect();
    format!("scenario-{plain}")
}

fn title(report: &Report) -> String {
    let word = words::of_exit(report.exit()).to_uppercase();
    match &report.run {
        Some(run) => format!("{word} – Gameday {}", text(&run.run)),
        None => format!("{word} – Gameday"),
    }
}

fn verdict(report: &Report) -> Markup {
    let exit = report.exit();
    let (judged, word) = (words::colour(exit), words::of_exit(exit).to_uppercase());
    html! {
        header class={ "verdict " (class(judged)) } {
            div.inner {
                p.kicker { "Gameday · " (text(&report.rehearsed_or_measured)) }
                h1 class=[(word.len() > WORD_MAX).then_some("long")] { (mark(judged)) " " (word) }
                p.why { (prose(&sentence(&report.verdict.why))) }
                (counts(report))
                p.facts {
                    @if let Some(run) = &report.run {
                        "run " (text(&run.run)) " · " (moment(&run.started)) " · "
                    }
                    "took " (report.took_ms) " · exit code " (exit.code())
                }
            }
        }
    }
}

/// How many scenarios were judged how; nothing where there is at most one.
fn counts(report: &Report) -> Markup {
    let number = |judged| report.scenarios.iter().filter(|one| one.verdict.verdict == judged).count();
    html! {
        @if report.scenarios.len() > 1 {
            ul.counts {
                @for judged in [Judged::Fail, Judged::Inconclusive, Judged::Pass] {
                    @if number(judged) > 0 {
                        li class=(class(judged)) { (mark(judged)) " " (number(judged)) " " (words::judged(judged)) }
                    }
                }
            }
        }
    }
}

/// The verdict's mark and word.
fn badge(judged: Judged) -> Markup {
    html! { span class={ "badge " (class(judged)) } { (mark(judged)) " " (words::judged(judged)) } }
}

fn mark(judged: Judged) -> Markup {
    let mark = match judged {
        Judged::Pass => "✓",
        Judged::Inconclusive => "?",
        Judged::Fail => "✗",
    };
    html! { span.mark aria-hidden="true" { (mark) } }
}

fn class(judged: Judged) -> &'static str {
    words::judged(judged)
}

/// Text of others: bounded, and without characters that a page may not have.
fn text(text: &str) -> String {
    words::shorten(text, TEXT_MAX)
}

/// Text of others in which backticks stand around names and commands.
fn prose(told: &str) -> Markup {
    let told = text(told);
    let parts: Vec<&str> = told.split('`').collect();
    // Where one has no partner, they are text.
    let are_pairs = parts.len() % 2 == 1;
    html! {
        @if are_pairs {
            @for (place, part) in parts.iter().enumerate() {
                @if place % 2 == 1 { code { (part) } } @else { (part) }
            }
        } @else {
            (told)
        }
    }
}

/// A time of day without the parts of its second.
fn moment(time: &str) -> String {
    text(time.split_once('.').map_or(time, |(second, _)| second).trim_end_matches('Z')).replace('T', " ") + " UTC"
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + letters.as_str()
}
