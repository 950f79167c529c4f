//! The report for a terminal: what is red comes first, the verdict stands last.

use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::row::{self, Row};
use super::{Judged, ReferenceReport, Report, RolloutReport, ScenarioReport, SoakReport, StageReport, words};
use crate::event::StageResult;

/// Columns that the table is laid out for.
const WIDTH: u16 = 130;
/// The longest text of others in one line.
const TEXT_MAX: usize = 400;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const UNKNOWN: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The report as text with colour codes; a caller that must not show colours takes them out.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for line in head(report) {
        text.push_str(&line);
        text.push('\n');
    }
    if !report.stages.is_empty() {
        text.push('\n');
        report.stages.iter().for_each(|stage| stage_lines(&mut text, stage));
    }
    if report.judged_rollouts().count() + report.scenarios.len() > 0 {
        text.push('\n');
        text.push_str(&table(report));
    }
    report.rollouts.iter().for_each(|rollout| rollout_lines(&mut text, rollout));
    report.rows_worst_first().iter().for_each(|row| row_lines(&mut text, row));
    if let Some(soak) = &report.soak {
        soak_lines(&mut text, soak);
    }
    if let Some(reference) = &report.reference {
        reference_lines(&mut text, reference);
    }
    for note in &report.notes {
        text.push_str(&format!("\nnote: {}", words::shorten(note, TEXT_MAX)));
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&tail(report));
    text
}

fn head(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(run) = &report.run {
        let started = format!("run {}, started {}, took {}", run.run, run.started, report.took_ms);
        lines.push(format!("{} {started}", paint(BOLD, "Gameday")));
        lines.push(format!("profile {}", words::one_line(&run.profile)));
        lines.extend(run.profile_changes.iter().map(|change| format!("  {}", words::shorten(change, TEXT_MAX))));
        lines.extend((run.lanes > 1).then(|| words::lanes(run.lanes)));
    }
    lines.push(match &report.cluster {
        Some(cluster) => format!(
            "{}: {} at {}, namespace {}",
            report.rehearsed_or_measured, cluster.version, cluster.server, cluster.namespace
        ),
        None => report.rehearsed_or_measured.clone(),
    });
    lines
}

fn stage_lines(text: &mut String, stage: &StageReport) {
    let style = match &stage.result {
        Some(StageResult::Done) => GOOD,
        Some(StageResult::Cancelled) | None => UNKNOWN,
        Some(StageResult::Failed { .. } | StageResult::RolledBack { .. } | StageResult::RollbackFailed { .. }) => BAD,
    };
    let result = words::shorten(&words::stage_result(stage), TEXT_MAX);
    text.push_str(&format!("{}  {} ({})\n", paint(style, &words::one_line(&stage.stage)), result, stage.took_ms));
    for fact in &stage.facts {
        // The dash also keeps a CI server from reading a fact as one of its commands.
        text.push_str(&format!("  - {}\n", words::shorten(fact, TEXT_MAX)));
    }
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["verdict", "promise", "source", "budget", "measured", "detected after", "how"]);
    for (rollout, verdict) in report.judged_rollouts() {
        let [promise, source, budget, measured, detected] = words::rollout_cells(rollout);
        table.add_row([
            words::judged(verdict.verdict).to_uppercase(),
            format!("{}: {promise}", rollout.id),
            source,
            budget,
            measured,
            detected,
            words::one_line(&report.rehearsed_or_measured),
        ]);
    }
    for row in report.rows_worst_first() {
        let Some(scenario) = row.scenario() else { continue };
        let detection = row.detection().map_or_else(|| "–".to_owned(), |detection| detection.to_string());
        table.add_row([
            words::judged(row.judged()).to_uppercase(),
            words::shorten(&format!("{}: {}", row.id(), scenario.promise.says), TEXT_MAX),
            words::shorten(&scenario.budget_source, TEXT_MAX),
            words::budget(scenario),
            row.measured(),
            detection,
            words::one_line(&report.rehearsed_or_measured),
        ]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(14)));
    }
    let lines: Vec<String> = table.trim_fmt().lines().map(paint_verdict).collect();
    lines.join("\n") + "\n"
}

/// Colours count as width in a table, so its first word gets its colour afterwards.
fn paint_verdict(line: &str) -> String {
    for judged in [Judged::Pass, Judged::Inconclusive, Judged::Fail] {
        let word = words::judged(judged).to_uppercase();
        if let Some(rest) = line.trim_start().strip_prefix(&word) {
            return format!(" {}{rest}", paint(style(judged), &word));
        }
    }
    line.to_owned()
}

/// Of rounds: what they say together, and everything about those that did not pass.
fn row_lines(text: &mut String, row: &Row<'_>) {
    let (repeat, rounds) = match row {
        Row::Once(scenario) => return scenario_lines(text, scenario),
        Row::Rounds(repeat, rounds) => (repeat, rounds),
    };
    let judged = repeat.verdict.verdict;
    let title = row.scenario().map(|scenario| words::one_line(&scenario.title)).unwrap_or_default();
    let ran = format!("{}: {title}, {} of {} rounds", row.id(), repeat.rounds.len(), repeat.rounds_wanted);
    let word = paint(style(judged), &words::judged(judged).to_uppercase());
    text.push_str(&format!("\n{word} {}\n", paint(BOLD, &ran)));
    for (label, says) in row::details(repeat) {
        text.push_str(&format!("  {label:<9} {}\n", words::shorten(&says, TEXT_MAX)));
    }
    let not_passed = rounds.iter().filter(|round| round.verdict.verdict != Judged::Pass);
    not_passed.for_each(|round| scenario_lines(text, round));
}

/// A soak as text with colour codes.
#[must_use]
pub fn soak(soak: &SoakReport) -> String {
    let mut text = String::new();
    soak_lines(&mut text, soak);
    text
}

fn soak_lines(text: &mut String, soak: &SoakReport) {
    let judged = soak.verdict.verdict;
    let word = paint(style(judged), &words::judged(judged).to_uppercase());
    text.push_str(&format!("\n{word} {}: {}\n", paint(BOLD, "Soak"), words::shorten(&soak.says(), TEXT_MAX)));
    let width = soak.metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or(0);
    for metric in &soak.metrics {
        let name = paint(style(metric.judged()), &format!("{:width$}", metric.name));
        text.push_str(&format!("  {name}  {}\n", words::shorten(&metric.says(), TEXT_MAX)));
    }
    text.push_str(&format!("  by {}\n", words::shorten(&soak.source, TEXT_MAX)));
}

fn reference_lines(text: &mut String, reference: &ReferenceReport) {
    text.push_str(&format!("\n{} {}\n", paint(BOLD, "Compared with"), words::shorten(&reference.source, TEXT_MAX)));
    for one in &reference.growth {
        let sign = if one.warns { paint(UNKNOWN, "warning") } else { "       ".to_owned() };
        text.push_str(&format!("  {sign} {}: {}\n", one.scenario, words::shorten(&one.says, TEXT_MAX)));
    }
}

fn rollout_lines(text: &mut String, rollout: &RolloutReport) {
    let word = rollout.verdict.as_ref().map(|verdict| verdict.verdict);
    let word = word.map(|judged| format!("{} ", paint(style(judged), &words::judged(judged).to_uppercase())));
    let title = paint(BOLD, &format!("{}: {}", rollout.id, words::rollout_title(rollout)));
    text.push_str(&format!("\n{}{title}\n", word.unwrap_or_default()));
    for (label, says) in words::rollout_details(rollout) {
        text.push_str(&format!("  {label:<9} {}\n", words::shorten(&says, TEXT_MAX)));
    }
}

fn scenario_lines(text: &mut String, scenario: &ScenarioReport) {
    let judged = scenario.verdict.verdict;
    let word = paint(style(judged), &words::judged(judged).to_uppercase());
    let title = paint(BOLD, &format!("{}: {}", scenario.id, words::one_line(&scenario.title)));
    text.push_str(&format!("\n{word} {title}\n"));
    for (label, says) in words::details(scenario) {
        text.push_str(&format!("  {label:<9} {}\n", words::shorten(&says, TEXT_MAX)));
    }
}

/// The verdict, measured against budget, and the command that does it again.
fn tail(report: &Report) -> String {
    let exit = report.exit();
    let word = paint(style(words::colour(exit)), &words::of_exit(exit).to_uppercase());
    let why = words::shorten(&report.verdict.why, TEXT_MAX);
    let mut text = format!("{word}: {why} ({}; exit code {})\n", report.rehearsed_or_measured, exit.code());
    for (rollout, verdict) in report.judged_rollouts() {
        let word = paint(style(verdict.verdict), words::judged(verdict.verdict));
        text.push_str(&format!("  {word} {}\n", words::shorten(&words::rollout_summary(rollout), TEXT_MAX)));
    }
    for row in report.rows_worst_first() {
        let word = paint(style(row.judged()), words::judged(row.judged()));
        text.push_str(&format!("  {word} {}\n", words::shorten(&row.summary(), TEXT_MAX)));
    }
    for grown in report.reference.iter().flat_map(|reference| &reference.growth).filter(|one| one.warns) {
        let says = format!("{}: {}", grown.scenario, grown.says);
        text.push_str(&format!("  {} {}\n", paint(UNKNOWN, "warning"), words::shorten(&says, TEXT_MAX)));
    }
    for skipped in &report.skipped {
        text.push_str(&format!(
            "  {} {}\n",
            paint(UNKNOWN, "skip"),
            words::shorten(&words::skipped(skipped), TEXT_MAX)
        ));
    }
    if let Some(command) = &report.reproduce {
        text.push_str(&format!("Again: {}\n", words::one_line(command)));
    }
    text
}

fn style(judged: Judged) -> Style {
    match judged {
        Judged::Pass => GOOD,
        Judged::Inconclusive => UNKNOWN,
        Judged::Fail => BAD,
    }
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
