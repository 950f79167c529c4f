//! From source to a rolled-out release: build, push, deploy, smoke, roll back.
//!
//! Every stage tells a [`Sink`] when it began, how it ended and what it found; the caller
//! journals that. Nothing here knows the system under test: what is built, applied and asked
//! stands in `gate.toml` and in the manifests.

use std::fmt;
use std::pin::pin;

use tokio::sync::mpsc;

use crate::event::{Offset, RolloutMoment, RolloutStep, StageResult, What};

pub mod manifests;

mod api;
mod build;
mod deploy;
mod destination;
mod push;
mod revision;
mod rollback;
mod rollout;
mod secrets;
mod smoke;
mod soak;
mod traffic;
mod way_back;

pub use api::ApiError;
pub use build::{BuildError, BuiltImage, BuiltRelease, Supply, Variant, Why, build, supplies};
pub use deploy::{DeployError, DeployOptions, deploy, permit};
pub use destination::Destination;
pub use push::{PushError, Pushed, push};
pub(crate) use rollback::undo;
pub use rollback::{RollbackError, rollback};
pub use smoke::{SmokeError, SmokeResult, smoke};
pub use soak::{SoakError, soak};
pub use way_back::way_back;

/// Takes what the stages tell.
pub type Sink<'a> = &'a mut (dyn FnMut(What) + Send);

/// How a stage's error ends the stage.
pub trait StageError: fmt::Display {
    /// The result that is journalled.
    fn result(&self) -> StageResult {
        StageResult::Failed { error: self.to_string() }
    }

    /// What is known all the same.
    fn facts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Runs a stage between its two events. The work returns its value and the stage's facts.
pub(crate) async fn stage<T, E: StageError>(
    name: &str,
    sink: Sink<'_>,
    work: impl Future<Output = Result<(T, Vec<String>), E>>,
) -> Result<T, E> {
    sink(What::StageStarted { stage: name.to_owned() });
    let ended = work.await;
    finished(name, sink, ended)
}

fn finished<T, E: StageError>(name: &str, sink: Sink<'_>, ended: Result<(T, Vec<String>), E>) -> Result<T, E> {
    let (result, facts, ended) = match ended {
        Ok((value, facts)) => (StageResult::Done, facts, Ok(value)),
        Err(error) => (error.result(), error.facts(), Err(error)),
    };
    sink(What::StageFinished { stage: name.to_owned(), result, facts });
    ended
}

/// What a stage may have told before it is taken in; beyond it, telling waits.
const TOLD_MAX: usize = 4096;

/// Tells what happens while a stage is under way; its clones tell the same sink.
#[derive(Debug, Clone)]
struct Tell(mpsc::Sender<What>);

impl Tell {
    async fn tell(&self, what: What) {
        // The stage listens for as long as it lasts.
        let _ = self.0.send(what).await;
    }

    /// Tells what is no loss where too much is told already.
    fn pass_on(&self, what: What) {
        let _ = self.0.try_send(what);
    }

    async fn moment(&self, at: Offset, step: RolloutStep) {
        self.tell(What::Rollout(RolloutMoment { at, step })).await;
    }
}

/// As [`stage`], for work that tells what happens meanwhile.
async fn telling_stage<T, E: StageError>(
    name: &str,
    sink: Sink<'_>,
    work: impl AsyncFnOnce(Tell) -> Result<(T, Vec<String>), E>,
) -> Result<T, E> {
    sink(What::StageStarted { stage: name.to_owned() });
    let (told, mut telling) = mpsc::channel(TOLD_MAX);
    let ended = {
        let mut work = pin!(work(Tell(told)));
        loop {
            tokio::select! {
                biased;
                Some(what) = telling.recv() => sink(what),
                ended = &mut work => break ended,
            }
        }
    };
    while let Ok(what) = telling.try_recv() {
        sink(what);
    }
    finished(name, sink, ended)
}

/// Bytes as people read them.
fn bytes_text(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const KIB: u64 = 1 << 10;
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    match bytes {
        MIB.. => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        KIB.. => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_text;

    #[test]
    fn bytes_are_readable() {
        for (bytes, expect) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")] {
            assert_eq!(bytes_text(bytes), expect);
        }
    }
}
