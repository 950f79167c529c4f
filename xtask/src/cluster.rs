//! `cluster up|status|down`: the embedded cluster as a thing that stays.

use std::path::PathBuf;
use std::process::ExitCode;

use embedded_cluster::launch::{self, Lifetime, Options, Running};
use harness::run::place::DEFAULT_NAME;
use harness::verdict::Exit;
use serde_json::json;

use crate::fail::Failure;
use crate::{Output, Shared, say};

/// Start, look at and stop the embedded cluster.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Cluster {
    /// Start it, unless it runs; it runs until `cluster down`.
    Up(Up),
    /// Say whether it runs, and how to reach it.
    Status(Named),
    /// Stop it; nothing of it stays.
    Down(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Name of the cluster.
    #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    named: Named,
    /// Port of its API on 127.0.0.1; a free one where absent.
    #[arg(long)]
    port: Option<u16>,
    /// OCI layout that it pulls images from.
    #[arg(long, value_name = "DIRECTORY", default_value = crate::release::IMAGES)]
    images: PathBuf,
    /// Seed of its randomness: names, delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Reads the name of a cluster.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    if launch::is_name(text) { Ok(text.to_owned()) } else { Err("up to 40 lower-case letters, digits and `-`") }
}

pub(crate) fn cluster(command: &Cluster, shared: &Shared) -> anyhow::Result<ExitCode> {
    match command {
        Cluster::Up(up) => self::up(up, shared),
        Cluster::Status(named) => status(named, shared),
        Cluster::Down(named) => down(named, shared),
    }
}

fn up(command: &Up, shared: &Shared) -> anyhow::Result<ExitCode> {
    let name = &command.named.name;
    if let Some(running) = launch::find(name) {
        tell(shared, &running, "runs already")?;
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(&command.images).map_err(|error| {
        Failure::new(Exit::Environment, format!("make `{}`: {error}", command.images.display()))
            .hint("check space and permissions there, or name another directory with --images")
    })?;
    let started = launch::start(&Options {
        program: std::env::current_exe()?,
        name: name.clone(),
        images: std::path::absolute(&command.images)?,
        port: command.port,
        seed: command.seed,
        lifetime: Lifetime::UntilStopped,
    });
    tell(shared, &started.map_err(Failure::from)?, "runs")?;
    Ok(ExitCode::SUCCESS)
}

fn status(command: &Named, shared: &Shared) -> anyhow::Result<ExitCode> {
    let Some(running) = launch::find(&command.name) else {
        let failure = Failure::new(Exit::Environment, format!("embedded cluster `{}` does not run", command.name));
        return Err(failure.hint("`cargo xtask cluster up` starts it").into());
    };
    tell(shared, &running, "runs")?;
    Ok(ExitCode::SUCCESS)
}

fn down(command: &Named, shared: &Shared) -> anyhow::Result<ExitCode> {
    let ran = launch::stop(&command.name).map_err(Failure::from)?;
    let state = if ran { "stopped" } else { "did not run" };
    match shared.output {
        Output::Json => say::result(json!({ "name": command.name, "state": state }))?,
        Output::Human => say::result(format!("embedded cluster `{}` {state}", command.name))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(shared: &Shared, running: &Running, state: &str) -> Result<(), Failure> {
    let kubeconfig = running.kubeconfig.display();
    match shared.output {
        Output::Json => say::result(json!({
            "name": running.name, "state": state, "server": running.server,
            "kubeconfig": running.kubeconfig, "pid": running.pid,
        })),
        Output::Human => say::result(format!(
            "embedded cluster `{}` {state} at {} (process {})\nexport KUBECONFIG={kubeconfig}",
            running.name, running.server, running.pid
        )),
    }
}
