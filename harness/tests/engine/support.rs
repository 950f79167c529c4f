//! A plan, a script, and what came of them.

use std::time::Duration;

use harness::clock::RunClock;
use harness::engine::{self, Unrecorded};
use harness::event::{Ended, Event, Offset, Phase, What};
use harness::fault::{Fault, PodSignal, Signal};
use harness::outcome::{Outcome, Recovery};
use harness::sample::{Check, HttpCheck, RedisCheck, Target};
use harness::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, Expect, LoadPlan, Plan, PlannedCheck, Promise, Proof, Role, ScenarioId, Step,
    Symptom, Through, WorkloadKind, WorkloadRef,
};
use harness::system::scripted::{Called, Mode, Operation, Outage, PodFate, Script, Scripted, Until, Whom};
use harness::verdict::{Verdict, judge};
use tokio_util::sync::CancellationToken;

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn workload(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, name: name.to_owned() }
}

fn http(target: Target) -> Check {
    Check::Http(HttpCheck { target, path: "/ready".to_owned(), status: 200, json: serde_json::Map::new() })
}

fn planned(name: &str, check: Check, role: Role) -> PlannedCheck {
    let name = CheckName(name.to_owned());
    PlannedCheck { name, check, role, cost: Cost::Low, interval: millis(300), timeout: seconds(2), slow: None }
}

/// Sampled every 300 ms, under a load of 50 requests a second. Budget 30 s from the fault, hold 4 s, slow 1 s.
pub(crate) fn plan() -> Plan {
    let redis = workload(WorkloadKind::StatefulSet, "redis");
    Plan {
        id: ScenarioId("redis-lost/killed".to_owned()),
        title: "Redis is killed".to_owned(),
        file: "scenarios/redis-lost.yaml".to_owned(),
        line: 12,
        suites: vec!["release".to_owned()],
        round: None,
        needs: Vec::new(),
        promise: Promise {
            document: "RUNBOOK.md".to_owned(),
            section: "Redis".to_owned(),
            says: "comes back by itself".to_owned(),
        },
        workload: workload(WorkloadKind::Deployment, "backend"),
        service: "backend".to_owned(),
        port: 8000,
        through: Through::Direct,
        checks: vec![
            planned("pods", http(Target::EachPod), Role::Recovery),
            planned("service", http(Target::Service), Role::Recovery),
            planned("redis", Check::Redis(RedisCheck { of: redis.clone(), port: 6379 }), Role::Proof),
        ],
        fault: Fault::PodSignal(PodSignal { of: redis.clone(), signal: Signal::Kill }),
        proof: vec![Proof::ContainerReplaced(redis), Proof::CheckFailed(CheckName("redis".to_owned()))],
        symptom: Symptom::Required,
        remedy: Vec::new(),
        budget: Budget { max: seconds(30), from: BudgetFrom::Fault, source: "RUNBOOK.md".to_owned() },
        hold: seconds(4),
        slow: seconds(1),
        settle_within: seconds(30),
        samples_per_pod_second_max: 5.0,
        exclusive: false,
        load: LoadPlan { requests_per_second: 50.0, path: "/".to_owned(), ..LoadPlan::default() },
    }
}

/// The same, where someone must act; each step is watched for 6 s.
pub(crate) fn remedy_plan(steps: &[(&str, Expect)]) -> Plan {
    let step = |(text, expect): &(&str, Expect)| Step {
        command: text.parse().unwrap_or_else(|error| panic!("{text}: {error}")),
        expect: *expect,
        watch: seconds(6),
    };
    Plan {
        remedy: steps.iter().map(step).collect(),
        budget: Budget { from: BudgetFrom::Remedy, ..plan().budget },
        ..plan()
    }
}

pub(crate) const RESTART: (&str, Expect) = ("kubectl rollout restart statefulset/redis", Expect::NoRecovery);
pub(crate) const DELETE: (&str, Expect) = ("kubectl delete pod redis-0", Expect::Recovery);

pub(crate) fn outage(of: Whom, mode: Mode, from: u64, until: Until) -> Outage {
    Outage { of, mode, from: millis(from), until }
}

/// Redis is killed: it refuses for 2 s and comes back in a new container; the backends are down from 0.3 s to 5 s.
pub(crate) fn killed() -> Script {
    Script {
        effect_after: Some(millis(5)),
        outages: vec![
            outage(Whom::Redis, Mode::Refuses, 0, Until::After(seconds(2))),
            outage(Whom::Workload, Mode::Refuses, 300, Until::After(seconds(5))),
        ],
        pod: PodFate::Restarts(millis(800)),
        ..Script::default()
    }
}

/// Redis hangs, and everything with it, until 1 s after a remedy step.
pub(crate) fn hung(step: usize) -> Script {
    let until = Until::Step(step, seconds(1));
    Script {
        effect_after: Some(millis(5)),
        outages: vec![outage(Whom::Redis, Mode::Hangs, 0, until), outage(Whom::Workload, Mode::Refuses, 500, until)],
        pod: PodFate::Restarts(millis(800)),
        ..Script::default()
    }
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<Outcome, Unrecorded<Refused>>,
    pub(crate) system: Scripted,
}

#[derive(Debug, thiserror::Error)]
#[error("no space left on device")]
pub(crate) struct Refused;

/// Runs to the end, undisturbed.
pub(crate) async fn run(plan: Plan, script: Script) -> Ran {
    run_with(plan, script, |_, _| Ok(())).await
}

/// Runs with a sink that may refuse events, or cancel.
pub(crate) async fn run_with(
    plan: Plan,
    script: Script,
    mut sink: impl FnMut(&Event, &CancellationToken) -> Result<(), Refused>,
) -> Ran {
    let clock = RunClock::start();
    let system = Scripted::new(&plan, script, clock);
    let cancel = CancellationToken::new();
    let mut events = Vec::new();
    let result = engine::run(&plan, &system, &clock, &cancel, &mut |event: &Event| {
        sink(event, &cancel)?;
        events.push(event.clone());
        Ok(())
    })
    .await;
    let ran = Ran { plan, events, result, system };
    ran.check_invariants();
    ran
}

impl Ran {
    pub(crate) fn outcome(&self) -> &Outcome {
        self.result.as_ref().unwrap_or_else(|error| panic!("{error}: {}", error.source))
    }

    pub(crate) fn verdict(&self) -> Verdict {
        judge(&self.plan, self.outcome())
    }

    pub(crate) fn ended(&self) -> &Ended {
        self.outcome().ended().expect("a scenario that ran has ended")
    }

    pub(crate) fn at(&self, is: impl Fn(&What) -> bool) -> Option<Offset> {
        self.events.iter().find(|event| is(&event.what)).map(|event| event.at)
    }

    pub(crate) fn has(&self, is: impl Fn(&What) -> bool) -> bool {
        self.at(is).is_some()
    }

    pub(crate) fn called(&self, operation: Operation) -> usize {
        self.system.calls().iter().filter(|called| called.operation == operation).count()
    }

    pub(crate) fn notes(&self) -> Vec<&str> {
        fn note(event: &Event) -> Option<&str> {
            match &event.what {
                What::Note { text } => Some(text.as_str()),
                _ => None,
            }
        }
        self.events.iter().filter_map(note).collect()
    }

    pub(crate) fn phases(&self) -> Vec<Phase> {
        let phase = |event: &Event| if let What::PhaseEntered(phase) = event.what { Some(phase) } else { None };
        self.events.iter().filter_map(phase).collect()
    }

    /// What must hold of every run, however it went.
    fn check_invariants(&self) {
        let Self { plan, events, .. } = self;
        assert!(events.iter().all(|event| event.scenario.as_ref() == Some(&plan.id)), "an event of no scenario");
        assert!(events.windows(2).all(|two| two[0].at <= two[1].at), "an event that goes back in time");
        let calls = self.system.calls();
        let place = |operation| calls.iter().position(|called: &Called| called.operation == operation);
        if let Some(inject) = place(Operation::Inject) {
            let prepared = self.at(|what| matches!(what, What::FaultPrepared { .. })).expect("injected unprepared");
            assert!(prepared <= calls[inject].at, "injected before it was on the record");
            assert!(place(Operation::Keep).is_some_and(|keep| keep < inject), "injected before it was kept");
            let heal = place(Operation::Heal).expect("injected and not healed");
            let receipts = |operation| calls.iter().filter(move |called| called.operation == operation);
            let injected = &calls[inject].receipt;
            assert!(receipts(Operation::Heal).all(|called| called.receipt == *injected), "healed something else");
            assert!(receipts(Operation::Inject).all(|called| called.at <= calls[heal].at), "injected after healing");
        }
        let Ok(outcome) = &self.result else { return };
        assert!(matches!(events.first(), Some(Event { what: What::ScenarioStarted(_), .. })), "no beginning");
        assert!(matches!(events.last(), Some(Event { what: What::ScenarioEnded(_), .. })), "no end");
        let prepared = self.has(|what| matches!(what, What::FaultPrepared { .. }));
        let healed = self.has(|what| matches!(what, What::Healed { .. } | What::HealFailed { .. }));
        assert_eq!(prepared, healed, "prepared and healed go together");
        let mut replayed = Outcome::new(plan);
        for event in events {
            let line = serde_json::to_string(event).expect("events are JSON");
            replayed.apply(&serde_json::from_str(&line).expect("and come back"));
        }
        assert_eq!(*outcome, replayed, "the replayed outcome is another one");
    }
}

/// Lower and upper end of the recovery.
pub(crate) fn interval(recovery: Recovery) -> (Duration, Duration) {
    match recovery {
        Recovery::Recovered { lower, upper, .. } => (lower, upper),
        other => panic!("{other:?} is no recovery"),
    }
}
