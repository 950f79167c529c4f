//! The report as Markdown, for a step summary: GitHub takes 1 MiB and drops what is larger.

use super::row::{self, Row};
use super::{Judged, MetricReport, RepeatReport, Report, RolloutReport, ScenarioReport, words};
use crate::event::StageResult;

/// Where whole sections are left out; the last one may go beyond by its own, bounded size.
const BYTES_MAX: usize = 512 * 1024;
/// The longest text of others in one cell or line.
const TEXT_MAX: usize = 400;
/// The most lines of one kind in one section.
const LINES_MAX: usize = 100;

/// The report as GitHub Markdown, well below 1 MiB however long the run's texts are.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {} {}\n\n", sign(report), prose(&headline(report)));
    text.push_str(&format!("{}\n\n", prose(&report.verdict.why)));
    if let Some(command) = &report.reproduce {
        text.push_str(&format!("Again: {}\n\n", code(command)));
    }
    let mut left_out = 0;
    let sections = [scenarios(report), skipped(report), soak(report), reference(report), stages(report)].into_iter();
    let rows = report.rows_worst_first();
    let sections = sections.chain(report.rollouts.iter().map(rollout));
    let sections = sections.chain(rows.iter().flat_map(row_details)).chain([facts(report)]);
    for section in sections {
        if text.len() + section.len() > BYTES_MAX {
            left_out += 1;
        } else {
            text.push_str(&section);
        }
    }
    if left_out > 0 {
        text.push_str(&format!("{left_out} sections are left out here; `report.json` has them all.\n"));
    }
    text
}

fn headline(report: &Report) -> String {
    format!("{}, {}", words::of_exit(report.exit()).to_uppercase(), report.rehearsed_or_measured)
}

fn sign(report: &Report) -> &'static str {
    match words::colour(report.exit()) {
        Judged::Pass => "✅",
        Judged::Inconclusive => "❔",
        Judged::Fail => "❌",
    }
}

fn sign_of(judged: Judged) -> &'static str {
    match judged {
        Judged::Pass => "✅ pass",
        Judged::Inconclusive => "❔ inconclusive",
        Judged::Fail => "❌ fail",
    }
}

fn scenarios(report: &Report) -> String {
    if report.scenarios.is_empty() && report.judged_rollouts().next().is_none() {
        return String::new();
    }
    let mut text = "| verdict | scenario | promise | source | budget | measured | detected after |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for (rollout, verdict) in report.judged_rollouts() {
        let [promise, source, budget, measured, detected] = words::rollout_cells(rollout);
        let cells = [prose(&rollout.id), promise, source, budget, measured, detected];
        text.push_str(&format!("| {} | {} |\n", sign_of(verdict.verdict), cells.join(" | ")));
    }
    let rows = report.rows_worst_first();
    for row in rows.iter().take(LINES_MAX) {
        let Some(scenario) = row.scenario() else { continue };
        let detection = row.detection().map_or_else(|| "–".to_owned(), |detection| detection.to_string());
        let cells = [
            prose(row.id()),
            prose(&scenario.promise.says),
            prose(&scenario.budget_source),
            words::budget(scenario),
            row.measured(),
            detection,
        ];
        text.push_str(&format!("| {} | {} |\n", sign_of(row.judged()), cells.join(" | ")));
    }
    more(&mut text, rows.len());
    text.push('\n');
    text
}

fn skipped(report: &Report) -> String {
    if report.skipped.is_empty() {
        return String::new();
    }
    let mut text = "Skipped, and so neither kept nor broken:\n\n".to_owned();
    for skipped in report.skipped.iter().take(LINES_MAX) {
        text.push_str(&format!("- {}\n", prose(&words::skipped(skipped))));
    }
    more(&mut text, report.skipped.len());
    text.push('\n');
    text
}

fn stages(report: &Report) -> String {
    if report.stages.is_empty() {
        return String::new();
    }
    let mut text = "## Release\n\n| stage | result | took | facts |\n|---|---|---|---|\n".to_owned();
    for stage in report.stages.iter().take(LINES_MAX) {
        let sign = if stage.result == Some(StageResult::Done) { "✅" } else { "❌" };
        let facts: Vec<String> = stage.facts.iter().take(10).map(|fact| prose(fact)).collect();
        let result = prose(&words::stage_result(stage));
        let cells = [prose(&stage.stage), format!("{sign} {result}"), stage.took_ms.to_string(), facts.join("<br>")];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    more(&mut text, report.stages.len());
    text.push('\n');
    text
}

fn soak(report: &Report) -> String {
    let Some(soak) = &report.soak else { return String::new() };
    let mut text = format!("## Soak: {}\n\n{}\n\n", sign_of(soak.verdict.verdict), prose(&soak.says()));
    text.push_str("| metric | course |\n|---|---|\n");
    let line = |metric: &MetricReport| format!("| {} | {} |\n", prose(&metric.name), prose(&metric.says()));
    soak.metrics.iter().take(LINES_MAX).for_each(|metric| text.push_str(&line(metric)));
    more(&mut text, soak.metrics.len());
    text.push_str(&format!("\nBounds by {}\n\n", prose(&soak.source)));
    text
}

fn reference(report: &Report) -> String {
    let Some(reference) = &report.reference else { return String::new() };
    let mut text = format!("## Compared with {}\n\n", prose(&reference.source));
    for one in reference.growth.iter().take(LINES_MAX) {
        let sign = if one.warns { "⚠️ " } else { "" };
        text.push_str(&format!("- {sign}{}: {}\n", prose(&one.scenario.0), prose(&one.says)));
    }
    more(&mut text, reference.growth.len());
    text.push('\n');
    text
}

/// The section of a promise; of rounds one together and one each.
fn row_details(row: &Row<'_>) -> Vec<String> {
    match row {
        Row::Once(scenario) => vec![details(scenario)],
        Row::Rounds(repeat, rounds) => {
            let together = together(row, repeat);
            std::iter::once(together).chain(rounds.iter().map(|round| details(round))).collect()
        }
    }
}

fn together(row: &Row<'_>, repeat: &RepeatReport) -> String {
    let title = row.scenario().map(|scenario| scenario.title.as_str()).unwrap_or_default();
    let ran = format!("{}: {title}, {} of {} rounds", row.id(), repeat.rounds.len(), repeat.rounds_wanted);
    section(Some(row.judged()), &ran, &row::details(repeat))
}

fn rollout(rollout: &RolloutReport) -> String {
    let verdict = rollout.verdict.as_ref().map(|verdict| verdict.verdict);
    let title = format!("{}: {}", rollout.id, words::rollout_title(rollout));
    section(verdict, &title, &words::rollout_details(rollout))
}

fn details(scenario: &ScenarioReport) -> String {
    let title = format!("{}: {}", scenario.id, scenario.title);
    section(Some(scenario.verdict.verdict), &title, &words::details(scenario))
}

/// What can be folded away; what did not pass stands open.
fn section(verdict: Option<Judged>, title: &str, lines: &[(&'static str, String)]) -> String {
    let open = if verdict.is_none_or(|verdict| verdict == Judged::Pass) { "" } else { " open" };
    let sign = verdict.map_or("", sign_of);
    let mut text = format!("<details{open}><summary>{}</summary>\n\n", format!("{sign} {}", prose(title)).trim_start());
    for (label, says) in lines.iter().take(LINES_MAX) {
        text.push_str(&format!("- {label}: {}\n", prose(says)));
    }
    more(&mut text, lines.len());
    text.push_str("\n</details>\n\n");
    text
}

fn facts(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(run) = &report.run {
        lines.push(format!("run {}, started {}, version {}", run.run, run.started, run.version));
        lines.push(format!("profile {}", run.profile));
        lines.extend(run.profile_changes.iter().map(|change| format!("changed by the profile: {change}")));
        lines.extend((run.lanes > 1).then(|| words::lanes(run.lanes)));
    }
    if let Some(cluster) = &report.cluster {
        lines.push(format!("cluster {} {} at {}", cluster.name, cluster.version, cluster.server));
        lines.push(format!("namespace {}", cluster.namespace));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    if lines.is_empty() {
        return String::new();
    }
    let mut text = "## This run\n\n".to_owned();
    lines.iter().take(LINES_MAX).for_each(|line| text.push_str(&format!("- {}\n", prose(line))));
    more(&mut text, lines.len());
    text
}

fn more(text: &mut String, lines: usize) {
    if lines > LINES_MAX {
        text.push_str(&format!("\n{} more are in `report.json`.\n", lines - LINES_MAX));
    }
}

/// Text of others as text: on one line, and nothing in it is Markdown, HTML or a table's edge.
fn prose(text: &str) -> String {
    let mut escaped = String::new();
    for one in words::shorten(text, TEXT_MAX).chars() {
        match one {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => escaped.extend(['\\', one]),
            _ => escaped.push(one),
        }
    }
    escaped
}

/// Text of others as code; its fence is longer than any in it.
fn code(text: &str) -> String {
    let line = words::shorten(text, TEXT_MAX);
    let longest = line.split(|one| one != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if longest == 0 { format!("{fence}{line}{fence}") } else { format!("{fence} {line} {fence}") }
}
