//! A system that follows a script, in virtual time: to be run under tokio's paused clock.
//!
//! It knows its own truth, so that tests can hold the engine's against it. The same script
//! and seed give the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Observations, Rate, System, SystemError};
use crate::clock::RunClock;
use crate::event::{Offset, PodFacts};
use crate::fault::{Fault, Receipt};
use crate::runbook::command::Command;
use crate::scenario::plan::{CheckName, Plan};

mod observe;
mod world;

pub use world::Called;
use world::World;

/// What happens, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Decides all chance.
    pub seed: u64,
    /// Pods of the plan's workload.
    pub pods: u32,
    /// Time of an answer while nothing is wrong.
    pub latency: Duration,
    /// From the call that injects to the fault's effect; absent where it does not bite.
    pub effect_after: Option<Duration>,
    /// What is down, counted from the effect.
    pub outages: Vec<Outage>,
    /// What becomes of the broken pod, counted from the effect.
    pub pod: PodFate,
    /// How long one look of a check keeps the pod that it reaches from doing anything else.
    pub costs: BTreeMap<CheckName, Duration>,
    /// A machine that stands still now and then.
    pub noise: Option<Noise>,
    /// How calls go; those that are not named work at once.
    pub calls: BTreeMap<Operation, Behaviour>,
    /// When observing breaks down, counted from its beginning.
    pub observing_ends: Option<(Duration, Then)>,
}

impl Default for Script {
    /// A healthy system on which a fault does not bite.
    fn default() -> Self {
        Self {
            seed: 1,
            pods: 3,
            latency: Duration::from_millis(3),
            effect_after: None,
            outages: Vec::new(),
            pod: PodFate::Stays,
            costs: BTreeMap::new(),
            noise: None,
            calls: BTreeMap::new(),
            observing_ends: None,
        }
    }
}

/// A stretch of time in which someone gives no right answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Who.
    pub of: Whom,
    /// How.
    pub mode: Mode,
    /// Its beginning, from the effect.
    pub from: Duration,
    /// Its end.
    pub until: Until,
}

/// Who is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The Service and every pod of the workload.
    Workload,
    /// The Service only.
    Service,
    /// One pod of the workload, by its place.
    Pod(u32),
    /// The Redis behind it.
    Redis,
}

/// How someone is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuses at once.
    Refuses,
    /// Answers when the outage is over.
    Hangs,
    /// Cannot be asked: the way to it is gone, as the API server is on the way to a pod.
    Unseen,
}

/// When an outage ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So long after the effect, by itself.
    After(Duration),
    /// So long after this remedy step.
    Step(usize, Duration),
    /// So long after healing.
    Healed(Duration),
}

/// What becomes of the first pod of the fault's workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFate {
    /// Nothing that a watch shows.
    Stays,
    /// Its container is another one, so long after the effect.
    Restarts(Duration),
    /// It is gone, and another one is there, so long after the effect.
    IsReplaced(Duration),
}

/// Stretches in which the whole machine stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// Mean time between two of them.
    pub every: Duration,
    /// Their length, at most.
    pub length_max: Duration,
}

/// A call to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`System::pods`].
    Pods,
    /// [`System::prepare`].
    Prepare,
    /// [`System::keep`].
    Keep,
    /// [`System::inject`].
    Inject,
    /// [`System::carry_out`].
    CarryOut,
    /// [`System::heal`].
    Heal,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Its first tries fail with weather.
    pub weather: u32,
    /// How the others go.
    pub then: Then,
    /// How long each takes.
    pub takes: Duration,
}

/// How a call goes after the weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Well.
    Works,
    /// It fails for good.
    Fails,
    /// It never comes back.
    Hangs,
    /// It panics.
    Panics,
}

/// A system that follows a [`Script`].
pub struct Scripted {
    script: Script,
    clock: RunClock,
    world: watch::Sender<World>,
}

impl Scripted {
    /// A system in which the plan's workload and the fault's have their pods.
    #[must_use]
    pub fn new(plan: &Plan, script: Script, clock: RunClock) -> Self {
        let world = World::new(plan, &script);
        Self { script, clock, world: watch::Sender::new(world) }
    }

    /// Every call that was made, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Called> {
        self.world.borrow().calls.clone()
    }

    /// When the fault took effect.
    #[must_use]
    pub fn effect(&self) -> Option<Offset> {
        self.world.borrow().effect
    }

    /// What was injected and is not healed.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<String> {
        self.world.borrow().broken.clone()
    }

    /// When the last outage was really over, where it is.
    #[must_use]
    pub fn over(&self) -> Option<Offset> {
        let world = self.world.borrow();
        let ends: Option<Vec<Offset>> = self.script.outages.iter().map(|outage| world.end(outage)).collect();
        ends?.into_iter().max()
    }

    /// Goes as the script says; `Ok` where the call is to do its work.
    async fn go(&self, operation: Operation, receipt: Option<&Receipt>) -> Result<(), SystemError> {
        let at = self.clock.now();
        let mut earlier = 0;
        self.world.send_modify(|world| {
            earlier = world.calls.iter().filter(|called| called.operation == operation).count();
            world.calls.push(Called { at, operation, receipt: receipt.cloned() });
        });
        let Some(behaviour) = self.script.calls.get(&operation) else { return Ok(()) };
        sleep(behaviour.takes).await;
        if earlier < behaviour.weather as usize {
            return Err(SystemError { message: format!("{operation:?}: 503 Service Unavailable"), transient: true });
        }
        match behaviour.then {
            Then::Works => Ok(()),
            Then::Fails => Err(SystemError { message: format!("{operation:?}: 403 Forbidden"), transient: false }),
            Then::Hangs => std::future::pending().await,
            Then::Panics => panic!("{operation:?} as the script says"),
        }
    }
}

impl System for Scripted {
    async fn pods(&self) -> Result<Vec<PodFacts>, SystemError> {
        self.go(Operation::Pods, None).await?;
        Ok(self.world.borrow().pods(self.clock.now()))
    }

    async fn observe(
        &self,
        plan: &Plan,
        rate: watch::Receiver<Rate>,
        into: Observations,
        cancel: CancellationToken,
    ) -> Result<(), SystemError> {
        let observing = observe::observe(&self.script, plan, self.clock, self.world.subscribe(), rate, into, cancel);
        let Some((after, then)) = self.script.observing_ends else { return observing.await };
        tokio::select! {
            biased;
            () = sleep(after) => match then {
                Then::Works => Ok(()),
                Then::Fails => Err(SystemError { message: "check crashed".to_owned(), transient: false }),
                Then::Hangs => std::future::pending().await,
                Then::Panics => panic!("observing as the script says"),
            },
            ended = observing => ended,
        }
    }

    async fn prepare(&self, fault: &Fault) -> Result<Receipt, SystemError> {
        self.go(Operation::Prepare, None).await?;
        Ok(world::receipt(fault))
    }

    async fn keep(&self, receipt: &Receipt) -> Result<(), SystemError> {
        self.go(Operation::Keep, Some(receipt)).await
    }

    async fn inject(&self, receipt: &Receipt) -> Result<(), SystemError> {
        // It takes effect even where the answer is lost on the way back.
        let effect = self.script.effect_after.map(|after| self.clock.now() + after);
        self.world.send_modify(|world| {
            world.broken.insert(receipt.to_string());
            world.effect = world.effect.or(effect);
        });
        self.go(Operation::Inject, Some(receipt)).await
    }

    async fn carry_out(&self, command: &Command) -> Result<String, SystemError> {
        self.go(Operation::CarryOut, None).await?;
        let at = self.clock.now();
        self.world.send_modify(|world| world.steps.push(at));
        Ok(format!("done: {}", command.text))
    }

    async fn heal(&self, receipt: &Receipt) -> Result<Vec<String>, SystemError> {
        self.go(Operation::Heal, Some(receipt)).await?;
        let at = self.clock.now();
        let mut undone = Vec::new();
        self.world.send_modify(|world| {
            if world.broken.remove(&receipt.to_string()) {
                undone.push(format!("undid {receipt}"));
            }
            world.healed = world.healed.or(Some(at));
        });
        Ok(undone)
    }
}
