//! `doctor`: what this machine lacks.

use std::process::ExitCode;

use harness::doctor::{self, Finding};
use harness::verdict::Exit;
use serde_json::json;

use crate::{Output, Shared};

pub(crate) fn doctor(shared: &Shared) -> anyhow::Result<ExitCode> {
    let findings = doctor::examine(&shared.config);
    match shared.output {
        Output::Json => {
            let rows: Vec<_> = findings.iter().map(as_json).collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        Output::Human => findings.iter().for_each(print),
    }
    let healthy = findings.iter().all(|finding| finding.ok);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(Exit::Environment.code()) })
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({ "name": finding.name, "ok": finding.ok, "detail": finding.detail, "hint": finding.hint })
}

fn print(finding: &Finding) {
    let mark = if finding.ok { "ok     " } else { "missing" };
    anstream::println!("{mark}  {}: {}", finding.name, finding.detail);
    if let Some(hint) = finding.hint.as_ref().filter(|_| !finding.ok) {
        anstream::println!("         hint: {hint}");
    }
}
