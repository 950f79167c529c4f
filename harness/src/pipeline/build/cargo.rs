//! One `cargo build` for every binary that goes into an image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::BuildError;
use crate::config::CargoBinary;

/// Builds these binaries and returns where they stand.
pub(super) async fn build(
    root: &Path,
    binaries: &BTreeSet<CargoBinary>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<CargoBinary, PathBuf>, BuildError> {
    if binaries.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features of the whole workspace, so that what this program shares with the
    // binaries is compiled once.
    command.current_dir(root).args(["build", "--workspace", "--message-format=json-render-diagnostics"]);
    for binary in binaries {
        command.args(["--bin", &binary.bin]);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let unusable = |error: std::io::Error| BuildError::CargoUnusable { reason: error.to_string() };
    // Dropping the future on cancellation ends cargo.
    let output = cancel.run_until_cancelled(command.output()).await.ok_or(BuildError::Cancelled)?.map_err(unusable)?;
    if !output.status.success() {
        return Err(BuildError::Cargo {
            packages: binaries.iter().map(|binary| binary.package.as_str()).collect::<Vec<_>>().join(", "),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    artifacts(&String::from_utf8_lossy(&output.stdout), binaries)
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn artifacts(messages: &str, binaries: &BTreeSet<CargoBinary>) -> Result<BTreeMap<CargoBinary, PathBuf>, BuildError> {
    let mut found = BTreeMap::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line)
            .map_err(|error| BuildError::CargoUnusable { reason: format!("unexpected message: {error}") })?;
        let ("compiler-artifact", Some(target), Some(executable)) =
            (message.reason.as_str(), message.target, message.executable)
        else {
            continue;
        };
        if let Some(binary) = binaries.iter().find(|binary| binary.bin == target.name) {
            found.insert(binary.clone(), executable);
        }
    }
    match binaries.iter().find(|binary| !found.contains_key(*binary)) {
        None => Ok(found),
        Some(missing) => Err(BuildError::CargoUnusable { reason: format!("it built no binary `{}`", missing.bin) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries() -> BTreeSet<CargoBinary> {
        BTreeSet::from([CargoBinary { package: "standin".into(), bin: "standin".into() }])
    }

    #[test]
    fn executables_are_found_among_other_messages() {
        let messages = r#"
{"reason":"compiler-artifact","package_id":"x","target":{"name":"serde","kind":["lib"]},"executable":null}
{"reason":"build-script-executed","package_id":"x"}
{"reason":"compiler-artifact","package_id":"y","target":{"name":"standin","kind":["bin"]},"executable":"/t/standin"}
{"reason":"build-finished","success":true}
"#;
        let found = artifacts(messages, &binaries()).unwrap();
        assert_eq!(found.into_values().collect::<Vec<_>>(), [PathBuf::from("/t/standin")]);
    }

    #[test]
    fn a_binary_that_was_not_built_is_named() {
        let error = artifacts(r#"{"reason":"build-finished","success":true}"#, &binaries()).unwrap_err();
        assert_eq!(error.to_string(), "run cargo: it built no binary `standin`");
    }

    #[tokio::test]
    async fn a_cancelled_build_does_not_run() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let error = build(Path::new("/"), &binaries(), &cancel).await.unwrap_err();
        assert!(matches!(error, BuildError::Cancelled), "{error}");
    }
}
