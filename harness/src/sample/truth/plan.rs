//! The plan of a trial: one check, one pod, no API server.

use std::time::Duration;

use super::{HOLD, SLOW, SPACING};
use crate::event::PodFacts;
use crate::fault::{Fault, PodDelete};
use crate::sample::{Check, HttpCheck, Target};
use crate::scenario::plan::{
    Budget, BudgetFrom, CheckName, Cost, LoadPlan, Plan, PlannedCheck, Promise, Proof, Role, ScenarioId, Symptom,
    Through, WorkloadKind, WorkloadRef,
};

fn workload() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "truth".to_owned() }
}

pub(super) fn plan() -> Plan {
    let check = Check::Http(HttpCheck {
        target: Target::Service,
        path: "/".to_owned(),
        status: 200,
        json: serde_json::Map::new(),
    });
    Plan {
        id: ScenarioId("truth/trial".to_owned()),
        title: "A process fails and says when".to_owned(),
        file: String::new(),
        line: 1,
        suites: Vec::new(),
        round: None,
        needs: Vec::new(),
        promise: Promise { document: String::new(), section: String::new(), says: String::new() },
        workload: workload(),
        service: "truth".to_owned(),
        port: 0,
        through: Through::Direct,
        checks: vec![PlannedCheck {
            name: CheckName("answers".to_owned()),
            check,
            role: Role::Recovery,
            cost: Cost::Low,
            interval: SPACING,
            timeout: SLOW * 2,
            slow: None,
        }],
        fault: Fault::PodDelete(PodDelete { of: workload() }),
        proof: vec![Proof::ContainerReplaced(workload())],
        symptom: Symptom::Required,
        remedy: Vec::new(),
        budget: Budget { max: Duration::from_secs(60), from: BudgetFrom::Fault, source: String::new() },
        hold: HOLD,
        slow: SLOW,
        settle_within: Duration::from_secs(10),
        samples_per_pod_second_max: 1000.0,
        exclusive: false,
        load: LoadPlan::default(),
    }
}

/// The process as a pod; its restart count is the number of outages it has told of.
pub(super) fn pod(restarts: u32) -> PodFacts {
    PodFacts {
        name: "truth-0".to_owned(),
        uid: "truth-0".to_owned(),
        workload: Some(workload()),
        phase: "Running".to_owned(),
        ready: true,
        terminating: false,
        container_ids: vec!["truth".to_owned()],
        restarts,
        reason: None,
        ended: None,
    }
}
