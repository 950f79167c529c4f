//! Building images with the engine, and taking them out of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptions;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{DockerError, Engine};
use crate::image::pieces::pieces;

/// How long a build may be silent: a step that compiles says little.
const SILENCE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long the engine may let us wait for the next piece of an image.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How many last lines of a failed build are kept.
const LINES_KEPT: usize = 40;

/// What to build.
#[derive(Debug, Clone, Copy)]
pub struct ImageBuild<'a> {
    /// The image's name in messages.
    pub image: &'a str,
    /// The name that it gets in the engine, which keeps its cache from being tidied away.
    pub tag: &'a str,
    /// The Dockerfile's path in the context.
    pub dockerfile: &'a str,
    /// The stage to stop at; the last one where absent.
    pub target: Option<&'a str>,
    /// Build arguments.
    pub args: &'a BTreeMap<String, String>,
}

/// What was said so far.
#[derive(Default)]
struct Said {
    /// `Step 2/3 : RUN make`
    step: String,
    lines: Vec<String>,
}

impl Engine {
    /// Builds an image of a context, a tar file. `said` gets each line as it comes.
    ///
    /// # Errors
    /// [`DockerError::Build`] with the step that failed, [`DockerError::Refused`]. Dropping the
    /// future breaks the build off.
    pub async fn build_image(
        &self,
        context: &Path,
        build: &ImageBuild<'_>,
        said: impl Fn(String),
    ) -> Result<(), DockerError> {
        let refused = |reason: String| DockerError::Refused { what: format!("build image `{}`", build.image), reason };
        let file = File::open(context).await.map_err(|error| refused(error.to_string()))?;
        let body = bollard::body_try_stream(pieces(file));
        let mut told = Said::default();
        let mut building = std::pin::pin!(self.client().build_image(options(build), None, Some(body)));
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, building.next()).await;
            let next = next.map_err(|_| refused(format!("it said nothing for {} s", SILENCE_MAX.as_secs())))?;
            match next {
                None => return Ok(()),
                Some(Ok(info)) => match failure(&info) {
                    Some(reason) => return Err(told.failed(build.image, reason)),
                    None => told.take(&info).into_iter().for_each(&said),
                },
                Some(Err(bollard::errors::Error::DockerStreamError { error })) => {
                    return Err(told.failed(build.image, error));
                }
                Some(Err(error)) => return Err(refused(error.to_string())),
            }
        }
    }

    /// Writes an image into a file, as `docker save` does.
    ///
    /// # Errors
    /// [`DockerError::Refused`].
    pub async fn save_image(&self, tag: &str, into: &Path) -> Result<(), DockerError> {
        let refused = |reason: String| DockerError::Refused { what: format!("save image `{tag}`"), reason };
        let mut file = File::create(into).await.map_err(|error| refused(error.to_string()))?;
        let mut saving = std::pin::pin!(self.client().export_image(tag));
        loop {
            let next = tokio::time::timeout(PIECE_WITHIN, saving.try_next()).await;
            let next = next.map_err(|_| refused(format!("nothing came for {} s", PIECE_WITHIN.as_secs())))?;
            let Some(piece) = next.map_err(|error| refused(error.to_string()))? else { break };
            file.write_all(&piece).await.map_err(|error| refused(error.to_string()))?;
        }
        file.flush().await.map_err(|error| refused(error.to_string()))
    }
}

fn options(build: &ImageBuild<'_>) -> BuildImageOptions {
    BuildImageOptions {
        dockerfile: build.dockerfile.to_owned(),
        t: Some(build.tag.to_owned()),
        target: build.target.unwrap_or_default().to_owned(),
        buildargs: Some(
            build.args.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<HashMap<_, _>>(),
        ),
        rm: true,
        forcerm: true,
        ..BuildImageOptions::default()
    }
}

fn failure(info: &BuildInfo) -> Option<String> {
    let detail = info.error_detail.as_ref()?;
    Some(detail.message.clone().unwrap_or_else(|| "it failed, and did not say why".to_owned()))
}

impl Said {
    /// The whole lines of a message.
    fn take(&mut self, info: &BuildInfo) -> Vec<String> {
        let text = info.stream.as_deref().or(info.status.as_deref()).unwrap_or_default();
        let lines: Vec<String> =
            text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        for line in &lines {
            if line.starts_with("Step ") {
                self.step.clone_from(line);
            }
            self.lines.push(line.clone());
        }
        let surplus = self.lines.len().saturating_sub(LINES_KEPT);
        self.lines.drain(..surplus);
        lines
    }

    fn failed(self, image: &str, reason: String) -> DockerError {
        let step = if self.step.is_empty() { "before its first step".to_owned() } else { self.step };
        DockerError::Build { image: image.to_owned(), step, reason: reason.trim().to_owned(), output: self.lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_step_that_it_happened_in() {
        let mut said = Said::default();
        let mut say = |text: &str| said.take(&BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() });
        assert_eq!(say("Step 1/2 : FROM scratch\n"), ["Step 1/2 : FROM scratch"]);
        assert_eq!(say("\n"), [""; 0]);
        say("Step 2/2 : COPY a /a\n");
        (0..100).for_each(|number| drop(say(&format!("line {number}\n"))));
        let error = said.failed("web", "COPY failed: no such file\n".to_owned());
        assert_eq!(error.to_string(), "build image `web`: `Step 2/2 : COPY a /a`: COPY failed: no such file");
        let DockerError::Build { output, .. } = error else { panic!("{error}") };
        assert_eq!((output.len(), output.last().map(String::as_str)), (LINES_KEPT, Some("line 99")));
    }
}
