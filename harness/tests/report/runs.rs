//! Runs written by hand, as their events.

use std::time::Duration;

use harness::event::{
    Baseline, ClusterFacts, ClusterKind, Ended, Event, LoadSecond, Offset, Phase, PodFacts, RunFacts, Sample, Seen,
    StageResult, Subject, What,
};
use harness::fault::{Fault, PodSignal, Receipt, Signal};
use harness::sample::{Check, HttpCheck, RedisCheck, Target};
use harness::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, Expect, LoadPlan, Plan, PlannedCheck, Promise, Proof, Role, ScenarioId, Step,
    Symptom, Through, WorkloadKind, WorkloadRef,
};

const INTERVAL_MS: u64 = 100;

/// Events in the making; scenarios follow each other.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    scenario: Option<ScenarioId>,
}

impl Run {
    /// A run on the embedded cluster whose release is out and smoke-tested.
    pub(crate) fn deployed() -> Self {
        let mut run = Self::started();
        run.put(20, What::ClusterReady(cluster(ClusterKind::Embedded)));
        run.stage("build", 30, 400, StageResult::Done, &["backend sha256:1c2d, rebuilt: binary changed"]);
        run.stage("deploy", 400, 900, StageResult::Done, &[]);
        run.stage("smoke", 900, 1_000, StageResult::Done, &["9 of 9 checks right"]);
        run
    }

    pub(crate) fn started() -> Self {
        let mut run = Self::default();
        let facts = RunFacts {
            run: "20261124-015421-7f3a".to_owned(),
            started: "2026-11-24T01:54:21Z".to_owned(),
            command: "cargo xtask gate --cluster embedded".to_owned(),
            seed: 42,
            version: "0.1.0".to_owned(),
            profile: "rehearsal".to_owned(),
            profile_changes: vec!["deployment/backend: readiness every 1s instead of 5s".to_owned()],
            lanes: 1,
        };
        run.put(0, What::RunStarted(Box::new(facts)));
        run
    }

    pub(crate) fn put(&mut self, millis: u64, what: What) -> &mut Self {
        self.events.push(Event { at: at(millis), scenario: self.scenario.clone(), what });
        self
    }

    pub(crate) fn stage(&mut self, name: &str, from: u64, until: u64, result: StageResult, facts: &[&str]) {
        let stage = name.to_owned();
        self.put(from, What::StageStarted { stage: stage.clone() });
        let facts = facts.iter().map(|&fact| fact.to_owned()).collect();
        self.put(until, What::StageFinished { stage, result, facts });
    }

    /// Starts a scenario, is steady for a second, and breaks Redis `start + 1000`.
    pub(crate) fn broken(&mut self, start: u64, plan: &Plan) -> &mut Self {
        self.scenario = Some(plan.id.clone());
        self.put(start, What::ScenarioStarted(Box::new(plan.clone())));
        self.put(start, What::PhaseEntered(Phase::Settling));
        self.put(start, What::Evidence { pods: vec![pod("a"), pod("redis-0")] });
        for check in ["ready", "service", "redis"] {
            let (check, interval) = (CheckName(check.to_owned()), Duration::from_millis(INTERVAL_MS));
            self.put(start, What::SamplingAt { check, interval, reason: None });
        }
        self.put(start, What::PhaseEntered(Phase::Steady));
        self.load(start, 50, 0);
        self.both(start, start + 1_000, &Seen::Good);
        self.look(start + 950, "redis", &of_pod("redis-0"), Seen::Good);
        let receipt = Receipt::PodSignal {
            namespace: "hsc-jit".to_owned(),
            pod: "redis-0".to_owned(),
            uid: "uid-redis-0".to_owned(),
            container: "redis".to_owned(),
            container_id: "container-redis-0".to_owned(),
            signal: Signal::Kill,
            of: redis(),
        };
        self.put(start + 1_000, What::FaultPrepared { receipt });
        self.put(start + 1_000, What::PhaseEntered(Phase::Fault));
        self.put(start + 1_000, What::FaultSent).put(start + 1_004, What::FaultDone)
    }

    /// The second channel shows the fault at `at + 15`.
    pub(crate) fn proven(&mut self, at: u64) -> &mut Self {
        self.look(at + 10, "redis", &of_pod("redis-0"), Seen::Bad { reason: "refused".to_owned() })
    }

    /// Heals and ends the scenario.
    pub(crate) fn ended(&mut self, millis: u64, ended: Ended) -> &mut Self {
        self.put(millis, What::PhaseEntered(Phase::Healing)).put(millis, What::HealSent);
        self.put(millis + 50, What::Healed { facts: vec![] });
        self.put(millis + 60, What::ScenarioEnded(ended));
        self.scenario = None;
        self
    }

    /// `ready` at pod `a` and `service`, each interval from `from` to before `until`.
    pub(crate) fn both(&mut self, from: u64, until: u64, seen: &Seen) -> &mut Self {
        for sent in (from..until).step_by(usize::try_from(INTERVAL_MS).expect("it is small")) {
            self.look(sent, "ready", &of_pod("a"), seen.clone()).look(sent, "service", &Subject::Service, seen.clone());
        }
        self
    }

    fn look(&mut self, sent: u64, check: &str, subject: &Subject, seen: Seen) -> &mut Self {
        let sample = Sample {
            check: CheckName(check.to_owned()),
            subject: subject.clone(),
            intended: at(sent),
            sent: at(sent),
            done: at(sent + 5),
            seen,
            value: None,
        };
        self.put(sent + 5, What::Sample(sample))
    }

    pub(crate) fn load(&mut self, from: u64, good: u32, lost: u32) -> &mut Self {
        let second = LoadSecond {
            from: at(from),
            requests_good: good,
            requests_lost: lost,
            requests_missing: 0,
            p50_micros: 900,
            max_micros: 12_345,
            sockets_open: 20,
            sockets_lost: 0,
        };
        self.put(from, What::Load(second))
    }

    pub(crate) fn over(mut self, millis: u64, clean: bool) -> Vec<Event> {
        self.put(millis, What::RunEnded { clean });
        self.events.sort_by_key(|event| event.at);
        self.events
    }

    // Whole scenarios, each from `start`.

    /// Bad from the fault to `start + 2500`.
    pub(crate) fn pass(&mut self, start: u64) -> &mut Self {
        self.broken(start, &plan("redis-lost/killed")).proven(start + 1_000).load(start + 1_000, 48, 2);
        self.both(start + 1_000, start + 2_500, &bad()).both(start + 2_500, start + 4_000, &Seen::Good);
        self.ended(start + 4_000, Ended::Completed)
    }

    /// Bad from the fault on for so long, at the spacing of the plan's round.
    pub(crate) fn bad_for(&mut self, start: u64, plan: &Plan, took: u64) -> &mut Self {
        self.broken(start, plan).proven(start + 1_000).both(start + 1_000, start + 1_000 + took, &bad());
        let good = start + 1_000 + took;
        self.both(good, good + 3_000, &Seen::Good).ended(good + 3_000, Ended::Completed)
    }

    /// Bad beyond the budget.
    pub(crate) fn fail(&mut self, start: u64) -> &mut Self {
        self.broken(start, &plan("redis-lost/gone")).proven(start + 1_000);
        let baseline = Baseline {
            quiet_requests: 100,
            quiet_slow: 1,
            sampled_requests: 100,
            sampled_slow: 2,
            slow_above: Duration::from_millis(250),
            restarts: 0,
            effect: None,
        };
        self.put(start, What::BaselineCompared(baseline));
        self.both(start + 1_000, start + 13_000, &bad());
        self.put(start + 13_000, What::Note { text: "pods of redis: 0 of 1".to_owned() });
        self.ended(start + 13_000, Ended::Completed)
    }

    /// The second channel never shows the fault.
    pub(crate) fn unproven(&mut self, start: u64) -> &mut Self {
        self.broken(start, &plan("redis-lost/no-bite")).both(start + 1_000, start + 12_000, &Seen::Good);
        self.ended(start + 12_000, Ended::Completed)
    }

    /// Proven, not felt, and the scenario says that this may be.
    pub(crate) fn absorbed(&mut self, start: u64) -> &mut Self {
        let plan = Plan { symptom: Symptom::Optional, ..plan("cache-lost/killed") };
        self.broken(start, &plan).proven(start + 1_000).both(start + 1_000, start + 13_000, &Seen::Good);
        self.ended(start + 13_000, Ended::Completed)
    }

    /// The first remedy step, sent at `start + 2000`, does not help; the second, 2 s later, does.
    pub(crate) fn hung(&mut self, start: u64) -> &mut Self {
        self.broken(start, &hung()).proven(start + 1_000).both(start + 1_000, start + 5_000, &bad());
        self.put(start + 2_000, What::PhaseEntered(Phase::Remedy));
        self.put(start + 2_000, What::StepSent { step: 0 });
        self.put(start + 2_030, What::StepDone { step: 0, output: "statefulset.apps/redis restarted".to_owned() });
        self.put(start + 4_000, What::StepSent { step: 1 });
        self.put(start + 4_020, What::StepDone { step: 1, output: "pod \"redis-0\" deleted".to_owned() });
        self.both(start + 5_000, start + 6_500, &Seen::Good);
        self.ended(start + 6_500, Ended::Completed)
    }
}

pub(crate) fn at(millis: u64) -> Offset {
    Offset::from_millis(millis)
}

pub(crate) fn bad() -> Seen {
    Seen::Bad { reason: "503 not ready: Redis not connected".to_owned() }
}

pub(crate) fn cluster(kind: ClusterKind) -> ClusterFacts {
    ClusterFacts {
        kind,
        name: "staging".to_owned(),
        server: "https://127.0.0.1:6443".to_owned(),
        version: "v1.36.0".to_owned(),
        uid: "0b3c".to_owned(),
        namespace: "hsc-jit".to_owned(),
    }
}

fn backend() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "backend".to_owned() }
}

fn redis() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() }
}

fn of_pod(name: &str) -> Subject {
    Subject::Pod { name: name.to_owned(), uid: format!("uid-{name}") }
}

fn pod(name: &str) -> PodFacts {
    PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        workload: Some(if name.starts_with("redis") { redis() } else { backend() }),
        phase: "Running".to_owned(),
        ready: true,
        terminating: false,
        container_ids: vec![format!("container-{name}")],
        restarts: 0,
        reason: None,
        ended: None,
    }
}

/// Budget 10 s from the fault, hold 1 s.
pub(crate) fn plan(id: &str) -> Plan {
    let http =
        |target| Check::Http(HttpCheck { target, path: "/ready".to_owned(), status: 200, json: Default::default() });
    let planned = |name: &str, check, role| PlannedCheck {
        name: CheckName(name.to_owned()),
        check,
        role,
        cost: Cost::Low,
        interval: Duration::from_millis(INTERVAL_MS),
        timeout: Duration::from_millis(800),
        slow: None,
    };
    Plan {
        id: ScenarioId(id.to_owned()),
        title: "Redis is lost".to_owned(),
        file: "scenarios/redis-lost.yaml".to_owned(),
        line: 60,
        suites: vec!["release".to_owned()],
        round: None,
        needs: Vec::new(),
        promise: Promise {
            document: "RUNBOOK.md".to_owned(),
            section: "Redis Connection Lost".to_owned(),
            says: "the backend reconnects by itself".to_owned(),
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
        budget: Budget {
            max: Duration::from_secs(10),
            from: BudgetFrom::Fault,
            source: "RUNBOOK.md, \"Expected Recovery Time\"".to_owned(),
        },
        hold: Duration::from_secs(1),
        slow: Duration::from_millis(500),
        settle_within: Duration::from_secs(60),
        samples_per_pod_second_max: 5.0,
        exclusive: false,
        load: LoadPlan {
            requests_per_second: 50.0,
            path: "/".to_owned(),
            sockets: 20,
            socket_path: "/ws".to_owned(),
            ..LoadPlan::default()
        },
    }
}

/// Two remedy steps, of which the first is known not to help; the budget counts from it.
pub(crate) fn hung() -> Plan {
    let plan = plan("redis-lost/hung");
    let step = |text: &str, expect| Step {
        command: text.parse().expect("it is understood"),
        expect,
        watch: Duration::from_secs(2),
    };
    Plan {
        fault: Fault::PodSignal(PodSignal { of: redis(), signal: Signal::Stop }),
        remedy: vec![
            step("kubectl rollout restart statefulset/redis -n hsc-jit", Expect::NoRecovery),
            step("kubectl delete pod redis-0 -n hsc-jit", Expect::Recovery),
        ],
        budget: Budget { from: BudgetFrom::Remedy, ..plan.budget },
        ..plan
    }
}
