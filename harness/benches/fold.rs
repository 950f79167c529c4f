//! How fast events are folded: a minute's outage, sampled every 20 ms at three pods and the
//! Service, with a query after each event as the engine makes it.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::clock::RunClock;
use harness::engine;
use harness::event::{Event, What};
use harness::fault::{Fault, PodSignal, Signal};
use harness::outcome::Outcome;
use harness::sample::{Check, HttpCheck, RedisCheck, Target};
use harness::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, LoadPlan, Plan, PlannedCheck, Promise, Proof, Role, ScenarioId, Symptom,
    Through, WorkloadKind, WorkloadRef,
};
use harness::system::scripted::{Mode, Outage, PodFate, Script, Scripted, Until, Whom};
use tokio_util::sync::CancellationToken;

fn plan() -> Plan {
    let redis = WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() };
    let http = |target| {
        Check::Http(HttpCheck { target, path: "/ready".to_owned(), status: 200, json: serde_json::Map::new() })
    };
    let planned = |name: &str, check, role| PlannedCheck {
        name: CheckName(name.to_owned()),
        check,
        role,
        cost: Cost::Low,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(2),
        slow: None,
    };
    Plan {
        id: ScenarioId("bench/fold".to_owned()),
        title: String::new(),
        file: String::new(),
        line: 1,
        suites: Vec::new(),
        round: None,
        needs: Vec::new(),
        promise: Promise { document: String::new(), section: String::new(), says: String::new() },
        workload: WorkloadRef { kind: WorkloadKind::Deployment, name: "backend".to_owned() },
        service: "backend".to_owned(),
        port: 8000,
        through: Through::Direct,
        checks: vec![
            planned("pods", http(Target::EachPod), Role::Recovery),
            planned("service", http(Target::Service), Role::Recovery),
            planned("redis", Check::Redis(RedisCheck { of: redis.clone(), port: 6379 }), Role::Proof),
        ],
        fault: Fault::PodSignal(PodSignal { of: redis.clone(), signal: Signal::Kill }),
        proof: vec![Proof::ContainerReplaced(redis)],
        symptom: Symptom::Required,
        remedy: Vec::new(),
        budget: Budget { max: Duration::from_secs(90), from: BudgetFrom::Fault, source: String::new() },
        hold: Duration::from_secs(10),
        slow: Duration::from_secs(1),
        settle_within: Duration::from_secs(30),
        samples_per_pod_second_max: 1000.0,
        exclusive: false,
        load: LoadPlan::default(),
    }
}

/// A run as the engine records it, in virtual time.
fn record() -> Vec<Event> {
    let down = |of, end| Outage {
        of,
        mode: Mode::Refuses,
        from: Duration::ZERO,
        until: Until::After(Duration::from_secs(end)),
    };
    let script = Script {
        effect_after: Some(Duration::from_millis(5)),
        outages: vec![down(Whom::Redis, 2), down(Whom::Workload, 60)],
        pod: PodFate::Restarts(Duration::from_secs(1)),
        ..Script::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (plan, clock) = (plan(), RunClock::start());
        let system = Scripted::new(&plan, script, clock);
        let (mut events, cancel) = (Vec::new(), CancellationToken::new());
        let mut sink = |event: &Event| {
            events.push(event.clone());
            Ok::<_, std::convert::Infallible>(())
        };
        engine::run(&plan, &system, &clock, &cancel, &mut sink).await.expect("every event is taken");
        events
    })
}

fn fold(criterion: &mut Criterion) {
    let (plan, events) = (plan(), record());
    let samples = events.iter().filter(|event| matches!(event.what, What::Sample(_))).count();
    let mut group = criterion.benchmark_group(format!("fold of {} events, {samples} samples", events.len()));
    group.sample_size(10).throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("apply", |bencher| {
        bencher.iter(|| {
            let mut outcome = Outcome::new(&plan);
            events.iter().for_each(|event| outcome.apply(event));
            outcome
        });
    });
    group.bench_function("apply and ask for the recovery", |bencher| {
        bencher.iter(|| {
            let mut outcome = Outcome::new(&plan);
            events.iter().for_each(|event| {
                outcome.apply(event);
                std::hint::black_box(outcome.recovery());
            });
            outcome
        });
    });
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
