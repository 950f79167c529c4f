//! What stands beside the scenarios: rollouts, rounds, the soak, and earlier recoveries.

use maud::{Markup, html};

use super::{badge, prose, text};
use crate::report::row::{self, Row};
use crate::report::{Judged, MetricReport, ReferenceReport, RepeatReport, Report, RolloutReport, SoakReport, words};

/// The most entries of one list; `report.json` has all of them.
const LINES_MAX: usize = 200;

/// Rollouts and roll-backs, and what they lost.
pub(super) fn rollouts(report: &Report) -> Markup {
    let one = |rollout: &RolloutReport| {
        let verdict = rollout.verdict.as_ref().map(|verdict| verdict.verdict);
        let title = format!("{}: {}", rollout.id, words::rollout_title(rollout));
        folded(verdict, &title, &words::rollout_details(rollout))
    };
    html! {
        @if !report.rollouts.is_empty() {
            section.rollouts aria-labelledby="rollouts" {
                h2 #rollouts { "Rollouts" }
                @for rollout in report.rollouts.iter().take(LINES_MAX) { (one(rollout)) }
            }
        }
    }
}

/// Scenarios that ran in rounds, each over all of them.
pub(super) fn rounds(report: &Report) -> Markup {
    let rows = report.rows_worst_first();
    let together: Vec<(&Row<'_>, &RepeatReport)> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Rounds(repeat, _) => Some((row, *repeat)),
            Row::Once(_) => None,
        })
        .collect();
    html! {
        @if !together.is_empty() {
            section.rounds aria-labelledby="rounds" {
                h2 #rounds { "Rounds together" }
                @for (row, repeat) in together.into_iter().take(LINES_MAX) {
                    (folded(
                        Some(row.judged()),
                        &format!("{}: {} of {} rounds", row.id(), repeat.rounds.len(), repeat.rounds_wanted),
                        &row::details(repeat),
                    ))
                }
            }
        }
    }
}

/// The soak of the release.
pub(super) fn soak(soak: Option<&SoakReport>) -> Markup {
    let metric = |metric: &MetricReport| html! { li { strong { (text(&metric.name)) } " " (prose(&metric.says())) } };
    html! {
        @if let Some(soak) = soak {
            section.soak aria-labelledby="soak" {
                h2 #soak { "Soak" }
                p { (badge(soak.verdict.verdict)) " " (prose(&soak.says())) }
                ul.lines { @for one in soak.metrics.iter().take(LINES_MAX) { (metric(one)) } }
                p.hint { "Bounds by " (prose(&soak.source)) }
            }
        }
    }
}

/// Recoveries beside earlier ones.
pub(super) fn reference(reference: Option<&ReferenceReport>) -> Markup {
    html! {
        @if let Some(reference) = reference {
            section.reference aria-labelledby="reference" {
                h2 #reference { "Compared with " (text(&reference.source)) }
                ul.lines {
                    @for one in reference.growth.iter().take(LINES_MAX) {
                        li { @if one.warns { strong { "warning: " } } (text(&one.scenario.0)) ": " (prose(&one.says)) }
                    }
                }
            }
        }
    }
}

/// What can be folded away; what did not pass stands open.
fn folded(verdict: Option<Judged>, title: &str, lines: &[(&'static str, String)]) -> Markup {
    html! {
        details.scenario open[verdict.is_some_and(|verdict| verdict != Judged::Pass)] {
            summary {
                @if let Some(verdict) = verdict { (badge(verdict)) }
                h3 { (text(title)) }
            }
            dl.facts {
                @for (label, says) in lines.iter().take(LINES_MAX) {
                    dt { (label) }
                    dd { (prose(says)) }
                }
            }
        }
    }
}
