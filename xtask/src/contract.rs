//! `contract`: what the harness and the runbook rely on, asked of a cluster.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use embedded_cluster::launch::{self, Lifetime, Options};
use harness::pipeline::{self, Destination, Supply, Variant};
use harness::verdict::Exit;

use crate::fail::Failure;
use crate::release::{IMAGES, with_stages};
use crate::{Shared, develop};

/// The image whose shell the contracts use.
pub(crate) const IMAGE: &str = "hsc-jit-backend";

/// Check that a cluster behaves as the harness and the runbook rely on.
#[derive(Debug, clap::Args)]
pub(crate) struct Contract {
    /// A kubeconfig context; a fresh embedded cluster where absent.
    #[arg(long, value_name = "NAME", requires = "image")]
    context: Option<String>,
    /// The kubeconfig of that context; KUBECONFIG or ~/.kube/config where absent.
    #[arg(long, value_name = "FILE", requires = "context")]
    kubeconfig: Option<PathBuf>,
    /// An image with `sh` and busybox's programs that the cluster can pull; one of the
    /// system's own on the embedded cluster.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Passed on to the contracts, such as `--filter deployments` or `--list`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn contract(command: &Contract, shared: &Shared) -> anyhow::Result<ExitCode> {
    if command.context.is_some() {
        return hold(command, command.kubeconfig.as_ref(), command.image.as_deref().unwrap_or_default());
    }
    let image = match &command.image {
        Some(image) => image.clone(),
        None => pushed_image(shared)?,
    };
    let own = launch::start(&Options {
        program: std::env::current_exe()?,
        name: format!("contract-{}", std::process::id()),
        images: std::path::absolute(IMAGES)?,
        port: None,
        seed: 1,
        lifetime: Lifetime::Caller,
    })
    .map_err(Failure::from)?;
    let held = hold(command, Some(&own.kubeconfig), &image);
    launch::stop(&own.name).map_err(Failure::from)?;
    held
}

fn hold(command: &Contract, kubeconfig: Option<&PathBuf>, image: &str) -> anyhow::Result<ExitCode> {
    let mut contracts = develop::program();
    contracts.args(["run", "--quiet", "--bin", "contract", "--", "--image", image]);
    for (flag, value) in [("--kubeconfig", kubeconfig.map(|file| file.display().to_string()))]
        .into_iter()
        .chain([("--context", command.context.clone())])
    {
        if let Some(value) = value {
            contracts.args([flag, &value]);
        }
    }
    let status = Command::status(contracts.args(&command.rest)).context("failed to start cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Bug.code());
    Ok(ExitCode::from(code))
}

/// Builds and pushes the system's images; the name of the one whose shell is used.
fn pushed_image(shared: &Shared) -> anyhow::Result<String> {
    let images = std::path::absolute(IMAGES)?;
    with_stages(shared, async |config, cancel, sink| {
        let built = pipeline::build(config, &[Variant::current()], Supply::Installed, cancel, sink).await?;
        pipeline::push(config, &built, &Destination::Layout(images), cancel, sink).await?;
        let image = built.first().and_then(|release| release.images.get(IMAGE));
        image.map(pipeline::BuiltImage::pinned).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("find image `{IMAGE}`: gate.toml builds none of that name"))
                .hint("name one with --image")
        })
    })
}
