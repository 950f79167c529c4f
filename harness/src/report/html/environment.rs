//! What surrounds the scenarios: the release before them, and where and how the run took place.

use maud::{Markup, html};

use super::{class, mark, moment, prose, text};
use crate::event::StageResult;
use crate::report::{Judged, Report, StageReport, words};

/// The most lines of one list.
const LINES_MAX: usize = 200;

/// The stages of the release.
pub(super) fn release(report: &Report) -> Markup {
    let is_good = report.stages.iter().all(|stage| judged(stage) == Judged::Pass);
    html! {
        @if !report.stages.is_empty() {
            section.release aria-labelledby="release" {
                h2 #release { "Release" }
                ol.stages {
                    @for stage in report.stages.iter().take(LINES_MAX) { (self::stage(stage, is_good)) }
                }
            }
        }
    }
}

fn stage(stage: &StageReport, all_good: bool) -> Markup {
    let judged = judged(stage);
    let head = html! {
        span class={ "sign " (class(judged)) } { (mark(judged)) }
        strong { (text(&stage.stage)) }
        span.result { (prose(&words::stage_result(stage))) }
        span.took { (stage.took_ms) }
    };
    html! {
        li {
            @if stage.facts.is_empty() {
                div.stage { (head) }
            } @else {
                details open[!all_good && judged != Judged::Pass] {
                    summary.stage { (head) }
                    (lines(&stage.facts))
                }
            }
        }
    }
}

fn judged(stage: &StageReport) -> Judged {
    match &stage.result {
        Some(StageResult::Done) => Judged::Pass,
        Some(StageResult::Cancelled) | None => Judged::Inconclusive,
        Some(StageResult::Failed { .. } | StageResult::RolledBack { .. } | StageResult::RollbackFailed { .. }) => {
            Judged::Fail
        }
    }
}

fn lines(texts: &[String]) -> Markup {
    html! {
        ul.lines {
            @for line in texts.iter().take(LINES_MAX) { li { (prose(line)) } }
            @if texts.len() > LINES_MAX { li { (texts.len() - LINES_MAX) " more are in report.json" } }
        }
    }
}

/// Where, how, and how to do it again.
pub(super) fn run(report: &Report) -> Markup {
    html! {
        section.run aria-labelledby="run" {
            h2 #run { "This run" }
            @if let Some(command) = &report.reproduce {
                p { "To do the same again:" }
                pre { code { (text(command)) } }
            }
            dl.facts {
                @if let Some(run) = &report.run {
                    dt { "run" } dd { (text(&run.run)) ", started " (moment(&run.started)) ", took " (report.took_ms) }
                    dt { "version" } dd { "Gameday " (text(&run.version)) ", seed " (run.seed) }
                    dt { "profile" } dd { (text(&run.profile)) }
                }
                dt { "place" } dd { (text(&report.rehearsed_or_measured)) }
                @if let Some(cluster) = &report.cluster {
                    dt { "cluster" } dd { (text(&cluster.name)) ", Kubernetes " (text(&cluster.version)) ", at " (text(&cluster.server)) }
                    dt { "namespace" } dd { (text(&cluster.namespace)) }
                }
                dt { "left behind" } dd { (left_behind(report)) }
            }
            @if !report.skipped.is_empty() {
                h3 { "Skipped, and so neither kept nor broken" }
                (lines(&report.skipped.iter().map(words::skipped).collect::<Vec<_>>()))
            }
            @if let Some(run) = report.run.as_ref().filter(|run| !run.profile_changes.is_empty()) {
                h3 { "What the profile changes in the manifests" }
                (lines(&run.profile_changes))
            }
            @if !report.notes.is_empty() {
                h3 { "Notes" }
                (lines(&report.notes))
            }
        }
    }
}

fn left_behind(report: &Report) -> String {
    match (&report.heal_failed, report.clean) {
        (Some(error), _) => format!("not everything is put right: {}", text(error)),
        (None, Some(true)) => "nothing".to_owned(),
        (None, Some(false)) => "the run could not show that everything is put right".to_owned(),
        (None, None) => "unknown: the record stops before the run's end".to_owned(),
    }
}
