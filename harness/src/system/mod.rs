//! What the engine drives: a live cluster, or a script in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::{Offset, PodFacts, What};
use crate::fault::{Fault, Receipt};
use crate::runbook::command::Command;
use crate::scenario::plan::{CheckName, Plan};

pub mod live;
pub mod scripted;

/// Where an observer puts what it sees. Bounded: the engine makes it.
pub type Observations = mpsc::Sender<Observation>;

/// What an observer sees.
///
/// The observer stamps what it saw with its own offsets (a [`crate::event::Sample`] has
/// three); the engine stamps the event itself when it takes it in.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Goes into the record as it is: samples, pod sightings, load seconds, notes.
    Record(What),
    /// One request of the load: the baseline compares them one by one, the record has seconds.
    Request(Request),
}

/// How one request of the load went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When the schedule wanted it sent.
    pub intended: Offset,
    /// Time from there to its complete 2xx; absent where there was none in time.
    pub latency: Option<Duration>,
}

/// How fast observing goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// 1.0 is the plan's rate, 0.25 a quarter of it, 0.0 load and pod watch only.
    pub factor: f64,
    /// Checks that turned out to be costly at the baseline.
    pub costly: BTreeSet<CheckName>,
    /// Whether a light load of the observer's own runs where the plan has none: the
    /// baseline has nothing to compare otherwise. It is not part of the record.
    pub light_load: bool,
}

impl Rate {
    /// The plan's rate.
    #[must_use]
    pub const fn full() -> Self {
        Self { factor: 1.0, costly: BTreeSet::new(), light_load: false }
    }
}

/// A system that can be looked at, broken, and put right.
pub trait System: Sync {
    /// Every pod of the namespace, now.
    fn pods(&self) -> impl Future<Output = Result<Vec<PodFacts>, SystemError>> + Send;

    /// Watches pods, runs the load and samples the plan's checks on their open schedule
    /// until cancelled; `rate` may change meanwhile. Returns after everything in flight
    /// has been recorded or given up.
    fn observe(
        &self,
        plan: &Plan,
        rate: tokio::sync::watch::Receiver<Rate>,
        into: Observations,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<(), SystemError>> + Send;

    /// Reads what injecting and healing this fault will need. Changes nothing.
    fn prepare(&self, fault: &Fault) -> impl Future<Output = Result<Receipt, SystemError>> + Send;

    /// Leaves the receipt in the cluster, so that another machine can heal.
    fn keep(&self, receipt: &Receipt) -> impl Future<Output = Result<(), SystemError>> + Send;

    /// Breaks what the receipt names.
    fn inject(&self, receipt: &Receipt) -> impl Future<Output = Result<(), SystemError>> + Send;

    /// Carries out one runbook command; returns what it said.
    fn carry_out(&self, command: &Command) -> impl Future<Output = Result<String, SystemError>> + Send;

    /// Puts right what the receipt names, verifies it, and removes the receipt from the
    /// cluster. Safe to repeat, and where nothing was broken. Returns what it undid.
    fn heal(&self, receipt: &Receipt) -> impl Future<Output = Result<Vec<String>, SystemError>> + Send;
}

/// A system did not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SystemError {
    /// What, at which object, and what was last seen.
    pub message: String,
    /// Whether trying again can help: weather, not a verdict.
    pub transient: bool,
}

impl SystemError {
    /// A refusal of the Kubernetes API, and whether it is weather: no connection, 429, 5xx.
    #[must_use]
    pub fn from_api(doing: &str, error: &kube::Error) -> Self {
        let transient = match error {
            kube::Error::Api(status) => status.code == 429 || status.code >= 500,
            kube::Error::HyperError(_) | kube::Error::Service(_) => true,
            _ => false,
        };
        Self { message: format!("{doing}: {error}"), transient }
    }
}
