//! Runs written by hand: a small plan, and events at milliseconds.

use std::time::Duration;

use harness::event::{Event, Offset, PodFacts, Sample, Seen, Subject, What};
use harness::fault::{Fault, PodSignal, Signal};
use harness::outcome::Outcome;
use harness::sample::{Check, HttpCheck, RedisCheck, Target};
use harness::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, Expect, LoadPlan, Plan, PlannedCheck, Promise, Proof, Role, ScenarioId, Step,
    Symptom, Through, WorkloadKind, WorkloadRef,
};

pub(crate) const INTERVAL_MS: u64 = 100;

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn at(millis: u64) -> Offset {
    Offset::from_millis(millis)
}

pub(crate) fn backend() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "backend".to_owned() }
}

pub(crate) fn redis() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() }
}

fn http(target: Target) -> Check {
    Check::Http(HttpCheck { target, path: "/ready".to_owned(), status: 200, json: serde_json::Map::new() })
}

fn planned(name: &str, check: Check, role: Role) -> PlannedCheck {
    PlannedCheck {
        name: CheckName(name.to_owned()),
        check,
        role,
        cost: Cost::Low,
        interval: millis(INTERVAL_MS),
        timeout: millis(800),
        slow: None,
    }
}

/// Checks `ready` (each pod) and `service` every 100 ms, proof check `redis`; budget 10 s from
/// the fault, hold 1 s, slow 500 ms, timeouts 800 ms.
pub(crate) fn plan() -> Plan {
    Plan {
        id: ScenarioId("redis-lost/killed".to_owned()),
        title: "Redis is killed".to_owned(),
        file: "scenarios/redis-lost.yaml".to_owned(),
        line: 60,
        suites: vec!["release".to_owned()],
        round: None,
        needs: Vec::new(),
        promise: Promise {
            document: "RUNBOOK.md".to_owned(),
            section: "Redis Connection Lost".to_owned(),
            says: "recovers within 60 seconds".to_owned(),
        },
        workload: backend(),
        service: "backend".to_owned(),
        port: 8000,
        through: Through::Direct,
        checks: vec![
            planned("ready", http(Target::EachPod), Role::Recovery),
            planned("service", http(Target::Service), Role::Recovery),
            planned("redis", Check::Redis(RedisCheck { of: redis(), port: 6379 }), Role::Proof),
        ],
        fault: Fault::PodSignal(PodSignal { of: redis(), signal: Signal::Kill }),
        proof: vec![Proof::CheckFailed(CheckName("redis".to_owned()))],
        symptom: Symptom::Required,
        remedy: Vec::new(),
        budget: Budget { max: millis(10_000), from: BudgetFrom::Fault, source: "RUNBOOK.md".to_owned() },
        hold: millis(1_000),
        slow: millis(500),
        settle_within: millis(60_000),
        samples_per_pod_second_max: 5.0,
        exclusive: false,
        load: LoadPlan::default(),
    }
}

/// The same with two remedy steps; the first is known not to help and watched for 2 s.
pub(crate) fn remedy_plan() -> Plan {
    let step = |text: &str, expect, watch| Step {
        command: text.parse().unwrap_or_else(|error| panic!("{text}: {error}")),
        expect,
        watch: millis(watch),
    };
    Plan {
        remedy: vec![
            step("kubectl rollout restart statefulset/redis", Expect::NoRecovery, 2_000),
            step("kubectl delete pod redis-0", Expect::Recovery, 10_000),
        ],
        budget: Budget { from: BudgetFrom::Remedy, ..plan().budget },
        ..plan()
    }
}

pub(crate) fn pod(name: &str, ready: bool) -> PodFacts {
    let workload = if name.starts_with("redis") { redis() } else { backend() };
    PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        workload: Some(workload),
        phase: "Running".to_owned(),
        ready,
        terminating: false,
        container_ids: vec![format!("container-{name}-0")],
        restarts: 0,
        reason: None,
        ended: None,
    }
}

pub(crate) fn service() -> Subject {
    Subject::Service
}

pub(crate) fn of_pod(name: &str) -> Subject {
    Subject::Pod { name: name.to_owned(), uid: format!("uid-{name}") }
}

pub(crate) fn bad() -> Seen {
    Seen::Bad { reason: "503 not ready: Redis not connected".to_owned() }
}

pub(crate) fn missing() -> Seen {
    Seen::Missing { reason: "we slipped".to_owned() }
}

/// A run in the making.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
}

impl Run {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, events: Vec::new() }
    }

    /// Evidence of one backend pod, `a`, and `redis-0`.
    pub(crate) fn of_one_pod(plan: Plan) -> Self {
        let mut run = Self::new(plan);
        run.put(0, What::Evidence { pods: vec![pod("a", true), pod("redis-0", true)] });
        run
    }

    pub(crate) fn put(&mut self, millis: u64, what: What) -> &mut Self {
        let scenario = Some(self.plan.id.clone());
        self.events.push(Event { at: at(millis), scenario, what });
        self
    }

    /// One sample, answered 5 ms after it was sent; seen by the run when it was done.
    pub(crate) fn look(&mut self, sent: u64, check: &str, subject: &Subject, seen: Seen) -> &mut Self {
        self.slow_look(sent, sent + 5, check, subject, seen)
    }

    pub(crate) fn slow_look(&mut self, sent: u64, done: u64, check: &str, subject: &Subject, seen: Seen) -> &mut Self {
        let sample = Sample {
            check: CheckName(check.to_owned()),
            subject: subject.clone(),
            intended: at(sent),
            sent: at(sent),
            done: at(done),
            seen,
            value: None,
        };
        self.put(done, What::Sample(sample))
    }

    /// `ready` at pod `a` and `service`, each interval from `from` to before `until`.
    pub(crate) fn both(&mut self, from: u64, until: u64, seen: &Seen) -> &mut Self {
        self.series("ready", &of_pod("a"), from, until, seen).series("service", &service(), from, until, seen)
    }

    pub(crate) fn series(&mut self, check: &str, subject: &Subject, from: u64, until: u64, seen: &Seen) -> &mut Self {
        for sent in (from..until).step_by(INTERVAL_MS as usize) {
            self.look(sent, check, subject, seen.clone());
        }
        self
    }

    /// A PING that was good before the fault, the fault, and one that fails after it: proven at `fault + 15`.
    pub(crate) fn proven_fault(&mut self, fault: u64) -> &mut Self {
        self.look(fault - 50, "redis", &of_pod("redis-0"), Seen::Good);
        self.put(fault, What::FaultSent);
        self.look(fault + 10, "redis", &of_pod("redis-0"), bad())
    }

    /// Events in the order in which they were taken in.
    pub(crate) fn sorted(&self) -> Vec<Event> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at);
        events
    }

    pub(crate) fn outcome(&self) -> Outcome {
        fold(&self.plan, &self.sorted())
    }
}

pub(crate) fn fold(plan: &Plan, events: &[Event]) -> Outcome {
    let mut outcome = Outcome::new(plan);
    for event in events {
        outcome.apply(event);
    }
    outcome
}
