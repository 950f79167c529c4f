//! What this machine lacks, found out before it is needed.

use std::path::Path;
use std::process::Command;

pub use embedded_cluster::launch::Finding;

use crate::config::{Config, Program};

/// Looks at everything that a gate on the embedded cluster needs. Changes nothing.
#[must_use]
pub fn examine(config: &Path) -> Vec<Finding> {
    let mut findings = embedded_cluster::launch::preflight();
    findings.push(toolchain());
    match Config::load(config) {
        Ok(config) => {
            findings.push(finding("gate.toml", Ok(config.file.display().to_string()), ""));
            findings.extend(programs(&config));
        }
        Err(error) => findings.push(finding("gate.toml", Err(error.to_string()), "run from the project's root")),
    }
    findings
}

fn toolchain() -> Finding {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new(cargo).arg("--version").output();
    let found = match version {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(format!("cargo ended with {}", output.status)),
        Err(error) => Err(format!("cargo: {error}")),
    };
    finding("Rust toolchain", found, "install it with rustup; rust-toolchain.toml names the version")
}

/// The installed programs that images are made of.
fn programs(config: &Config) -> Vec<Finding> {
    let host = config.images.values().flat_map(|image| match &image.program {
        Program::Host(programs) => programs.clone(),
        Program::Cargo(_) => Vec::new(),
    });
    let busybox = config.images.values().any(|image| image.busybox).then(|| "busybox".to_owned());
    let mut names: Vec<String> = host.chain(busybox).collect();
    names.sort();
    names.dedup();
    names.iter().map(|name| program(name)).collect()
}

fn program(name: &str) -> Finding {
    match crate::image::host::find(name) {
        Ok(path) => finding(name, Ok(path.display().to_string()), ""),
        Err(error) => finding(name, Err(error.to_string()), "install its package with apt-get"),
    }
}

fn finding(name: &str, found: Result<String, String>, hint: &str) -> Finding {
    let ok = found.is_ok();
    let detail = found.unwrap_or_else(|error| error);
    Finding { name: name.to_owned(), ok, detail, hint: (!ok).then(|| hint.to_owned()) }
}
