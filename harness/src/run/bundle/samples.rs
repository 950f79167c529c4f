//! The samples around a scenario's fault, as CSV.

use std::time::Duration;

use crate::event::{Event, Offset, Sample, Seen, Subject, What};
use crate::scenario::plan::ScenarioId;

/// How far around the fault samples are kept.
const AROUND: Duration = Duration::from_secs(30);

/// The fold of a journal into the samples of the newest run of one scenario: those around its
/// fault, or all where there was none.
pub(super) struct Samples {
    scenario: ScenarioId,
    sent: Option<Offset>,
    done: Option<Offset>,
    samples: Vec<Sample>,
}

impl Samples {
    pub(super) fn of(scenario: &ScenarioId) -> Self {
        Self { scenario: scenario.clone(), sent: None, done: None, samples: Vec::new() }
    }

    /// Takes the next event in.
    pub(super) fn apply(&mut self, event: Event) {
        if event.scenario.as_ref() != Some(&self.scenario) {
            return;
        }
        if let What::Sample(sample) = event.what {
            if self.is_near(&sample) {
                self.samples.push(sample);
            }
        } else if matches!(event.what, What::ScenarioStarted(_)) {
            *self = Self::of(&self.scenario);
        } else if matches!(event.what, What::FaultSent) {
            self.sent.get_or_insert(event.at);
        } else if matches!(event.what, What::FaultDone) {
            self.done.get_or_insert(event.at);
        }
    }

    /// One row a sample, ordered by when they were sent; times are milliseconds since the run's start.
    pub(super) fn csv(&self, redact: impl Fn(&str) -> String) -> String {
        // What came before the fault was kept before it was known to be far from it.
        let mut samples: Vec<&Sample> = self.samples.iter().filter(|sample| self.is_near(sample)).collect();
        samples.sort_by_key(|sample| sample.sent);
        let mut csv = "check,subject,intended_ms,sent_ms,done_ms,seen,reason,value\n".to_owned();
        for sample in samples {
            csv += &row(sample, &redact);
            csv.push('\n');
        }
        csv
    }

    fn is_near(&self, sample: &Sample) -> bool {
        let done = self.done.or(self.sent);
        self.sent.is_none_or(|sent| sent.since(sample.sent) <= AROUND)
            && done.is_none_or(|done| sample.sent.since(done) <= AROUND)
    }
}

fn row(sample: &Sample, redact: impl Fn(&str) -> String) -> String {
    let (seen, reason) = match &sample.seen {
        Seen::Good => ("good", ""),
        Seen::Bad { reason } => ("bad", reason.as_str()),
        Seen::Missing { reason } => ("missing", reason.as_str()),
    };
    let subject = match &sample.subject {
        Subject::Service => "service".to_owned(),
        Subject::Pod { name, uid } => format!("{name}/{uid}"),
    };
    // Before quoting: a doubled quote would hide a value that has one.
    let text = |field: &str| csv_field(&redact(field));
    let cells = [
        text(&sample.check.0),
        text(&subject),
        millis(sample.intended),
        millis(sample.sent),
        millis(sample.done),
        seen.to_owned(),
        text(reason),
        text(sample.value.as_deref().unwrap_or_default()),
    ];
    cells.join(",")
}

fn millis(at: Offset) -> String {
    format!("{}.{:03}", at.nanos() / 1_000_000, at.nanos() / 1_000 % 1_000)
}

fn csv_field(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
