//! Is everything here that a gate needs? One finding a question, each with what to do.

use std::path::Path;
use std::process::{Command, Stdio};

use embedded_cluster::launch::preflight;

use crate::config::{Config, ConfigError};
use crate::docker::Engine;
use crate::image::{ImageError, host};
use crate::kind;
use crate::pipeline::{self, manifests};

pub use embedded_cluster::launch::Finding;

/// Free space below which building images is likely to fail, in bytes.
const DISK_BYTES_MIN: u64 = 2 << 30;

/// Checks the toolchain, `gate.toml` and all it names, the programs that go into images,
/// free space, and what the embedded cluster needs. Takes a second, and changes nothing.
#[must_use]
pub fn examine(gate_file: &Path) -> Vec<Finding> {
    let mut findings = vec![toolchain()];
    match Config::load(gate_file) {
        Ok(config) => {
            findings.push(good("gate.toml", gate_file.display().to_string()));
            findings.extend(manifests_of(&config));
            findings.extend(programs(&config));
            let supplies = pipeline::supplies(&config).into_iter();
            findings.extend(supplies.map(|(image, way)| good(&format!("image `{image}`"), way)));
            findings.push(disk(&config.root));
        }
        Err(error @ ConfigError::Unreadable { .. }) => {
            findings.push(bad("gate.toml", &error.to_string(), "run from the project's root"));
        }
        Err(error @ ConfigError::Invalid { .. }) => {
            findings.push(bad("gate.toml", &error.to_string(), "correct it at that place"));
        }
    }
    findings.extend(preflight());
    findings.extend(for_kind());
    findings
}

/// What `--cluster kind` needs. The embedded cluster is what people start with, so what is not there
/// is worth a word and no failure.
fn for_kind() -> Vec<Finding> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let engine = match runtime.block_on(Engine::connect()) {
        Ok(_) => "answers".to_owned(),
        Err(error) => format!("only `--cluster kind` needs it: {error}"),
    };
    let program = match runtime.block_on(kind::version()) {
        Ok(version) => version,
        Err(error) => format!("only `--cluster kind` needs it: {error}"),
    };
    vec![good("Docker engine", engine), good("program `kind`", program)]
}

fn toolchain() -> Finding {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let hint = "install Rust with rustup; rust-toolchain.toml names the version";
    match Command::new(&cargo).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            good("toolchain", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => bad("toolchain", &format!("cargo --version: {}", output.status), hint),
        Err(error) => bad("toolchain", &format!("{}: {error}", cargo.display()), hint),
    }
}

/// The manifests by themselves and under each profile.
fn manifests_of(config: &Config) -> Vec<Finding> {
    let profiles = config.profiles.keys().map(String::as_str);
    let check = |profile: &str| {
        let name = format!("manifests, {profile}");
        match manifests::load(config, profile) {
            Ok(loaded) => {
                let (objects, changes) = (loaded.objects.len(), loaded.profile_changes.len());
                good(&name, format!("{objects} objects, {changes} changed settings"))
            }
            Err(error) => bad(&name, &error.to_string(), "correct it at that place"),
        }
    };
    profiles.chain([manifests::AS_DEPLOYED]).map(check).collect()
}

/// Programs that go into images.
fn programs(config: &Config) -> Vec<Finding> {
    let mut wanted: Vec<&str> = Vec::new();
    for image in config.images.values() {
        if image.busybox {
            wanted.push("busybox");
        }
        wanted.extend(image.program.installed().iter().map(String::as_str));
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into_iter().map(program).collect()
}

fn program(name: &str) -> Finding {
    let title = format!("program `{name}`");
    match host::find(name) {
        Ok(path) => good(&title, path.display().to_string()),
        Err(ImageError::MissingProgram { package, .. }) => Finding {
            name: title,
            ok: false,
            detail: "not installed".to_owned(),
            hint: package.map(|package| format!("apt-get install {package}")),
        },
        Err(error) => Finding { name: title, ok: false, detail: error.to_string(), hint: None },
    }
}

fn disk(root: &Path) -> Finding {
    let name = "disk space for images";
    let hint = "free at least 2 GiB; `target/gate` holds images and reports";
    match rustix::fs::statvfs(root) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let detail = format!("{} MiB free at {}", free >> 20, root.display());
            if free >= DISK_BYTES_MIN { good(name, detail) } else { bad(name, &detail, hint) }
        }
        Err(error) => bad(name, &format!("{}: {error}", root.display()), hint),
    }
}

fn good(name: &str, detail: String) -> Finding {
    Finding { name: name.to_owned(), ok: true, detail, hint: None }
}

fn bad(name: &str, detail: &str, hint: &str) -> Finding {
    Finding { name: name.to_owned(), ok: false, detail: detail.to_owned(), hint: Some(hint.to_owned()) }
}
