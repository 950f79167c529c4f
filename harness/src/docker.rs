//! The Docker engine: what runs kind's nodes and the local registry.

use std::time::Duration;

use bollard::Docker;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;

mod containers;
mod image;

pub use containers::Container;
pub use image::ImageBuild;

/// How long the engine may take to say that it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a command in a container may take, where the caller says nothing.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// How much of a command's output is kept, in bytes.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// An engine that answers. Clones share connections.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
}

/// What a command in a container said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i64,
    /// Standard output and standard error as they came, 1 MiB at most.
    pub output: String,
}

/// The engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine answers.
    #[error("reach the Docker engine: {reason}")]
    Silent {
        /// What was last seen.
        reason: String,
    },
    /// The engine refused, or did not finish in time.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked, as a fragment that finishes "failed to …".
        what: String,
        /// What the engine said.
        reason: String,
    },
    /// An image is not there, and cannot be pulled.
    #[error("find image `{image}`: it is not there, and pulling it failed: {reason}")]
    NoImage {
        /// Which.
        image: String,
        /// What the engine said.
        reason: String,
    },
    /// A step of a Dockerfile failed.
    #[error("build image `{image}`: `{step}`: {reason}")]
    Build {
        /// The image.
        image: String,
        /// The step, as the engine numbers it.
        step: String,
        /// What the engine said of it.
        reason: String,
        /// The last lines that were said before.
        output: Vec<String>,
    },
    /// A command in a container failed.
    #[error("run `{command}` in container `{container}`: exit {code}: {said}")]
    Command {
        /// Its command line.
        command: String,
        /// Where.
        container: String,
        /// Its exit code.
        code: i64,
        /// The last line of what it said.
        said: String,
    },
}

impl Engine {
    /// Connects to the engine of `DOCKER_HOST`, else to the local one, and asks whether it is there.
    ///
    /// # Errors
    /// [`DockerError::Silent`] within 5 s.
    pub async fn connect() -> Result<Self, DockerError> {
        let silent = |reason: String| DockerError::Silent { reason };
        let docker = Docker::connect_with_defaults().map_err(|error| silent(error.to_string()))?;
        match tokio::time::timeout(ANSWER_WITHIN, docker.ping()).await {
            Ok(Ok(_)) => Ok(Self { docker }),
            Ok(Err(error)) => Err(silent(error.to_string())),
            Err(_) => Err(silent(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
        }
    }

    /// The client itself.
    #[must_use]
    pub fn client(&self) -> &Docker {
        &self.docker
    }

    /// Runs a command in a container and waits until it ends, 60 s at most.
    ///
    /// # Errors
    /// [`DockerError::Command`] where it ends with another code than 0, [`DockerError::Refused`].
    /// Dropping the future leaves the command running.
    pub async fn exec(&self, container: &str, command: &[&str]) -> Result<Executed, DockerError> {
        let line = command.join(" ");
        let refused =
            |reason: String| DockerError::Refused { what: format!("run `{line}` in container `{container}`"), reason };
        let ran = tokio::time::timeout(COMMAND_WITHIN, self.attached(container, command)).await;
        let executed = ran
            .map_err(|_| refused(format!("no end within {} s", COMMAND_WITHIN.as_secs())))?
            .map_err(|error| refused(error.to_string()))?;
        if executed.code == 0 {
            return Ok(executed);
        }
        let said = executed.output.trim_end().lines().last().unwrap_or("it said nothing").to_owned();
        Err(DockerError::Command { command: line, container: container.to_owned(), code: executed.code, said })
    }

    async fn attached(&self, container: &str, command: &[&str]) -> Result<Executed, bollard::errors::Error> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
            ..ExecConfig::default()
        };
        let id = self.docker.create_exec(container, config).await?.id;
        let mut said = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            self.docker.start_exec(&id, None::<StartExecOptions>).await?
        {
            while let Some(piece) = output.next().await {
                let piece = piece?.to_string();
                if said.len() + piece.len() <= OUTPUT_BYTES_MAX {
                    said.push_str(&piece);
                }
            }
        }
        let code = self.docker.inspect_exec(&id).await?.exit_code.unwrap_or(-1);
        Ok(Executed { code, output: said })
    }
}
