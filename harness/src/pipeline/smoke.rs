//! Smoke test: does the release answer what `gate.toml` expects, through its Services?

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::rollback::seconds;
use super::{Sink, StageError, stage};
use crate::clock::RunClock;
use crate::cluster::reach::Reached;
use crate::cluster::{Cluster, ClusterError};
use crate::config::{Ask, Config, HttpExpectation, SmokeCheck, WebsocketExpectation};
use crate::event::{Offset, StageResult};

mod expect;

/// How long a Service may take to let anyone in after a rollout: endpoints reach the rules
/// of every node some hundreds of milliseconds after the pods are ready.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// How long one try to get in may take, and how often it is tried.
const TRY_WITHIN: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How often a check is asked again whose way to the system broke meanwhile.
const AGAIN_MAX: u32 = 20;
/// Pause before that.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// The longest answer that is read.
const BODY_MAX: usize = 1 << 20;

/// One check after it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmokeResult {
    /// What it shows.
    pub name: String,
    /// The Service that was asked.
    pub service: String,
    /// Whether the answer was right.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// A release does not answer as it should, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    /// These checks failed.
    #[error("{} of {} smoke checks failed: {}", failed(results).count(), results.len(), names(results))]
    Failed {
        /// All checks, those that passed too.
        results: Vec<SmokeResult>,
    },
    /// A Service could not be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// `gate.toml` has no check to ask.
    #[error("smoke-test: gate.toml has no {0} to ask")]
    Nothing(&'static str),
    /// The user stopped it.
    #[error("smoke-test: cancelled")]
    Cancelled,
}

impl StageError for SmokeError {
    fn result(&self) -> StageResult {
        match self {
            Self::Cancelled => StageResult::Cancelled,
            error => StageResult::Failed { error: error.to_string() },
        }
    }

    fn facts(&self) -> Vec<String> {
        match self {
            Self::Failed { results } => lines(results),
            Self::Cluster(_) | Self::Nothing(_) | Self::Cancelled => Vec::new(),
        }
    }
}

/// Asks every smoke check of `gate.toml`, or with `quick` those marked so, each once and on
/// a connection of its own. `version` is what `{version}` stands for in expectations.
///
/// # Errors
/// [`SmokeError`]; all checks are asked even if an early one fails.
pub async fn smoke(
    config: &Config,
    cluster: &Cluster,
    version: &str,
    quick: bool,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Vec<SmokeResult>, SmokeError> {
    let work = async {
        let work = ask_all(config, cluster, version, quick);
        let results = cancel.run_until_cancelled(work).await.ok_or(SmokeError::Cancelled)??;
        let results = passed(results)?;
        let facts = lines(&results);
        Ok((results, facts))
    };
    stage("smoke", sink, work).await
}

/// The results, where all passed.
pub(super) fn passed(results: Vec<SmokeResult>) -> Result<Vec<SmokeResult>, SmokeError> {
    if failed(&results).next().is_some() {
        return Err(SmokeError::Failed { results });
    }
    Ok(results)
}

/// Asks every smoke check, or the quick ones, one after the other.
pub(super) async fn ask_all(
    config: &Config,
    cluster: &Cluster,
    version: &str,
    quick: bool,
) -> Result<Vec<SmokeResult>, SmokeError> {
    let checks: Vec<&SmokeCheck> = config.smoke.iter().filter(|check| check.quick || !quick).collect();
    if checks.is_empty() {
        return Err(SmokeError::Nothing(if quick { "quick smoke check" } else { "smoke check" }));
    }
    let mut known: Vec<(&str, Reached)> = Vec::new();
    let mut results = Vec::new();
    for check in checks {
        let reached = match known.iter().find(|(service, _)| *service == check.service) {
            Some((_, reached)) => reached.clone(),
            None => {
                let reached = cluster.reach(&check.service).await?;
                results.push(reach(&check.service, &reached).await);
                known.push((&check.service, reached.clone()));
                reached
            }
        };
        results.push(ask(check, &reached, version).await);
    }
    Ok(results)
}

/// Waits until the Service answers anything at all.
async fn reach(service: &str, reached: &Reached) -> SmokeResult {
    let clock = RunClock::start();
    let mut tries = tokio::time::interval(TRY_EVERY);
    let (passed, seen) = loop {
        tries.tick().await;
        let seen = match tokio::time::timeout(TRY_WITHIN, get(reached, "/")).await {
            Ok(Ok((status, _))) => break (true, format!("answered {status}")),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer".to_owned(),
        };
        if clock.now().since(Offset::ZERO) >= REACHED_WITHIN {
            break (false, seen);
        }
    };
    let took = clock.now().since(Offset::ZERO);
    let (name, service) = (format!("service {service} is reached"), service.to_owned());
    let through =
        reached.news().map_or_else(|| reached.address.to_string(), |news| format!("{}; {news}", reached.address));
    SmokeResult { name, service, passed, detail: format!("{through}: {seen}"), took }
}

/// Asks once, and again where the way there broke meanwhile.
async fn ask(check: &SmokeCheck, reached: &Reached, version: &str) -> SmokeResult {
    let clock = RunClock::start();
    let mut again = 0;
    loop {
        let began = clock.instant(clock.now());
        let mut result = ask_once(check, reached, version).await;
        let excuse =
            reached.way().filter(|_| !result.passed).and_then(|way| way.excuse(began, clock.instant(clock.now())));
        let Some(excuse) = excuse else { return result };
        again += 1;
        if again > AGAIN_MAX {
            result.detail = format!("{}; {excuse}", result.detail);
            return result;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn ask_once(check: &SmokeCheck, reached: &Reached, version: &str) -> SmokeResult {
    let clock = RunClock::start();
    let asked = async {
        match &check.ask {
            Ask::Http(expectation) => http(expectation, reached, version).await,
            Ask::Websocket(expectation) => websocket(expectation, reached, version).await,
        }
    };
    let answer = tokio::time::timeout(check.within, asked).await;
    let took = clock.now().since(Offset::ZERO);
    let (passed, detail) = match answer {
        Ok(Ok(detail)) => (true, detail),
        Ok(Err(detail)) => (false, detail),
        Err(_) => (false, format!("no complete answer within {}", seconds(check.within))),
    };
    SmokeResult { name: check.name.clone(), service: check.service.clone(), passed, detail, took }
}

async fn http(expectation: &HttpExpectation, reached: &Reached, version: &str) -> Result<String, String> {
    let (status, body) = get(reached, &expectation.path).await?;
    expect::http(expectation, status, &body, version)
}

/// A GET on a connection of its own: no pool, no redirects, no retries.
async fn get(reached: &Reached, path: &str) -> Result<(u16, String), String> {
    let stream = connect(reached).await?;
    let broken = |error: hyper::Error| format!("broken: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, reached.authority())
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| format!("answer cut: {error}"))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    // The connection is driven here, so that nothing of it outlives the check.
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    }
}

async fn websocket(expectation: &WebsocketExpectation, reached: &Reached, version: &str) -> Result<String, String> {
    let stream = connect(reached).await?;
    let url = format!("ws://{}{}", reached.authority(), expectation.path);
    let shook = tokio_tungstenite::client_async(url, stream).await;
    let (mut socket, _) = shook.map_err(|error| format!("no handshake: {error}"))?;
    let send = Message::text(expectation.send.to_string());
    socket.send(send).await.map_err(|error| format!("not sent: {error}"))?;
    let mut conversation = expect::Conversation::new(expectation, version);
    while let Some(missing) = conversation.missing() {
        let missing = missing.to_string();
        let message = match socket.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(format!("broken before {missing}: {error}")),
            None => return Err(format!("ended before {missing}")),
        };
        match message {
            Message::Text(text) => match serde_json::from_str::<Value>(&text) {
                Ok(message) => conversation.take(&message)?,
                Err(error) => return Err(format!("a message that is not JSON: {error}")),
            },
            Message::Close(frame) => {
                let code = frame.map_or_else(|| "no code".to_owned(), |frame| u16::from(frame.code).to_string());
                return Err(format!("closed ({code}) before {missing}"));
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    // The answer is complete; how the other side takes the farewell is another matter.
    let _farewell = socket.close(None).await;
    Ok(conversation.summary())
}

async fn connect(reached: &Reached) -> Result<TcpStream, String> {
    TcpStream::connect(reached.address).await.map_err(|error| format!("not connected: {error}"))
}

fn lines(results: &[SmokeResult]) -> Vec<String> {
    let line = |result: &SmokeResult| {
        let word = if result.passed { "ok" } else { "FAILED" };
        format!("{word}: {} ({}, {})", result.name, result.detail, seconds(result.took))
    };
    results.iter().map(line).collect()
}

fn failed(results: &[SmokeResult]) -> impl Iterator<Item = &SmokeResult> {
    results.iter().filter(|result| !result.passed)
}

fn names(results: &[SmokeResult]) -> String {
    failed(results).map(|result| format!("{} ({})", result.name, result.detail)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
