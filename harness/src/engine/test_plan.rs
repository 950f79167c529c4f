//! A plan for tests of single decisions.

use std::time::Duration;

use crate::fault::{Fault, PodDelete};
use crate::runbook::command::Command;
use crate::scenario::plan::{
    Budget, BudgetFrom, Expect, LoadPlan, Plan, Promise, ScenarioId, Step, Symptom, Through, WorkloadKind, WorkloadRef,
};

/// Budget 60 s, hold 10 s, slow 1 s, settling within 30 s; steps are watched for 15 s.
pub(crate) fn test_plan(steps: usize) -> Plan {
    let workload = WorkloadRef { kind: WorkloadKind::Deployment, name: "backend".to_owned() };
    let command: Command = "kubectl delete pod redis-0".parse().unwrap();
    let step = Step { command, expect: Expect::Recovery, watch: Duration::from_secs(15) };
    Plan {
        id: ScenarioId("a/b".to_owned()),
        title: String::new(),
        file: String::new(),
        line: 1,
        suites: Vec::new(),
        round: None,
        needs: Vec::new(),
        promise: Promise { document: String::new(), section: String::new(), says: String::new() },
        workload: workload.clone(),
        service: "backend".to_owned(),
        port: 8000,
        through: Through::Direct,
        checks: Vec::new(),
        fault: Fault::PodDelete(PodDelete { of: workload }),
        proof: Vec::new(),
        symptom: Symptom::Required,
        remedy: vec![step; steps],
        budget: Budget {
            max: Duration::from_secs(60),
            from: if steps == 0 { BudgetFrom::Fault } else { BudgetFrom::Remedy },
            source: String::new(),
        },
        hold: Duration::from_secs(10),
        slow: Duration::from_secs(1),
        settle_within: Duration::from_secs(30),
        samples_per_pod_second_max: 5.0,
        exclusive: false,
        load: LoadPlan::default(),
    }
}
