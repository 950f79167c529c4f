//! `doctor`: what this machine lacks.

use std::process::ExitCode;

use harness::doctor::{self, Finding};
use harness::verdict::Exit;
use serde_json::json;

use crate::{Output, Shared, say};

pub(crate) fn doctor(shared: &Shared) -> anyhow::Result<ExitCode> {
    let findings = doctor::examine(&shared.config);
    match shared.output {
        Output::Json => {
            let rows: Vec<_> = findings.iter().map(as_json).collect();
            say::result(serde_json::to_string_pretty(&rows)?)?;
        }
        Output::Human => findings.iter().try_for_each(|finding| say::result(in_words(finding)))?,
    }
    let healthy = findings.iter().all(|finding| finding.ok);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(Exit::Environment.code()) })
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({ "name": finding.name, "ok": finding.ok, "detail": finding.detail, "hint": finding.hint })
}

fn in_words(finding: &Finding) -> String {
    let mark = if finding.ok { "ok     " } else { "missing" };
    let hint = finding.hint.as_ref().filter(|_| !finding.ok);
    let hint = hint.map(|hint| format!("\n         hint: {hint}")).unwrap_or_default();
    format!("{mark}  {}: {}{hint}", finding.name, finding.detail)
}
