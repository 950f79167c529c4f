//! `report`: render a run's reports again from its journal, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::event::Event;
use harness::journal::{self, JournalError};
use harness::reference::Comparand;
use harness::report;
use harness::report::timeline::Timelines;
use harness::run::reference;
use harness::verdict::Exit;

use crate::fail::Failure;
use crate::{Output, Shared, say, scenario};

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
    /// Compare with another run's journal, or with a reference file, instead of what the run
    /// itself was compared with.
    #[arg(long, value_name = "RUN|FILE")]
    compare: Option<String>,
    /// Warnings fail: recoveries that grew much beyond what they are compared with.
    #[arg(long)]
    strict: bool,
    /// Take the run's recoveries into the reference file of gate.toml, for later runs on the same
    /// sort of cluster and with the same profile.
    #[arg(long)]
    write_reference: bool,
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
    let path = journal_of(&command.run, &command.runs)?;
    let (mut report, timelines) = folded(&path)?;
    if let Some(compare) = &command.compare {
        report.compare(&comparand(compare, command, shared)?);
    }
    if command.strict {
        report.rules.strict = true;
        report.judge();
    }
    if command.write_reference {
        return write_reference(&report, shared);
    }
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

/// The journal of a run, by the run's id or as a file.
fn journal_of(run: &str, runs: &Path) -> Result<PathBuf, Failure> {
    let given = PathBuf::from(run);
    let path = if given.is_file() { given } else { runs.join(run).join("journal.ndjson") };
    if path.is_file() {
        return Ok(path);
    }
    let failure = Failure::new(Exit::Usage, format!("no run `{run}`: there is no `{}`", path.display()));
    Err(failure.hint("`cargo xtask report` renders the newest run; give a run id or a journal file"))
}

/// What a journal says, and its scenarios as they went.
fn folded(path: &Path) -> Result<(report::Report, Timelines), Failure> {
    let (mut fold, mut timelines) = (report::Fold::default(), Timelines::default());
    let take = |event: Event| {
        fold.apply(&event);
        timelines.apply(&event);
    };
    let torn_bytes = journal::each(path, take).map_err(|error| {
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
    Ok((fold.report(), timelines))
}

/// What is compared with: a reference file, or the kept promises of another run.
fn comparand(given: &str, command: &Report, shared: &Shared) -> anyhow::Result<Comparand> {
    let warn_above = scenario::config(&shared.config)?.reference.warn_above;
    let path = Path::new(given);
    let is_reference = path.is_file() && path.extension().is_some_and(|extension| extension == "json");
    let reference = match is_reference {
        true => reference::read(path).map_err(Failure::from)?.unwrap_or_default(),
        false => folded(&journal_of(given, &command.runs)?)?.0.as_reference(),
    };
    let source = if is_reference { given.to_owned() } else { format!("run {given}") };
    Ok(Comparand { source, reference, warn_above })
}

fn write_reference(report: &report::Report, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = scenario::config(&shared.config)?;
    let newer = report.as_reference();
    let count = newer.entries.len();
    if count == 0 {
        let failure = Failure::new(Exit::NothingSelected, "the run has no recovery of a promise that was kept");
        return Err(failure.hint("only what passed can be a reference").into());
    }
    reference::renew(&config.reference.file, newer).map_err(Failure::from)?;
    say::result(format!("{count} recoveries are in {}", config.reference.file.display()))?;
    Ok(ExitCode::SUCCESS)
}
