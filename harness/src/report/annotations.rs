//! GitHub Actions annotations: `::error file=…,line=…::…`.

use super::{Judged, Report, words};
use crate::event::StageResult;

/// GitHub shows ten annotations of a step and drops the others.
const SHOWN_MAX: usize = 10;

/// One line for each stage and promise that did not pass, the worst first, and then for each
/// warning; ten at most; where there are more, the last line says how many. Empty where all is
/// well.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let stages = report.stages.iter().filter(|stage| stage.result != Some(StageResult::Done)).map(|stage| {
        let title = format!("gameday: {}", stage.stage);
        format!("::error title={}::{}\n", property(&title), data(&words::one_line(&words::stage_result(stage))))
    });
    let rollouts = report.judged_rollouts().filter(|(_, verdict)| verdict.verdict != Judged::Pass);
    let rollouts = rollouts.map(|(rollout, verdict)| {
        let title = format!("gameday: {} {}", rollout.id, words::judged(verdict.verdict));
        format!("::error title={}::{}\n", property(&title), data(&words::one_line(&words::rollout_because(rollout))))
    });
    let rows = report.rows_worst_first();
    let scenarios = rows.iter().filter(|row| row.judged() != Judged::Pass).filter_map(|row| {
        let scenario = row.scenario()?;
        let title = format!("gameday: {} {}", row.id(), words::judged(row.judged()));
        let place = format!("file={},line={}", property(&scenario.file), scenario.line);
        let says = format!("{}: {}", scenario.title, row.because());
        Some(format!("::error {place},title={}::{}\n", property(&title), data(&words::one_line(&says))))
    });
    let rules = report.rules_unmet().into_iter();
    let rules = rules.map(|rule| format!("::error title=gameday::{}\n", data(&words::one_line(&rule))));
    let grown = report.reference.iter().flat_map(|reference| &reference.growth).filter(|one| one.warns).map(|one| {
        let title = format!("gameday: {} grew", one.scenario);
        format!("::warning title={}::{}\n", property(&title), data(&words::one_line(&one.says)))
    });
    let mut lines: Vec<String> = stages.chain(rollouts).chain(scenarios).chain(rules).chain(grown).collect();
    if lines.len() > SHOWN_MAX {
        let more = lines.len() - (SHOWN_MAX - 1);
        lines.truncate(SHOWN_MAX - 1);
        lines.push(format!("::error title=gameday::{more} more did not pass; the step summary has them all\n"));
    }
    lines.concat()
}

/// A message ends at the line's end, and `%` starts an escape.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property also ends at a comma, and its name at a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
