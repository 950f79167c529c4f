//! `report`: render a run's reports again from its journal, without a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use harness::event::Event;
use harness::journal::{self, JournalError};
use harness::report;
use harness::report::timeline::Timelines;
use harness::verdict::Exit;

use crate::fail::Failure;
use crate::{Output, Shared, say};

/// Render a run's reports again from its journal.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// The run's id, or a journal file.
    #[arg(default_value = "latest")]
    run: String,
    /// Where run directories are.
    #[arg(long, env = "GAMEDAY_RUNS", value_name = "DIRECTORY", default_value = crate::gate::RUNS)]
    runs: PathBuf,
    /// Which form.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, on a terminal.
    Terminal,
    /// As `report.json`.
    Json,
    /// As `report.md`.
    Markdown,
    /// As `junit.xml`.
    Junit,
    /// As `report.html`.
    Html,
}

pub(crate) fn report(command: &Report, shared: &Shared) -> anyhow::Result<ExitCode> {
    let given = PathBuf::from(&command.run);
    let path = if given.is_file() { given } else { command.runs.join(&command.run).join("journal.ndjson") };
    if !path.is_file() {
        let failure = Failure::new(Exit::Usage, format!("no run `{}`: there is no `{}`", command.run, path.display()));
        return Err(failure
            .hint("`cargo xtask report` renders the newest run; give a run id or a journal file")
            .into());
    }
    let (mut fold, mut timelines) = (report::Fold::default(), Timelines::default());
    let take = |event: Event| {
        fold.apply(&event);
        timelines.apply(&event);
    };
    let torn_bytes = journal::each(&path, take).map_err(|error| {
        let hint = match &error {
            JournalError::Damaged { line, .. } => format!(
                "what lies before can be rendered: `head -n {} {} > before.ndjson`, then `cargo xtask report before.ndjson`",
                line - 1,
                path.display()
            ),
            JournalError::Io { .. } => "check its permissions".to_owned(),
        };
        Failure::of(Exit::Usage, &error).hint(hint)
    })?;
    if torn_bytes > 0 {
        say::narrative(format!(
            "warning: the journal ends in the middle of an event ({} bytes left out): its run was cut off",
            torn_bytes
        ));
    }
    let report = fold.report();
    let default = match shared.output {
        Output::Human => Format::Terminal,
        Output::Json => Format::Json,
    };
    let text = match command.format.unwrap_or(default) {
        Format::Terminal => report::terminal(&report),
        Format::Json => report::json(&report),
        Format::Markdown => report::markdown(&report),
        Format::Junit => report::junit(&report),
        Format::Html => report::html(&report, &timelines.drawn()),
    };
    say::result(text.trim_end())?;
    Ok(ExitCode::from(report.exit().code()))
}
