//! GitHub Actions annotations: `::error file=…,line=…::…`.

use super::{Judged, Report, words};
use crate::event::StageResult;

/// GitHub shows ten annotations of a step and drops the others.
const SHOWN_MAX: usize = 10;

/// One line for each stage and scenario that did not pass, the worst first, ten at most; where
/// there are more, the last line says how many. Empty where all is well.
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
    let scenarios = report.worst_first().into_iter().filter(|scenario| scenario.verdict.verdict != Judged::Pass);
    let scenarios = scenarios.map(|scenario| {
        let title = format!("gameday: {} {}", scenario.id, words::judged(scenario.verdict.verdict));
        let place = format!("file={},line={}", property(&scenario.file), scenario.line);
        let says = format!("{}: {}", scenario.title, words::because(scenario));
        format!("::error {place},title={}::{}\n", property(&title), data(&words::one_line(&says)))
    });
    let mut lines: Vec<String> = stages.chain(rollouts).chain(scenarios).collect();
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
