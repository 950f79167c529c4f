//! `cluster up|status|down`: a cluster that stays, embedded or kind.

use std::path::PathBuf;
use std::process::ExitCode;

use embedded_cluster::launch::{self, Lifetime, Options, Running};
use harness::cluster::{self as reached, Selection};
use harness::kind::{self, Removed};
use harness::run::place::DEFAULT_NAME;
use harness::verdict::Exit;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fail::Failure;
use crate::gate::Sort;
use crate::{Output, Shared, say, signals};

/// Start, look at and stop a cluster that stays.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Cluster {
    /// Start it, unless it runs; it runs until `cluster down`. A kind cluster that somebody else made is
    /// adopted.
    Up(Up),
    /// Say whether it runs, and how to reach it.
    Status(Named),
    /// Stop it; nothing of it stays. What was adopted stays without what `up` added.
    Down(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Sort of cluster.
    #[arg(long, value_enum, default_value_t = Sort::Embedded)]
    cluster: Sort,
    /// Name of the cluster.
    #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    named: Named,
    /// Port of the embedded cluster's API on 127.0.0.1; a free one where absent.
    #[arg(long)]
    port: Option<u16>,
    /// OCI layout that the embedded cluster pulls images from.
    #[arg(long, value_name = "DIRECTORY", default_value = crate::release::IMAGES)]
    images: PathBuf,
    /// Seed of the embedded cluster's randomness: names, delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    kind: KindImages,
}

/// What a kind cluster is made of, where one is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KindImages {
    /// Image of the nodes where a kind cluster is made; the one of kind-config/cluster.yaml where absent.
    #[arg(long, value_name = "IMAGE", env = "KIND_NODE_IMAGE", hide_env_values = true)]
    node_image: Option<String>,
    /// Image of the local registry beside a kind cluster; one that is pinned by digest where absent.
    #[arg(long, value_name = "IMAGE", env = "KIND_REGISTRY_IMAGE", hide_env_values = true)]
    registry_image: Option<String>,
}

impl KindImages {
    /// The cluster of this name.
    pub(crate) fn of(&self, name: &str) -> kind::Options {
        // A variable that is set to nothing is not set.
        let given = |image: &Option<String>| image.clone().filter(|image| !image.is_empty());
        kind::Options {
            name: name.to_owned(),
            node_image: given(&self.node_image),
            registry_image: given(&self.registry_image),
        }
    }
}

/// Reads the name of a cluster.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    if launch::is_name(text) { Ok(text.to_owned()) } else { Err("up to 40 lower-case letters, digits and `-`") }
}

pub(crate) fn cluster(command: &Cluster, shared: &Shared) -> anyhow::Result<ExitCode> {
    let named = match command {
        Cluster::Up(up) => &up.named,
        Cluster::Status(named) | Cluster::Down(named) => named,
    };
    match (command, named.cluster) {
        (Cluster::Up(up), Sort::Embedded) => self::up(up, shared),
        (Cluster::Up(up), Sort::Kind) => up_kind(up, shared),
        (Cluster::Status(named), Sort::Embedded) => status(named, shared),
        (Cluster::Status(named), Sort::Kind) => status_kind(named, shared),
        (Cluster::Down(named), Sort::Embedded) => down(named, shared),
        (Cluster::Down(named), Sort::Kind) => down_kind(named, shared),
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

fn up_kind(command: &Up, shared: &Shared) -> anyhow::Result<ExitCode> {
    let name = &command.named.name;
    let options = command.kind.of(name);
    let running = interruptible(shared, name, async |tell| kind::up(&options, tell).await)?;
    tell_kind(shared, &running)?;
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

fn status_kind(command: &Named, shared: &Shared) -> anyhow::Result<ExitCode> {
    let selection = Selection::Kind { name: command.name.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(reached::Cluster::connect(&selection, "default")).map_err(Failure::from)?;
    if let Some(running) = kind::find(&command.name) {
        tell_kind(shared, &running)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn down(command: &Named, shared: &Shared) -> anyhow::Result<ExitCode> {
    let ran = launch::stop(&command.name).map_err(Failure::from)?;
    let state = if ran { "stopped" } else { "did not run" };
    tell_down(shared, command, state)
}

fn down_kind(command: &Named, shared: &Shared) -> anyhow::Result<ExitCode> {
    let removed = interruptible(shared, &command.name, async |tell| kind::down(&command.name, tell).await)?;
    let state = match removed {
        Removed::Cluster => "removed",
        Removed::Additions => "left as it was found",
        Removed::Nothing => "did not run",
    };
    tell_down(shared, command, state)
}

/// Makes or removes until it is done, or until a signal ends it where it is: what is left then, the next
/// `up` or `down` finds.
fn interruptible<T>(
    shared: &Shared,
    name: &str,
    work: impl AsyncFnOnce(kind::Tell<'_>) -> Result<T, kind::KindError>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let quiet = shared.quiet;
    let mut tell = |line: &str| {
        if !quiet {
            say::narrative(line);
        }
    };
    let done = runtime.block_on(async {
        let (cancel, signal): (CancellationToken, _) = signals::cancelled_by_signals()?;
        let done = cancel.run_until_cancelled(work(&mut tell)).await;
        anyhow::Ok(done.ok_or(if signal.terminated() { Exit::Terminated } else { Exit::Interrupted }))
    })?;
    let interrupted = |exit| {
        Failure::new(exit, format!("kind cluster `{name}`: interrupted"))
            .hint("`cargo xtask cluster up --cluster kind` goes on, `cargo xtask cluster down --cluster kind` removes")
    };
    Ok(done.map_err(interrupted)?.map_err(Failure::from)?)
}

fn tell_down(shared: &Shared, command: &Named, state: &str) -> anyhow::Result<ExitCode> {
    let sort = match command.cluster {
        Sort::Embedded => "embedded",
        Sort::Kind => "kind",
    };
    match shared.output {
        Output::Json => say::result(json!({ "name": command.name, "state": state }))?,
        Output::Human => say::result(format!("{sort} cluster `{}` {state}", command.name))?,
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

fn tell_kind(shared: &Shared, running: &kind::Running) -> Result<(), Failure> {
    let kubeconfig = running.kubeconfig.display();
    match shared.output {
        Output::Json => say::result(json!({
            "name": running.name, "state": "runs", "registry": running.registry,
            "kubeconfig": running.kubeconfig, "made": running.made,
        })),
        Output::Human => {
            let whose = if running.made { "" } else { ", made by somebody else" };
            say::result(format!(
                "kind cluster `{}` runs, its registry is {}{whose}\nexport KUBECONFIG={kubeconfig}",
                running.name, running.registry
            ))
        }
    }
}
