//! The rehearsal: every plan once, in as many lanes as there are, one task a scenario.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::lanes::Lane;
use super::recorder::{RecordError, Shared};
use super::schedule::Schedule;
use super::{RunError, bundle, hold};
use crate::clock::RunClock;
use crate::cluster::Cluster;
use crate::engine;
use crate::event::{Event, Offset, What};
use crate::scenario::plan::{Plan, ScenarioId};
use crate::system::live::Live;
use crate::verdict::judge;

/// What all lanes share.
pub(super) struct Rehearsal {
    /// Takes in the events of all of them.
    pub(super) recorder: Shared,
    /// The run's clock.
    pub(super) clock: RunClock,
    /// The run's id.
    pub(super) run: String,
    /// The run's directory.
    pub(super) directory: PathBuf,
    /// Seed of all randomness.
    pub(super) seed: u64,
    /// Ends every scenario, healed.
    pub(super) cancel: CancellationToken,
    /// Whether there are several lanes.
    pub(super) side_by_side: bool,
}

impl Rehearsal {
    /// Carries out the plans. What cannot be recorded in one lane ends all of them, healed.
    ///
    /// # Errors
    /// [`RunError::LeftBroken`] before [`RunError::Record`]. A lane that crashed crashes the run,
    /// once the others have healed.
    pub(super) async fn carry_out(mut self, lanes: Vec<Lane>, plans: Vec<Plan>) -> Result<(), RunError> {
        let stop = self.cancel.child_token();
        self.cancel = stop.clone();
        let common = Arc::new(self);
        let mut schedule = Schedule::new(plans, u32::try_from(lanes.len()).unwrap_or(u32::MAX));
        let mut free = VecDeque::from(lanes);
        let mut running = JoinSet::new();
        let mut ends = Ends::default();
        loop {
            while !stop.is_cancelled()
                && !free.is_empty()
                && let Some(plan) = schedule.next()
            {
                let lane = free.pop_front().expect("one is free");
                running.spawn(scenario(Arc::clone(&common), lane, plan));
            }
            let Some(joined) = running.join_next().await else { break };
            match joined {
                Ok((lane, id, ended)) => {
                    schedule.ended(&id);
                    // Lane 1 first: its namespace is the one that people look at.
                    let place = free.partition_point(|other| other.number < lane.number);
                    free.insert(place, lane);
                    ends.take(ended);
                }
                Err(crashed) => ends.crashed(crashed),
            }
            if ends.is_bad() {
                stop.cancel();
            }
        }
        ends.into_result()
    }
}

/// How the lanes ended, the worst first.
#[derive(Default)]
struct Ends {
    crashed: Option<JoinError>,
    error: Option<RunError>,
}

impl Ends {
    fn take(&mut self, ended: Result<(), RunError>) {
        let is_worse = matches!(ended, Err(RunError::LeftBroken(_)));
        if is_worse || self.error.is_none() {
            self.error = ended.err().or(self.error.take());
        }
    }

    fn crashed(&mut self, crashed: JoinError) {
        self.crashed.get_or_insert(crashed);
    }

    fn is_bad(&self) -> bool {
        self.crashed.is_some() || self.error.is_some()
    }

    fn into_result(self) -> Result<(), RunError> {
        if let Some(crashed) = self.crashed.and_then(|crashed| crashed.try_into_panic().ok()) {
            std::panic::resume_unwind(crashed);
        }
        self.error.map_or(Ok(()), Err)
    }
}

async fn scenario(common: Arc<Rehearsal>, lane: Lane, plan: Plan) -> (Lane, ScenarioId, Result<(), RunError>) {
    let id = plan.id.clone();
    let ended = common.one(&lane, &plan).await;
    (lane, id, ended)
}

impl Rehearsal {
    async fn one(&self, lane: &Lane, plan: &Plan) -> Result<(), RunError> {
        let cluster = &lane.cluster;
        let system = Live::new(cluster.clone(), self.clock, self.run.clone(), self.seed);
        let plan = &hold::outlasting_restarts(plan, cluster).await;
        let mut sink = |event: &Event| self.record(lane, event);
        let ran = engine::run(plan, &system, &self.clock, &self.cancel, &mut sink).await;
        let outcome = ran.map_err(|unrecorded| match unrecorded.healed {
            true => RunError::Record(unrecorded.source),
            false => RunError::LeftBroken(unrecorded.source),
        })?;
        if let Some(fault) = outcome.fault_sent_at() {
            self.record_logs(plan, fault, cluster).await?;
        }
        let about = bundle::About::scenario(&plan.id, &judge(plan, &outcome), self.recorder.lock().known());
        let Some(about) = about.filter(|_| !self.cancel.is_cancelled()) else { return Ok(()) };
        let journal = self.recorder.lock().journal_path();
        let text = bundle::write(&about, cluster, &self.directory, &journal, &self.clock, &self.cancel).await;
        Ok(self.recorder.emit(What::Note { text })?)
    }

    /// Records what pods logged since the fault, unless the user is waiting for the run to end.
    async fn record_logs(&self, plan: &Plan, fault: Offset, cluster: &Cluster) -> Result<(), RecordError> {
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        match bundle::logged(cluster, fault, &self.clock, &self.cancel).await {
            Ok(lines) => lines.into_iter().try_for_each(|line| {
                let (at, scenario) = (self.clock.now(), Some(plan.id.clone()));
                self.recorder.lock().accept(&Event { at, scenario, what: What::Logged(line) })
            }),
            Err(error) => self.recorder.emit(What::Note { text: format!("{}: no log lines: {error}", plan.id) }),
        }
    }

    fn record(&self, lane: &Lane, event: &Event) -> Result<(), RecordError> {
        let mut recorder = self.recorder.lock();
        recorder.accept(event)?;
        if self.side_by_side && matches!(event.what, What::ScenarioStarted(_)) {
            recorder.accept(&Event { what: What::LaneTaken(lane.facts()), ..event.clone() })?;
        }
        Ok(())
    }
}
